//! What the pipeline shows of itself: metrics, status, rules, configuration.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::reply::Refusal;
use crate::control::{RuleStatus, Status};
use crate::telemetry::metrics::{Format, encode};

/// All metrics, as OpenMetrics if the client asks for it, else as Prometheus text. docs/metrics.md lists them.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    responses(
        (status = 200, description = "One of two formats", content((String = "text/plain"), (String = "application/openmetrics-text"))),
        Refusal,
    )
)]
pub(super) async fn metrics(State(app): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(CONTENT_TYPE, format.content_type())], encode(&app.setup.control.snapshot(), format)).into_response()
}

/// The pipeline as it stands: state, partitions with their lag, watermarks, rules with their hits, shards, memory.
#[utoipa::path(
    get,
    path = "/status",
    tag = "status",
    responses((status = 200, description = "The pipeline as it stands", body = Status), Refusal)
)]
pub(super) async fn status(State(app): State<Shared>) -> Json<Status> {
    Json(app.setup.control.status())
}

/// The rules in force.
#[utoipa::path(
    get,
    path = "/rules",
    tag = "status",
    responses((status = 200, description = "In the order of their ids", body = Vec<RuleStatus>), Refusal)
)]
pub(super) async fn rules(State(app): State<Shared>) -> Json<Vec<RuleStatus>> {
    Json(app.setup.control.rules())
}

/// The configuration in force, in the form in which it is typed. Only what is known to be harmless is shown; the rest is `***`.
#[utoipa::path(
    get,
    path = "/config",
    tag = "status",
    responses(
        (status = 200, description = "As `config schema` describes it", body = serde_json::Value),
        Refusal,
    )
)]
pub(super) async fn config(State(app): State<Shared>) -> Json<serde_json::Value> {
    Json(app.setup.config.clone())
}
