//! How a process dies at a point: what `THROUGHLINE_FAULT` says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{CALLS, ENVIRONMENT, POINTS};

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Kill,
    Abort,
    Stop,
    Sleep(Duration),
    /// From then on, at every passing.
    Slow(Duration),
    /// From then on, with this error of the system.
    Fail(i32),
}

/// One point of the process, armed.
#[derive(Debug)]
pub(super) struct Trigger {
    point: &'static str,
    nth: u64,
    effect: Effect,
    passed: AtomicU64,
}

impl Trigger {
    /// Reads the form that [`ENVIRONMENT`] documents.
    pub fn parse(text: &str) -> Result<Trigger, String> {
        let wrong = |what: String| {
            format!(
                "{ENVIRONMENT}={text}: {what}; write NAME[:NTH][=kill|abort|stop|sleep:MILLISECONDS|slow:MILLISECONDS|fail:ERRNO]"
            )
        };
        let (place, effect) = text.split_once('=').unwrap_or((text, "kill"));
        let (name, nth) = place.split_once(':').unwrap_or((place, "1"));
        let all = || POINTS.iter().chain(CALLS);
        let point = all().find(|point| **point == name).ok_or_else(|| {
            let all = all().copied().collect::<Vec<_>>().join(", ");
            wrong(format!("no point is named `{name}`, the points are {all}"))
        })?;
        let nth = nth
            .parse()
            .ok()
            .filter(|nth| *nth > 0)
            .ok_or_else(|| wrong(format!("`{nth}` is not the number of a passing, counted from 1")))?;
        let (kind, number) = effect.split_once(':').unwrap_or((effect, ""));
        let time = number.parse().map(Duration::from_millis);
        let effect = match (kind, time, number.parse()) {
            ("kill", ..) => Effect::Kill,
            ("abort", ..) => Effect::Abort,
            ("stop", ..) => Effect::Stop,
            ("sleep", Ok(time), _) => Effect::Sleep(time),
            ("slow", Ok(time), _) => Effect::Slow(time),
            ("fail", _, Ok(number)) if CALLS.contains(&name) => Effect::Fail(number),
            _ => return Err(wrong(format!("`{effect}` is no effect here"))),
        };
        Ok(Trigger { point, nth, effect, passed: AtomicU64::new(0) })
    }

    /// A thread passes a point. Gives the error of the call there, if it is to fail.
    pub fn pass(&self, name: &str) -> Option<i32> {
        if name != self.point {
            return None;
        }
        let passed = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        let lasts = matches!(self.effect, Effect::Slow(_) | Effect::Fail(_));
        if passed < self.nth || passed > self.nth && !lasts {
            return None;
        }
        match self.effect {
            Effect::Fail(number) => return Some(number),
            Effect::Sleep(time) | Effect::Slow(time) => std::thread::sleep(time),
            Effect::Abort => std::process::abort(),
            // All threads stand still until SIGCONT. Should it be refused the process goes on, and its test waits in vain.
            Effect::Stop => drop(signal_hook::low_level::raise(libc::SIGSTOP)),
            Effect::Kill => {
                // SIGKILL cannot be refused; should the call itself be, dying in another way is the nearest thing.
                drop(signal_hook::low_level::raise(libc::SIGKILL));
                std::process::abort();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_whole_or_refused() {
        let read = |text: &str| Trigger::parse(text).map(|t| (t.point, t.nth, t.effect));
        assert_eq!(read("epoch.begun"), Ok(("epoch.begun", 1, Effect::Kill)));
        assert_eq!(read("epoch.begun:12=abort"), Ok(("epoch.begun", 12, Effect::Abort)));
        assert_eq!(read("epoch.stored=sleep:50"), Ok(("epoch.stored", 1, Effect::Sleep(Duration::from_millis(50)))));
        assert_eq!(read("store.read:9=slow:5"), Ok(("store.read", 9, Effect::Slow(Duration::from_millis(5)))));
        assert_eq!(read("store.write=fail:28"), Ok(("store.write", 1, Effect::Fail(28))));
        for wrong in [
            "epoch.begun=fail:5",
            "store.read=fail",
            "store.read=slow:x",
            "",
            "epoch",
            "epoch.begun:0",
            "epoch.begun:x",
            "epoch.begun=halt",
            "epoch.begun=sleep:",
            "=kill",
        ] {
            let error = Trigger::parse(wrong).map(|t| t.point).expect_err(wrong);
            assert!(error.contains(ENVIRONMENT) && error.contains("write NAME"), "{error}");
        }
    }

    #[test]
    fn only_the_named_passing_has_an_effect() {
        let trigger = Trigger::parse("epoch.begun:2=sleep:0").expect("valid");
        trigger.pass("epoch.assembled");
        trigger.pass("epoch.begun");
        assert_eq!(trigger.passed.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_call_that_fails_goes_on_failing() {
        let trigger = Trigger::parse("store.write:2=fail:5").expect("valid");
        assert_eq!([(); 4].map(|()| trigger.pass("store.write")), [None, Some(5), Some(5), Some(5)]);
        assert_eq!(trigger.pass("store.read"), None);
    }
}
