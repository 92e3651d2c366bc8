//! Reading the rules again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::reply::{Problem, Refusal, problem};
use crate::control::{NoReload, Reload, RuleMistake};

/// Rules that were not taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refused {
    /// What follows.
    error: &'static str,
    /// All mistakes, in the order of files and lines.
    mistakes: Vec<RuleMistake>,
}

/// Reads and compiles the rules again, as SIGHUP does. If they differ, the pipeline commits what it has read and goes on with them: what an
/// unchanged rule has begun is kept. A set with any mistake is refused whole, and the pipeline is not ready until a reload
/// finds none.
#[utoipa::path(
    post,
    path = "/rules/reload",
    tag = "pipeline",
    responses(
        (status = 200, description = "What was read, and whether it is another set", body = Reload),
        Refusal,
        (status = 409, description = "It is starting, draining or stopped", body = Problem),
        (status = 422, description = "The rules are wrong; those in force go on", body = Refused),
    )
)]
pub(super) async fn reload(State(app): State<Shared>) -> Response {
    let control = app.setup.control.clone();
    match tokio::task::spawn_blocking(move || control.reload()).await {
        Ok(Ok(reload)) => Json(reload).into_response(),
        Ok(Err(NoReload::Refused(mistakes))) => {
            let error = "the rules are wrong, and those in force go on; correct them and reload";
            (StatusCode::UNPROCESSABLE_ENTITY, Json(Refused { error, mistakes })).into_response()
        }
        Ok(Err(NoReload::NotNow(state))) => {
            problem(StatusCode::CONFLICT, format!("the pipeline is {state} and takes no rules now"))
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the rules could not be read: {error}")),
    }
}
