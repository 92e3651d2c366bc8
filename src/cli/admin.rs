//! What a service shows of itself, as its configuration has it: the admin endpoint, and OpenTelemetry.

use std::sync::Arc;

use crate::admin::{Server, Setup};
use crate::config::{Settings, Token};
use crate::control::Control;
use crate::limits::ADMIN_TOKEN_BYTES_MIN;
use crate::pipeline::{PipelineError, Stage};
use crate::telemetry::otlp::{Exporter, Resource};

use super::note;

/// Serves from now on, unless it is turned off.
pub(super) fn start(settings: &Settings, control: &Control) -> Result<Option<Server>, PipelineError> {
    let Some(listen) = settings.admin.listen else { return Ok(None) };
    let setup = |message: String| PipelineError { stage: Stage::Setup, message };
    let config = serde_json::to_value(settings.to_typed()).map_err(|error| setup(format!("/config: {error}")))?;
    let server = Server::start(Setup {
        control: control.clone(),
        listen,
        token: token(settings).map_err(setup)?,
        config,
        drain_timeout: settings.drain_timeout.to_std(),
    })
    .map_err(|error| setup(error.to_string()))?;
    note(format_args!("  answers   health and metrics at http://{}", server.address()));
    Ok(Some(server))
}

/// Sends spans and metrics from now on, if there is a collector.
pub(super) fn export(settings: &Settings, control: &Control) -> Result<Option<Exporter>, PipelineError> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let of = Resource { application: settings.application_id.clone(), instance: settings.instance.clone() };
    let (metrics, read) = (Arc::clone(&control.metrics().otlp), control.clone());
    let exporter = Exporter::start(endpoint, of, metrics, Box::new(move || read.snapshot()))
        .map_err(|error| PipelineError { stage: Stage::Setup, message: error.to_string() })?;
    control.set_tracer(exporter.tracer());
    note(format_args!("  sends     spans and metrics to {endpoint}"));
    Ok(Some(exporter))
}

/// The admin token, read from its file if it is in one.
pub(super) fn token(settings: &Settings) -> Result<Option<String>, String> {
    let path = match &settings.admin.token {
        None => return Ok(None),
        Some(Token::Value(token)) => return Ok(Some(token.clone())),
        Some(Token::File(path)) => path,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("`admin.token_file`: {} cannot be read: {error}", path.display()))?;
    let token = text.trim();
    if token.len() < ADMIN_TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let path = path.display();
        return Err(format!(
            "`admin.token_file`: {path} must hold at least {ADMIN_TOKEN_BYTES_MIN} visible characters"
        ));
    }
    Ok(Some(token.to_owned()))
}
