//! The HTTP endpoint for operators: health, metrics, status, profiles, and the pipeline's states.
//!
//! Reads and asks through [`Control`] alone, on a thread and a runtime of its own: whatever a client does, no thread of the
//! pipeline waits for it. Bound to loopback by default; an address that others reach has a token. What a client may cost is
//! bounded: connections, sizes of headers and bodies, times. Holds no logic that a verb would need too.

mod guard;
mod health;
mod inside;
mod openapi;
mod pipeline;
mod profile;
mod reload;
mod reply;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::Control;

pub use guard::authorization;
pub use openapi::openapi;
pub use server::{Server, StartError};

/// What an endpoint serves.
pub struct Setup {
    /// The pipeline.
    pub control: Control,
    /// Where.
    pub listen: SocketAddr,
    /// What clients must know; none is needed for the health of the pipeline.
    pub token: Option<String>,
    /// The configuration in force, secrets left out.
    pub config: serde_json::Value,
    /// How long a drain may take.
    pub drain_timeout: Duration,
}

/// What handlers share.
struct App {
    setup: Setup,
    openapi: String,
    profiling: profile::Turn,
}

type Shared = Arc<App>;

/// All routes with their description.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(inside::metrics))
        .routes(routes!(inside::status))
        .routes(routes!(inside::rules))
        .routes(routes!(inside::config))
        .routes(routes!(openapi::document))
        .routes(routes!(pipeline::pause))
        .routes(routes!(pipeline::resume))
        .routes(routes!(pipeline::drain))
        .routes(routes!(reload::reload))
        .routes(routes!(profile::cpu))
        .routes(routes!(profile::heap))
}

/// The service: routes, and what guards them.
fn service(setup: Setup) -> Router {
    let (router, _) = routes().split_for_parts();
    let app = Arc::new(App { setup, openapi: openapi::openapi(), profiling: profile::Turn::default() });
    guard::around(router.fallback(reply::not_found).method_not_allowed_fallback(reply::not_allowed), &app)
        .with_state(app)
}
