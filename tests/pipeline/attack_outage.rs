//! INV-ONCE while the broker is away under load: it is stopped for a while and comes back, then dies and comes back at once.

use std::time::Duration;

use crate::oracle::finish_and_compare;
use crate::oracle_load::{Load, app};
use crate::support::jvm::PrivateBroker;
use crate::support::wait_until;

/// How long the broker is away, in seconds, and the variable that overrides it: past the timeouts of sessions and
/// transactions (10 s).
const OUTAGE_S: u64 = 20;
const OUTAGE_VARIABLE: &str = "THROUGHLINE_TEST_OUTAGE_S";

/// Longest way back to a lag of 0.
const SOON: Duration = Duration::from_secs(90);

fn outage() -> Duration {
    let text = std::env::var(OUTAGE_VARIABLE);
    Duration::from_secs(text.map_or(OUTAGE_S, |text| text.parse().expect("seconds")))
}

#[test]
fn a_broker_that_is_away_under_load_changes_nothing_but_the_time() {
    let mut broker = PrivateBroker::start();
    let app = app(&broker, 4, "epoch: 50ms").properties("fetch.message.max.bytes: 4096");
    let mut load = Load::new(&app, 1);
    load.write(10_000);
    let mut service = app.start("one", &[]);
    wait_until("it is at work", SOON, || !app.kafka.committed(&app.id, &app.topic).is_empty());
    load.write(10_000);
    std::thread::scope(|scope| {
        broker.stop();
        // The load goes on: what its producer cannot write now it writes later.
        let writing = scope.spawn(|| load.write(2_000));
        std::thread::sleep(outage());
        assert!(service.is_running(), "{}", service.log());
        broker.restart();
        writing.join().expect("written");
    });
    wait_until("all is committed", SOON, || app.lag() == 0);
    load.write(2_000);
    broker.kill();
    broker.restart();
    load.write(2_000);
    wait_until("all is committed again", SOON, || app.lag() == 0);
    assert!(service.is_running(), "{}", service.log());
    let finished = service.interrupt();
    assert_eq!(finished.status, Some(0), "{}", finished.log);
    finish_and_compare(&app, "");
}
