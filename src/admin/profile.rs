//! Where the process spends its time and what holds its memory, in the format of pprof.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use pprof::protos::Message;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Shared;
use super::reply::{Problem, Refusal, problem};

/// Longest profile.
pub(super) const SECONDS_MAX: u64 = 60;

/// Looks a second: not a divisor of the clock of anything else, so that nothing is always met at the same place.
const LOOKS_PER_SECOND: i32 = 99;

/// Code in which a thread must not be looked at: its unwinding may take locks that it holds.
const NOT_IN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// One profile at a time: there is one profiler in a process.
#[derive(Debug, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

/// Given back when dropped, also when the client went away.
struct Taken(Arc<AtomicBool>);

impl Turn {
    fn take(&self) -> Option<Taken> {
        // Acquire pairs with the release of whoever had it: the profiler is then really free.
        (!self.0.swap(true, Ordering::Acquire)).then(|| Taken(Arc::clone(&self.0)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// For how long.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// Seconds, 1 to 60; 10 if none are given.
    #[param(minimum = 1, maximum = 60, default = 10)]
    seconds: Option<u64>,
}

/// Looks at all threads for some seconds and says where they spend their time: gzipped pprof, for `go tool pprof` and others.
#[utoipa::path(
    get,
    path = "/debug/pprof/profile",
    tag = "debug",
    params(Asked),
    responses(
        (status = 200, description = "profile.proto, gzipped", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "The seconds are wrong", body = Problem),
        Refusal,
        (status = 409, description = "Another profile is being taken", body = Problem),
        (status = 501, description = "Not on this platform", body = Problem),
    )
)]
pub(super) async fn cpu(State(app): State<Shared>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let seconds = match asked {
        Ok(Query(Asked { seconds })) => seconds.unwrap_or(10),
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return problem(StatusCode::BAD_REQUEST, format!("seconds must be from 1 to {SECONDS_MAX}"));
    }
    let Some(turn) = app.profiling.take() else {
        return problem(StatusCode::CONFLICT, "another profile is being taken; try again when it is done");
    };
    let guard = pprof::ProfilerGuardBuilder::default().frequency(LOOKS_PER_SECOND).blocklist(&NOT_IN).build();
    let guard = match guard {
        Ok(guard) => guard,
        Err(error) => return problem(StatusCode::NOT_IMPLEMENTED, format!("cannot profile here: {error}")),
    };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    // Finding the names takes long: other requests must not wait for it.
    let made = tokio::task::spawn_blocking(move || {
        let made = make(&guard);
        drop((guard, turn));
        made
    });
    match made.await {
        Ok(Ok(profile)) => answer("profile.pb.gz", profile),
        Ok(Err(error)) => problem(StatusCode::NOT_IMPLEMENTED, format!("the profile could not be made: {error}")),
        Err(error) => problem(StatusCode::NOT_IMPLEMENTED, format!("the profile could not be made: {error}")),
    }
}

fn make(guard: &pprof::ProfilerGuard<'_>) -> Result<Vec<u8>, String> {
    let report = guard.report().build().map_err(|error| error.to_string())?;
    let profile = report.pprof().map_err(|error| error.to_string())?.encode_to_vec();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&profile).and_then(|()| packed.finish()).map_err(|error| error.to_string())
}

/// What the process holds in memory, by the stacks that allocated it, of a sample of one allocation in each megabyte: gzipped
/// pprof, for `go tool pprof` and others. RocksDB's and librdkafka's memory is in it too.
#[utoipa::path(
    get,
    path = "/debug/pprof/heap",
    tag = "debug",
    responses(
        (status = 200, description = "profile.proto, gzipped", body = Vec<u8>, content_type = "application/octet-stream"),
        Refusal,
        (status = 501, description = "No sample is taken, or it cannot be written", body = Problem),
    )
)]
pub(super) async fn heap() -> Response {
    let Some(control) = &*jemalloc_pprof::PROF_CTL else {
        let error = "no sample of allocations is taken: the process was started with `prof:false` in MALLOC_CONF";
        return problem(StatusCode::NOT_IMPLEMENTED, error);
    };
    let mut control = std::sync::Arc::clone(control).lock_owned().await;
    // The allocator writes a file, and finding the names takes long: other requests must not wait for it.
    match tokio::task::spawn_blocking(move || control.dump_pprof()).await {
        Ok(Ok(profile)) => answer("heap.pb.gz", profile),
        Ok(Err(error)) => {
            let error = format!(
                "the profile could not be made: {error}. The allocator writes it to a file first: TMPDIR must name a \
                 directory that can be written to"
            );
            problem(StatusCode::NOT_IMPLEMENTED, error)
        }
        Err(error) => problem(StatusCode::NOT_IMPLEMENTED, format!("the profile could not be made: {error}")),
    }
}

fn answer(file: &str, profile: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{file}\"");
    ([(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, disposition)], profile)
        .into_response()
}
