//! A progress bar for long file work: only on a terminal, only if it takes longer than a moment, on stderr.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::broker::file::Progress;

/// Work shorter than this shows no bar.
const DELAY: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(100);

/// A bar that follows how far files were read.
pub struct FileBar {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FileBar {
    /// Starts watching, if stderr is a terminal.
    pub fn start(progress: Arc<Progress>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !std::io::stderr().is_terminal() {
            return FileBar { done, thread: None };
        }
        let flag = Arc::clone(&done);
        // No bar if no thread can be had: the work goes on all the same.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || watch(&progress, &flag)).ok();
        FileBar { done, thread }
    }

    /// Takes the bar away.
    pub fn finish(mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

fn watch(progress: &Progress, done: &AtomicBool) {
    std::thread::park_timeout(DELAY);
    if done.load(Ordering::Relaxed) {
        return;
    }
    let bar = match progress.bytes_total() {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    let template = match progress.bytes_total() {
        Some(_) => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    while !done.load(Ordering::Relaxed) {
        bar.set_position(progress.bytes_read());
        std::thread::park_timeout(PACE);
    }
    bar.finish_and_clear();
}
