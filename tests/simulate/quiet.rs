//! Panics of the code under simulation are findings, not noise: they are caught, and their place is remembered.

use std::cell::RefCell;
use std::sync::{Once, OnceLock};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
    static SIMULATING: RefCell<bool> = const { RefCell::new(false) };
}

/// While this lives, panics of this thread print nothing.
pub struct Quiet(());

impl Quiet {
    /// Begins.
    pub fn begin() -> Quiet {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let loud = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if SIMULATING.with_borrow(|simulating| *simulating) {
                    PLACE.set(info.location().map(|place| format!(" ({place})")));
                } else {
                    loud(info);
                }
            }));
        });
        SIMULATING.set(true);
        Quiet(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        SIMULATING.set(false);
    }
}

/// Whether everything that happens is to be printed.
pub fn is_traced() -> bool {
    static TRACED: OnceLock<bool> = OnceLock::new();
    *TRACED.get_or_init(|| {
        let traced = std::env::var_os("SIMULATE_TRACE").is_some();
        if traced {
            let subscriber = tracing_subscriber::fmt().without_time().with_writer(std::io::stdout).finish();
            tracing::subscriber::set_global_default(subscriber).expect("the only one");
        }
        traced
    })
}

/// Where this thread's last panic happened.
pub fn last_place() -> String {
    PLACE.take().unwrap_or_default()
}
