//! Two questions that must not be mixed: would a restart help (`/livez`), and is the work being done (`/readyz`).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::guard::Trusted;
use super::reply::{Problem, problem};
use crate::control::Reason;

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    /// Always true; a process that does not live answers 503, or not at all.
    live: bool,
}

/// Whether the pipeline does its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// Whether it does.
    ready: bool,
    /// Why not.
    reasons: Vec<Reason>,
}

/// Whether the process lives: 503 if one of its threads stands still, so that only a restart helps. No token is needed.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "health",
    security(()),
    responses((status = 200, description = "The process lives", body = Live), (status = 503, description = "A thread stands still", body = Problem))
)]
pub(super) async fn livez(State(app): State<Shared>) -> Response {
    match app.setup.control.liveness().stalled() {
        None => Json(Live { live: true }).into_response(),
        Some(thread) => problem(StatusCode::SERVICE_UNAVAILABLE, format!("thread {thread} stands still")),
    }
}

/// Whether the pipeline does its work, and each reason if not: starting, restoring, broker, assignment, recovering, rules_refused,
/// paused, draining, stopped. No token is needed; without it the reasons are only named.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses((status = 200, description = "The pipeline does its work", body = Ready), (status = 503, description = "Not ready", body = Ready))
)]
pub(super) async fn readyz(State(app): State<Shared>, Extension(Trusted(trusted)): Extension<Trusted>) -> Response {
    let mut reasons = app.setup.control.reasons();
    if !trusted {
        // They may name brokers.
        reasons.iter_mut().for_each(|reason| reason.detail.clear());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready: reasons.is_empty(), reasons })).into_response()
}
