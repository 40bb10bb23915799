//! The OpenAPI document of all services, and the page that shows it.

use axum::Router;
use std::process::ExitCode;
use utoipa::openapi::{
    InfoBuilder, OpenApi, OpenApiBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_swagger_ui::SwaggerUi;

/// The document.
pub(crate) fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("QuickSale")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The API of a flash sale, as its gateway serves it."))
        .build();
    let mut document = OpenApiBuilder::new().info(info).build();
    for part in [
        gateway::openapi(),
        auth::routes::openapi(),
        inventory::routes::openapi(),
        order::routes::openapi(),
        notifier::routes::openapi(),
    ] {
        document.merge(part);
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    document
        .components
        .get_or_insert_with(Default::default)
        .add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document
}

/// `/openapi.json` and `/docs`.
pub(crate) fn routes() -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", document()).into()
}

/// Prints the document.
pub(crate) fn print() -> anyhow::Result<ExitCode> {
    println!("{}", document().to_pretty_json()?);
    Ok(ExitCode::SUCCESS)
}
