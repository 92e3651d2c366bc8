//! What stands behind the points when they are compiled in: a hook of the thread, else the trigger of the process.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use super::trigger::Trigger;
use super::{Bug, CALLS, ENVIRONMENT, POINTS};

/// Asked at every point that the thread passes; `true`: crash here.
pub type Hook = Box<dyn FnMut(&'static str) -> bool>;

/// What a crash in a simulation unwinds with: the point's name. No panic hook sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash(pub &'static str);

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Keeps a thread armed; disarms it when dropped.
#[must_use]
pub struct Armed(());

impl Drop for Armed {
    fn drop(&mut self) {
        HOOK.set(None);
        PLANTED.set(None);
    }
}

/// Arms this thread: `hook` decides at each point, and `planted` is what [`planted`] answers `true` for.
pub fn arm(hook: Hook, planted: Option<Bug>) -> Armed {
    HOOK.set(Some(hook));
    PLANTED.set(planted);
    Armed(())
}

/// A place where a crash may hit; one of [`POINTS`].
pub fn point(name: &'static str) {
    assert!(POINTS.contains(&name), "`{name}` is no point of fault::POINTS; add it there");
    // The hook may run code that passes points itself: it is away meanwhile.
    let Some(mut hook) = HOOK.take() else {
        of_the_process(name);
        return;
    };
    let crash = hook(name);
    HOOK.set(Some(hook));
    if crash {
        std::panic::resume_unwind(Box::new(Crash(name)));
    }
}

/// The number of the system's error with which a call fails here; one of [`CALLS`](super::CALLS). A simulation has disks of its own.
pub fn fails(name: &'static str) -> Option<i32> {
    assert!(CALLS.contains(&name), "`{name}` is no call of fault::CALLS; add it there");
    of_the_process(name)
}

/// Whether this bug is planted on this thread.
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// With what the call that follows fails.
fn of_the_process(name: &'static str) -> Option<i32> {
    static TRIGGER: OnceLock<Option<Trigger>> = OnceLock::new();
    let trigger = TRIGGER.get_or_init(|| {
        let text = std::env::var(ENVIRONMENT).ok()?;
        match Trigger::parse(&text) {
            Ok(trigger) => Some(trigger),
            // A test that meant to crash the process must not pass because of a slip of the pen.
            Err(error) => {
                tracing::error!("{error}");
                std::process::exit(2);
            }
        }
    });
    trigger.as_ref().and_then(|trigger| trigger.pass(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_thread_crashes_where_its_hook_says_and_is_disarmed_after() {
        let mut passed = 0;
        let hook = move |name| {
            passed += 1;
            name == "epoch.begun" && passed == 3
        };
        let armed = arm(Box::new(hook), Some(Bug::TimerLost));
        assert!(planted(Bug::TimerLost) && !planted(Bug::TombstoneLost));
        point("epoch.begun");
        point("epoch.assembled");
        let crash = std::panic::catch_unwind(|| point("epoch.begun")).expect_err("crashes at its third passing");
        assert_eq!(crash.downcast_ref::<Crash>(), Some(&Crash("epoch.begun")));
        drop(armed);
        point("epoch.begun");
        assert!(!planted(Bug::TimerLost));
    }
}
