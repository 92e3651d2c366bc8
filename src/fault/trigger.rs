//! How a process dies at a point: what `THROUGHLINE_FAULT` says.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{ENVIRONMENT, POINTS};

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Kill,
    Abort,
    Stop,
    Sleep(Duration),
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
            format!("{ENVIRONMENT}={text}: {what}; write NAME[:NTH][=kill|abort|stop|sleep:MILLISECONDS]")
        };
        let (place, effect) = text.split_once('=').unwrap_or((text, "kill"));
        let (name, nth) = place.split_once(':').unwrap_or((place, "1"));
        let point = POINTS
            .iter()
            .find(|point| **point == name)
            .ok_or_else(|| wrong(format!("no point is named `{name}`, the points are {}", POINTS.join(", "))))?;
        let nth = nth
            .parse()
            .ok()
            .filter(|nth| *nth > 0)
            .ok_or_else(|| wrong(format!("`{nth}` is not the number of a passing, counted from 1")))?;
        let effect = match (effect, effect.strip_prefix("sleep:").map(str::parse)) {
            ("kill", _) => Effect::Kill,
            ("abort", _) => Effect::Abort,
            ("stop", _) => Effect::Stop,
            (_, Some(Ok(millis))) => Effect::Sleep(Duration::from_millis(millis)),
            _ => return Err(wrong(format!("`{effect}` is no effect"))),
        };
        Ok(Trigger { point, nth, effect, passed: AtomicU64::new(0) })
    }

    /// A thread passes a point.
    pub fn pass(&self, name: &str) {
        if name != self.point || self.passed.fetch_add(1, Ordering::SeqCst) + 1 != self.nth {
            return;
        }
        match self.effect {
            Effect::Sleep(time) => std::thread::sleep(time),
            Effect::Abort => std::process::abort(),
            // All threads stand still until SIGCONT. Should it be refused the process goes on, and its test waits in vain.
            Effect::Stop => drop(signal_hook::low_level::raise(libc::SIGSTOP)),
            Effect::Kill => {
                // SIGKILL cannot be refused; should the call itself be, dying in another way is the nearest thing.
                drop(signal_hook::low_level::raise(libc::SIGKILL));
                std::process::abort();
            }
        }
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
        for wrong in ["", "epoch", "epoch.begun:0", "epoch.begun:x", "epoch.begun=halt", "epoch.begun=sleep:", "=kill"]
        {
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
}
