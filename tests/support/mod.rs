//! One real Apache Kafka for a test run, and a plain client to look at it with ([`client::Kafka`]).
//!
//! `support::kafka()` gives every test of a binary the same broker: the one named by `THROUGHLINE_TEST_BROKERS`; else one
//! on the local JVM (`tests/kafka/kafka.sh`), which `make test` has set up; else a container, if a Docker daemon answers. If none can be
//! had the test fails and says what to install: a test without its broker never passes. Tests share it, so each makes topics and
//! groups of its own with [`unique`]. A test that stops its broker, freezes it or needs users takes a [`jvm::PrivateBroker`].
//!
//! The client here is rdkafka's, used apart from `throughline::broker`, so that what the product writes is read by
//! something else than the product.
//!
//! Use from a test binary: `#[path = "../support/mod.rs"] mod support;`

#![expect(dead_code, reason = "each test binary uses a part of this")]

pub mod client;
mod docker;
pub mod jvm;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client::Kafka;

/// Where the shared broker runs; held for the life of the process. Whatever is started here ends with the process, also
/// when it panics or is killed, because it ends when the pipe to it closes.
enum Host {
    External,
    Docker(Box<docker::Container>),
    Jvm(jvm::Process),
}

/// The broker of this test run.
pub fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<(Kafka, Host)> = OnceLock::new();
    &SHARED.get_or_init(start).0
}

fn start() -> (Kafka, Host) {
    if let Ok(brokers) = std::env::var("THROUGHLINE_TEST_BROKERS") {
        let kafka = Kafka::new(&brokers);
        kafka.wait_ready(Duration::from_secs(30), || None).unwrap_or_else(|error| {
            panic!("THROUGHLINE_TEST_BROKERS={brokers} does not answer ({error}): start it, or unset the variable");
        });
        return (kafka, Host::External);
    }
    let jvm = match jvm::start_shared() {
        Ok((kafka, process)) => return (kafka, Host::Jvm(process)),
        Err(reason) => reason,
    };
    match docker::start() {
        Ok((kafka, container)) => (kafka, Host::Docker(Box::new(container))),
        Err(docker) => panic!(
            "no Kafka for the tests.\n  JVM: {jvm}\n  Docker: {docker}\nOne of these helps: start the Docker daemon; \
             apt-get install default-jre-headless maven; THROUGHLINE_TEST_BROKERS=host:port of a broker for tests."
        ),
    }
}

/// A name that no other test and no earlier run has used: for topics, groups, application ids.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (run, next) = (since.as_millis() as u64 & 0xffff_ffff, NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{prefix}-{:x}-{run:x}-{next}", std::process::id())
}

/// Waits until `done` holds; fails the test, naming `what`, if it does not within `timeout`.
pub fn wait_until(what: &str, timeout: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !done() {
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
