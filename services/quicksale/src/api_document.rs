//! The OpenAPI document of all services, and the page that shows it.

use crate::{api_reference, process::Role};
use anyhow::Context;
use axum::{Router, body::Bytes, http::header, routing::get};
use sale::order::{InventoryStatus, OrderStatus, ReservationState};
use std::process::ExitCode;
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    path::{Operation, PathItem},
    schema::{Object, Schema},
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
    document.merge(complete(gateway::openapi(), &[INTERNAL]));
    for service in [
        auth::routes::openapi(),
        inventory::routes::openapi(),
        order::routes::openapi(),
        notifier::routes::openapi(),
    ] {
        document.merge(complete(service, &[RATE_LIMITED, INTERNAL, BUSY]));
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
    for (name, field, values) in names() {
        if let Some(object) = field_of(&mut document, name, field) {
            object.enum_values = Some(values.into_iter().map(Into::into).collect());
        }
    }
    document
}

/// The fields of answers that hold one of a few names.
fn names() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let mut statuses = vec![OrderStatus::Pending.as_str()];
    statuses.extend(OrderStatus::ENDS.map(OrderStatus::as_str));
    let units = [
        InventoryStatus::Pending,
        InventoryStatus::Reserved,
        InventoryStatus::Rejected,
        InventoryStatus::Released,
    ];
    let held = [
        ReservationState::Held,
        ReservationState::Confirmed,
        ReservationState::Released,
    ];
    vec![
        ("OrderView", "status", statuses.clone()),
        (
            "OrderView",
            "inventoryStatus",
            units.map(InventoryStatus::as_str).into(),
        ),
        ("NotificationView", "status", statuses),
        ("Standing", "state", held.map(ReservationState::as_str).into()),
        ("UserView", "role", vec!["buyer", "admin"]),
        ("DeedView", "what", vec!["replayed", "discarded"]),
        (
            "SaleView",
            "phase",
            vec!["Pending", "Warming", "Live", "Draining", "Ended"],
        ),
    ]
}

