//! The OpenAPI document of all services, and the page that shows it.

use crate::{api_reference, process::Role};
use anyhow::Context;
use axum::{Router, body::Bytes, http::header, routing::get};
use std::process::ExitCode;
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    path::{Operation, Parameter, ParameterIn, PathItem},
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

/// Where the document is.
const PATH: &str = "/openapi.json";

/// The groups of routes, in the order in which a buyer meets them.
const TAGS: [(&str, &str); 6] = [
    ("sale", "What a storefront shows."),
    ("auth", "Accounts, sessions and tokens."),
    ("orders", "Orders of the caller; an admin's reach to everybody's."),
    (
        "notifications",
        "What became of the caller's orders, as it happens and afterwards.",
    ),
    (
        "inventory",
        "Products for everybody; stock, reservations and the audit of the books for admins and services.",
    ),
    (
        "dead letters",
        "Messages between services that were given up on, for admins.",
    ),
];

/// The document.
pub(crate) fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("QuickSale")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The API of a flash sale, as its gateway serves it."))
        .build();
    let tags = TAGS.map(|(name, what)| TagBuilder::new().name(name).description(Some(what)).build());
    let mut document = OpenApiBuilder::new().info(info).tags(Some(tags)).build();
    document.merge(complete(gateway::openapi(), &[]));
    for service in [
        auth::routes::openapi(),
        inventory::routes::openapi(),
        order::routes::openapi(),
        notifier::routes::openapi(),
    ] {
        document.merge(complete(service, &[RATE_LIMITED, BUSY]));
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .build();
    let ticket = ApiKeyValue::with_description(
        "ticket",
        "A ticket of POST /api/ws-ticket, for browsers: they cannot set headers on a WebSocket.",
    );
    let token = ApiKeyValue::with_description("token", "The access token, where there is no ticket.");
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("ticket", SecurityScheme::ApiKey(ApiKey::Query(ticket)));
    components.add_security_scheme("token", SecurityScheme::ApiKey(ApiKey::Query(token)));
    document
}

/// The routes that a service says to have, each with its method and the status of its success. The gateway passes on those of the others.
pub(crate) fn successes(role: Role) -> Vec<(&'static str, String, String)> {
    let document = match role {
        Role::Gateway => gateway::openapi(),
        Role::Auth => auth::routes::openapi(),
        Role::Inventory => inventory::routes::openapi(),
        Role::Order => order::routes::openapi(),
        Role::Notifier => notifier::routes::openapi(),
        Role::Processor => return Vec::new(),
    };
    let mut found = Vec::new();
    for (path, item) in &document.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in operations {
            let statuses = operation
                .iter()
                .flat_map(|operation| operation.responses.responses.keys());
            let success = statuses.filter(|status| matches!(status.as_bytes(), [b'1' | b'2', ..]));
            found.extend(success.map(|status| (method, path.clone(), status.clone())));
        }
    }
    found
}

type Refusal = (&'static str, &'static str);
/// The gateway limits every route of a service.
const RATE_LIMITED: Refusal = ("429", "rate_limited");
/// The gateway may not reach the service, nor the service its backends.
const BUSY: Refusal = ("503", "busy");
const INVALID_REQUEST: Refusal = ("400", "invalid_request");
const UNAUTHENTICATED: Refusal = ("401", "unauthenticated");
const FORBIDDEN: Refusal = ("403", "forbidden");
const PAYLOAD_TOO_LARGE: Refusal = ("413", "payload_too_large");
const UNSUPPORTED_MEDIA_TYPE: Refusal = ("415", "unsupported_media_type");

/// Adds to the routes of a service what each of them answers because of what it is, so that the annotations name
/// only what is particular.
fn complete(mut part: OpenApi, always: &[Refusal]) -> OpenApi {
    for item in part.paths.paths.values_mut() {
        for operation in operations(item) {
            let tag = operation
                .tags
                .iter()
                .flatten()
                .next()
                .cloned()
                .unwrap_or_default();
            let name = operation.operation_id.take().unwrap_or_default();
            // The names of handlers are unique in their service only.
            operation.operation_id = Some(format!("{tag}_{name}"));
            for (status, code) in refusals(operation).into_iter().chain(always.iter().copied()) {
                operation
                    .responses
                    .responses
                    .entry(status.to_owned())
                    .or_insert_with(|| ResponseBuilder::new().description(code).build().into());
            }
            for (status, response) in &mut operation.responses.responses {
                if let (true, RefOr::T(response)) = (status.as_str() >= "400", response) {
                    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                    response.content =
                        std::iter::once(("application/problem+json".to_owned(), problem.into())).collect();
                }
            }
        }
    }
    part
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// What follows from a route's parameters, body and security.
fn refusals(operation: &Operation) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let is_checked = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.parameter_in != ParameterIn::Path,
        RefOr::Ref(_) => true,
    };
    if operation.parameters.iter().flatten().any(is_checked) {
        refusals.push(INVALID_REQUEST);
    }
    if operation.request_body.is_some() {
        refusals.extend([INVALID_REQUEST, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE]);
    }
    if let Some(security) = &operation.security {
        refusals.push(UNAUTHENTICATED);
        let any_role = SecurityRequirement::new("bearer", [""; 0]);
        if !security.contains(&any_role) {
            refusals.push(FORBIDDEN);
        }
    }
    refusals
}

/// `/openapi.json` and `/docs`. The document is written once and not for each request.
pub(crate) fn routes() -> anyhow::Result<Router> {
    let json: Bytes = document().to_json().context("the OpenAPI document")?.into();
    let page: Router = SwaggerUi::new("/docs").config(Config::from(PATH)).into();
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
    Ok(page.route(PATH, get(answer)))
}

/// Prints the document, as JSON or as the reference for people.
pub(crate) fn print(markdown: bool) -> anyhow::Result<ExitCode> {
    let document = document();
    if markdown {
        print!("{}", api_reference::markdown(&document)?);
    } else {
        println!("{}", document.to_pretty_json()?);
    }
    Ok(ExitCode::SUCCESS)
}
