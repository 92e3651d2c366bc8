//! The description of all endpoints, made from their handlers.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::reply::Refusal;
use super::{Shared, routes};

#[derive(OpenApi)]
#[openapi(
    info(title = "Throughline admin", description = "Health, metrics, status and states of one process."),
    modifiers(&Bearer),
    security((), ("token" = [])),
    tags(
        (name = "health", description = "For whoever restarts and routes"),
        (name = "status", description = "For whoever looks"),
        (name = "pipeline", description = "Pause, resume, drain, other rules"),
        (name = "debug", description = "Profiles"),
    )
)]
struct Head;

/// The token, where one is configured.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The document without paths.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The whole document, as JSON.
pub fn openapi() -> String {
    let (_, document) = routes().split_for_parts();
    // It is made of names and texts: JSON can hold all of it.
    document.to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "status",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
        Refusal,
    )
)]
pub(super) async fn document(State(app): State<Shared>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_described_as_openapi_demands() {
        let document: serde_json::Value = serde_json::from_str(&openapi()).expect("JSON");
        let operations = document["paths"].as_object().expect("paths").values().flat_map(|path| path.as_object());
        let answers = operations.flatten().flat_map(|(_, operation)| operation["responses"].as_object()).flatten();
        let (named, empty): (Vec<_>, Vec<_>) =
            answers.partition(|(_, answer)| answer["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(named.len() > 40, "{}", named.len());
        assert_eq!(empty, []);
    }
}
