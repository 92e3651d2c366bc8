//! Sends a stream to a sink, as fast as it takes it or at a steady rate.
//!
//! Pacing is open-loop: record i is due at `start + i / rate` by the wall clock, whatever became of the ones before it. A
//! sink that falls behind is not waited for and then gets the backlog at once; it never slows the schedule.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::{Expected, Generator, Options};
use crate::event::{Span, Timestamp};

/// One record for a sink.
#[derive(Debug)]
pub struct Record<'a> {
    /// The event, without a line end.
    pub value: &'a [u8],
    /// The record's key: the entity's name.
    pub key: &'a [u8],
    /// Event time.
    pub time: Timestamp,
    /// When it was due, if the stream is paced: latency is measured from here, not from the moment of sending.
    pub intended: Option<Instant>,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records, duplicates included.
    pub records: u64,
    /// Duplicates among them.
    pub duplicates: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// How far behind its schedule the last record went out; 0 without a rate.
    pub lag: Span,
    /// What the starter rules must find.
    pub expected: Vec<Expected>,
}

/// Records that are sent between two looks at the clock, at most: keeps the clock out of the way at high rates.
const TURN: u64 = 64;

/// Shortest pause: at a high rate some records go out together, up to this late and never early, instead of one for each
/// wake-up, which would cost the machine more than the records do.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Longest pause, so that a sink can poll.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Writes the stream to `out`, one event a line, and flushes it at the end (and before each pause, when paced).
///
/// # Errors
/// The writer's; a closed pipe is one of them.
pub fn run(options: Options, out: &mut dyn Write) -> io::Result<Summary> {
    let mut buffered = io::BufWriter::with_capacity(1 << 18, out);
    let paced = options.rate.is_some();
    let summary = run_into(options, |step| match step {
        Some(record) => {
            buffered.write_all(record.value)?;
            buffered.write_all(b"\n")
        }
        None if paced => buffered.flush(),
        None => Ok(()),
    })?;
    buffered.flush()?;
    Ok(summary)
}

/// Gives each record to `sink`; `None` means that there is time before the next one: flush, poll, look for a stop.
///
/// # Errors
/// The sink's first error ends the stream.
pub fn run_into<E>(options: Options, mut sink: impl FnMut(Option<Record<'_>>) -> Result<(), E>) -> Result<Summary, E> {
    let rate = options.rate.map(|rate| rate.max(1));
    let mut generator = Generator::new(options);
    let mut summary = Summary { records: 0, duplicates: 0, bytes: 0, lag: Span::ZERO, expected: Vec::new() };
    let mut buf = Vec::with_capacity(1024);
    let began = Instant::now();
    let mut now = began;
    while let Some(meta) = generator.next(&mut buf) {
        let intended = rate.map(|rate| began + due(summary.records, rate));
        if let Some(due) = intended
            && (due > now || summary.records.is_multiple_of(TURN))
        {
            now = wait_until(due, &mut sink)?;
            summary.lag = Span(i64::try_from(now.saturating_duration_since(due).as_nanos()).unwrap_or(i64::MAX));
        } else if rate.is_none() && summary.records.is_multiple_of(TURN * 1024) {
            sink(None)?;
        }
        let key = buf.get(meta.key.clone()).unwrap_or_default();
        sink(Some(Record { value: &buf, key, time: meta.time, intended }))?;
        summary.records += 1;
        summary.duplicates += u64::from(meta.duplicate);
        summary.bytes += buf.len() as u64;
    }
    summary.expected = generator.take_expected();
    Ok(summary)
}

/// When record `n` is due, after the first.
fn due(n: u64, rate: u64) -> Duration {
    let nanos = u128::from(n) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Waits for `due`, at once if it has passed; gives the time it is then.
fn wait_until<E>(due: Instant, sink: &mut impl FnMut(Option<Record<'_>>) -> Result<(), E>) -> Result<Instant, E> {
    let mut now = Instant::now();
    while now < due {
        sink(None)?;
        std::thread::sleep((due - now).clamp(PAUSE_MIN, PAUSE_MAX));
        now = Instant::now();
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_stream_takes_its_time_and_offers_pauses() {
        let (mut records, mut pauses) = (0, 0);
        let options = Options { count: Some(50), rate: Some(1000), ..Options::default() };
        let began = Instant::now();
        let summary = run_into(options, |step| {
            match step {
                Some(record) => {
                    assert!(record.intended.is_some_and(|due| due <= Instant::now()), "sent before it was due");
                    records += 1;
                }
                None => pauses += 1,
            }
            Ok::<_, ()>(())
        });
        assert!(began.elapsed() >= Duration::from_millis(49), "{:?}", began.elapsed());
        assert_eq!(summary.map(|s| s.records), Ok(50));
        assert_eq!(records, 50);
        assert!(pauses > 0);
    }

    #[test]
    fn a_sink_error_ends_the_stream() {
        let mut left = 10;
        let result = run_into(Options { count: None, ..Options::default() }, |step| {
            left -= i32::from(step.is_some());
            if left == 0 { Err("full") } else { Ok(()) }
        });
        assert_eq!(result.err(), Some("full"));
    }

    #[test]
    fn lines_are_json_and_counted() {
        let mut out = Vec::new();
        let summary = run(Options { count: Some(500), ..Options::default() }, &mut out).expect("a Vec takes all");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.lines().count() as u64, summary.records);
        assert_eq!(text.len() as u64, summary.bytes + summary.records);
    }
}
