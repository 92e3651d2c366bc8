//! Answers: JSON, also where something is wrong.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// What, and what to do.
    error: String,
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
