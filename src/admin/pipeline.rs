//! Pausing, resuming and draining.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::reply::{Problem, Refusal, problem};
use crate::control;

/// What the pipeline does from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Now {
    /// running, paused, draining or stopped.
    #[schema(example = "paused")]
    state: &'static str,
}

fn answer(app: &Shared, accepted: bool) -> Response {
    let state = app.setup.control.state();
    match accepted {
        true => Json(Now { state: state.name() }).into_response(),
        false => {
            problem(StatusCode::CONFLICT, format!("the pipeline is {}: only a new process reads again", state.name()))
        }
    }
}

/// Reads nothing more until it is resumed. What was read is matched and committed; watermarks stand still. Partitions stay
/// assigned. A paused pipeline is not ready.
#[utoipa::path(
    post,
    path = "/pipeline/pause",
    tag = "pipeline",
    responses(
        (status = 200, description = "What the pipeline does from now on", body = Now),
        Refusal,
        (status = 409, description = "It is draining or stopped", body = Problem),
    )
)]
pub(super) async fn pause(State(app): State<Shared>) -> Response {
    let accepted = app.setup.control.pause();
    if accepted {
        tracing::info!("paused by request");
    }
    answer(&app, accepted)
}

/// Reads on.
#[utoipa::path(
    post,
    path = "/pipeline/resume",
    tag = "pipeline",
    responses(
        (status = 200, description = "What the pipeline does from now on", body = Now),
        Refusal,
        (status = 409, description = "It is draining or stopped", body = Problem),
    )
)]
pub(super) async fn resume(State(app): State<Shared>) -> Response {
    let accepted = app.setup.control.resume();
    if accepted {
        tracing::info!("resumed by request");
    }
    answer(&app, accepted)
}

/// Reads nothing more, commits what was read, leaves the group. The process stays, stopped, until it is told to end.
#[utoipa::path(
    post,
    path = "/pipeline/drain",
    tag = "pipeline",
    responses(
        (status = 200, description = "What the pipeline does from now on", body = Now),
        Refusal,
        (status = 409, description = "It is stopped", body = Problem),
    )
)]
pub(super) async fn drain(State(app): State<Shared>) -> Response {
    let control = &app.setup.control;
    let accepted = control.state() != control::State::Stopped;
    if accepted {
        tracing::info!("draining by request");
        control.drain_and_stay(app.setup.drain_timeout);
    }
    answer(&app, accepted)
}