/// A field of an object of the document.
fn field_of<'a>(document: &'a mut OpenApi, name: &str, field: &str) -> Option<&'a mut Object> {
    let schemas = &mut document.components.as_mut()?.schemas;
    let RefOr::T(Schema::Object(object)) = schemas.get_mut(name)? else {
        return None;
    };
    match object.properties.get_mut(field)? {
        RefOr::T(Schema::Object(field)) => Some(field),
        _ => None,
    }
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
/// What any route answers when the fault is ours.
const INTERNAL: Refusal = ("500", "internal");
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
            operation.operation_id = Some(format!("{}_{name}", tag.replace(' ', "_")));
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
    // Those in a path too: what is escaped there must be text.
    if operation.parameters.iter().flatten().next().is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use auth::account::{LONGEST_EMAIL, NAME, PASSWORD};
    use inventory::routes::{LONGEST_ORDER_ID, LONGEST_TEXT, MOST_STOCK};
    use platform::http::{idempotency, page};
    use sale::{
        Money, Quantity, Sku,
        image_url::LONGEST_IMAGE_URL,
        order::{LONGEST_IDEMPOTENCY_KEY, MOST_ITEMS},
    };
    use serde_json::{Value, json};

    fn parameter<'a>(document: &'a Value, method: &str, path: &str, name: &str) -> &'a Value {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let found = parameters.iter().find(|parameter| parameter["name"] == name);
        &found.unwrap_or_else(|| panic!("{method} {path} has no {name}"))["schema"]
    }

    fn assert_bounds(what: &str, schema: &Value, bounds: &Value) {
        for (bound, expected) in bounds.as_object().unwrap() {
            let found = &schema[bound];
            // Numbers by their value: 100 and 100.0 are one bound.
            let is_same = found == expected || found.is_number() && found.as_f64() == expected.as_f64();
            assert!(is_same, "{what}: {bound} is {found}, not {expected}");
        }
    }

    #[test]
    fn every_bound_of_a_body_is_in_the_document() {
        let document = serde_json::to_value(document()).unwrap();
        let letters = |least: usize, most: usize| json!({"minLength": least, "maxLength": most});
        let text = json!({"maxLength": LONGEST_TEXT});
        let price = json!({"minimum": 0, "maximum": Money::MAX_MINOR});
        let stock = json!({"minimum": 0, "maximum": MOST_STOCK});
        let limit = json!({"minimum": 1, "maximum": u32::MAX});
        let quantity = json!({"minimum": 1, "maximum": Quantity::MOST});
        let items = json!({"minItems": 1, "maxItems": MOST_ITEMS});
        let name = letters(*NAME.start(), *NAME.end());
        let password = letters(*PASSWORD.start(), *PASSWORD.end());
        for (object, field, bounds) in [
            ("Registration", "email", json!({"maxLength": LONGEST_EMAIL})),
            ("Registration", "password", password.clone()),
            ("Registration", "firstName", name.clone()),
            ("Registration", "lastName", name.clone()),
            ("Login", "email", json!({"maxLength": LONGEST_EMAIL})),
            ("PasswordChange", "newPassword", password),
            ("NewServiceAccount", "name", name),
            ("NewOrder", "items", items.clone()),
            ("Reserve", "items", items),
            ("Reserve", "orderId", letters(1, LONGEST_ORDER_ID)),
            ("Which", "orderId", letters(1, LONGEST_ORDER_ID)),
            ("LineById", "quantity", quantity.clone()),
            ("LineBySku", "quantity", quantity),
            ("LineBySku", "sku", letters(1, Sku::LONGEST)),
            ("NewProduct", "sku", letters(1, Sku::LONGEST)),
            ("NewProduct", "name", letters(1, LONGEST_TEXT)),
            ("NewProduct", "description", text.clone()),
            ("NewProduct", "category", text.clone()),
            ("NewProduct", "price", price.clone()),
            ("NewProduct", "originalPrice", price.clone()),
            ("NewProduct", "imageUrl", json!({"maxLength": LONGEST_IMAGE_URL})),
            ("NewProduct", "stock", stock.clone()),
            ("NewProduct", "limitPerCustomer", limit.clone()),
            ("Edit", "name", letters(1, LONGEST_TEXT)),
            ("Edit", "description", text.clone()),
            ("Edit", "category", text),
            ("Edit", "price", price.clone()),
            ("Edit", "originalPrice", price),
            ("Edit", "imageUrl", json!({"maxLength": LONGEST_IMAGE_URL})),
            ("Edit", "stock", stock),
            ("Edit", "limitPerCustomer", limit),
            (
                "Delta",
                "delta",
                json!({"minimum": -MOST_STOCK, "maximum": MOST_STOCK}),
            ),
            (
                "OrderView",
                "status",
                json!({"enum": ["PENDING", "CONFIRMED", "FAILED", "CANCELLED", "EXPIRED"]}),
            ),
        ] {
            let schema = &document["components"]["schemas"][object]["properties"][field];
            assert_bounds(&format!("{object}.{field}"), schema, &bounds);
        }
        // A line has a product by its id or by its SKU, and not both.
        for (object, field) in [("LineById", "productId"), ("LineBySku", "sku")] {
            let line = &document["components"]["schemas"][object];
            assert_eq!(line["required"], json!([field, "quantity"]), "{object}");
            assert_eq!(line["additionalProperties"], false, "{object}");
        }
        let choices = &document["components"]["schemas"]["Line"]["oneOf"];
        assert_eq!(choices.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn every_bound_of_a_parameter_is_in_the_document() {
        let document = serde_json::to_value(document()).unwrap();
        let limit = json!({"minimum": 1, "maximum": page::MOST});
        let key =
            json!({"minLength": 1, "maxLength": LONGEST_IDEMPOTENCY_KEY, "pattern": "^[!-~]([ -~]*[!-~])?$"});
        let stock = "/api/inventory/products/{id}/stock";
        for (method, path, name, bounds) in [
            ("get", "/api/orders", "limit", limit.clone()),
            ("get", "/api/inventory/products", "limit", limit.clone()),
            ("get", "/api/notifications", "limit", limit.clone()),
            ("get", "/api/dead-letters", "limit", limit),
            ("post", "/api/orders", idempotency::HEADER, key.clone()),
            ("post", stock, idempotency::HEADER, key),
        ] {
            assert_bounds(
                &format!("{method} {path} {name}"),
                parameter(&document, method, path, name),
                &bounds,
            );
        }
    }

    #[test]
    fn every_link_leads_to_an_operation_and_gives_it_a_parameter_that_it_has() {
        let document = serde_json::to_value(document()).unwrap();
        let operations: Vec<&Value> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .collect();
        let names: std::collections::BTreeSet<_> = operations
            .iter()
            .map(|operation| operation["operationId"].as_str())
            .collect();
        assert_eq!(names.len(), operations.len(), "operations of one name");
        let mut seen = 0;
        for operation in &operations {
            for response in operation["responses"].as_object().unwrap().values() {
                for link in response["links"]
                    .as_object()
                    .into_iter()
                    .flat_map(|links| links.values())
                {
                    let target = operations
                        .iter()
                        .find(|other| other["operationId"] == link["operationId"]);
                    let target = target.unwrap_or_else(|| panic!("{link} leads nowhere"));
                    for name in link["parameters"]
                        .as_object()
                        .into_iter()
                        .flat_map(|given| given.keys())
                    {
                        let parameters = target["parameters"].as_array().unwrap();
                        assert!(
                            parameters.iter().any(|parameter| parameter["name"] == *name),
                            "{link}"
                        );
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen >= 8, "{seen} links");
    }
}
