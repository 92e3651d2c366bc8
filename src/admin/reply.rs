//! Answers: JSON, also where something is wrong.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What, and what to do.
    error: String,
}

/// What the guard answers: the part of the description that all guarded endpoints share.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described only, the guard makes the answers")]
pub(super) enum Refusal {
    /// A token is configured, and the request does not show it.
    #[response(status = 401)]
    NoToken(Problem),
    /// No token is configured, and the request is not that of a program on this machine.
    #[response(status = 403)]
    Foreign(Problem),
}

/// A refusal.
pub(super) fn problem(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Problem { error: error.into() })).into_response()
}

pub(super) async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "nothing is here; /openapi.json says what there is")
}

pub(super) async fn not_allowed() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "not with this method; /openapi.json says with which")
}
