//! Bounded inputs: NDJSON, JSON arrays, gzip, zstd, stdin (`-`), as a broker whose topics are files.
//!
//! A file is a topic named by its path as given, with partition 0; the offset of a record is its index from 0 (blank lines
//! have none); the header [`LINE_HEADER`] holds the 1-based line it begins on. A file is read as a stream through one
//! buffer; a line or array element longer than [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX) is delivered cut
//! to one byte more than that, so that decoding says what it is, and the rest of it is skipped.
//!
//! There is one member, nothing is ever revoked, offsets are not kept: each run begins at the beginning. Outputs go to the
//! channel given at construction; those of a transaction when it commits, so an aborted one leaves none.

mod content;
mod outlet;
mod queue;
mod split;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;

use self::outlet::FileProducer;
use self::queue::{FileControl, FileQueue, Peek};
use super::patterns::TopicPatterns;
use super::{
    Assigned, Broker, BrokerError, ErrorKind, Flow, Group, GroupEvents, GroupHandle, LogInfo, LogRecord, OutRecord,
    Position, Producer, Subscription, TopicInfo, TopicPartition,
};

/// The header with the 1-based line (decimal) that a record begins on.
pub const LINE_HEADER: &str = "throughline.line";

/// The path that stands for standard input.
pub const STDIN: &str = "-";

/// How far reading has come, over all files; for a progress bar.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    total: Option<u64>,
}

impl Progress {
    /// Bytes read so far, as they lie on disk (compressed).
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes to read; `None` if any input is a pipe.
    pub fn bytes_total(&self) -> Option<u64> {
        self.total
    }

    fn add(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// See the module.
pub struct FileBroker {
    paths: Vec<Arc<str>>,
    outputs: Sender<OutRecord>,
    progress: Arc<Progress>,
    /// The first file, once it was peeked into: a pipe cannot be opened twice.
    peeked: Mutex<Option<(FileQueue, Arc<FileControl>)>>,
    stamp_by_index: AtomicBool,
}

impl FileBroker {
    /// A broker over these files; `-` is stdin. Every output record goes to `outputs`; a full channel is waited for.
    ///
    /// `File`, naming the path: it does not exist, is a directory, cannot be opened, or is given twice.
    pub fn new(paths: Vec<String>, outputs: Sender<OutRecord>) -> Result<FileBroker, BrokerError> {
        let mut total = Some(0);
        for (at, path) in paths.iter().enumerate() {
            if paths[..at].contains(path) {
                return Err(BrokerError::new(ErrorKind::File, format!("{path}: given twice; name each input once")));
            }
            let bytes = content::check(path)?;
            total = total.zip(bytes).map(|(sum, bytes)| sum + bytes);
        }
        let progress = Arc::new(Progress { read: AtomicU64::new(0), total });
        let paths = paths.into_iter().map(Into::into).collect();
        let (peeked, stamp_by_index) = (Mutex::new(None), AtomicBool::new(false));
        Ok(FileBroker { paths, outputs, progress, peeked, stamp_by_index })
    }

    /// The first record of the first file, which stays to be read; `None`: it has none. Waits for a pipe to say something.
    pub fn first_record(&self) -> Result<Option<Vec<u8>>, BrokerError> {
        let Some(path) = self.paths.first() else { return Ok(None) };
        let (mut queue, control) = self.open(path);
        let first = loop {
            match queue.peek()? {
                Peek::Record(bytes) => break Some(bytes),
                Peek::End => break None,
                Peek::Nothing => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        *self.peeked.lock().unwrap_or_else(PoisonError::into_inner) = Some((queue, control));
        Ok(first)
    }

    /// Stamps every record with its index in milliseconds: for events without a time of their own. Before joining.
    pub fn stamp_by_index(&self) {
        self.stamp_by_index.store(true, Ordering::Relaxed);
    }

    fn open(&self, path: &Arc<str>) -> (FileQueue, Arc<FileControl>) {
        let control = Arc::new(FileControl::default());
        (FileQueue::new(Arc::clone(path), Arc::clone(&control), Arc::clone(&self.progress)), control)
    }

    /// How far reading has come.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn matching<'a>(&'a self, patterns: &'a [String]) -> Result<impl Iterator<Item = &'a Arc<str>> + 'a, BrokerError> {
        // A path may begin with `^` too, so a literal match goes first.
        let literal = |path: &str| patterns.iter().any(|pattern| pattern == path);
        let parsed = TopicPatterns::parse(&patterns.iter().filter(|p| !self.is_path(p)).cloned().collect::<Vec<_>>())?;
        Ok(self.paths.iter().filter(move |path| literal(path) || parsed.matches(path)))
    }

    fn is_path(&self, name: &str) -> bool {
        self.paths.iter().any(|path| **path == *name)
    }
}

impl Broker for FileBroker {
    fn topics(&self, patterns: &[String], _: Duration) -> Result<Vec<TopicInfo>, BrokerError> {
        let info = |path: &Arc<str>| TopicInfo { topic: Arc::clone(path), partitions: 1, message_bytes_max: None };
        Ok(self.matching(patterns)?.map(info).collect())
    }

    fn join(&self, subscription: &Subscription, events: Box<dyn GroupEvents>) -> Result<Box<dyn Group>, BrokerError> {
        let mut peeked = self.peeked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let by_index = self.stamp_by_index.load(Ordering::Relaxed);
        let mut files = Vec::with_capacity(self.paths.len());
        for path in self.matching(&subscription.topics)? {
            let first = self.paths.first() == Some(path);
            let opened = if first { peeked.take() } else { None };
            let (mut queue, control) = opened.unwrap_or_else(|| self.open(path));
            queue.stamp_by_index(by_index);
            files.push((Arc::clone(path), queue, control));
        }
        Ok(Box::new(FileGroup { files, events, controls: BTreeMap::new(), state: Membership::Joining }))
    }

    fn other_members(&self, _: Duration) -> Result<Vec<String>, BrokerError> {
        Ok(Vec::new())
    }

    fn producer(&self, transactional: bool, _: Option<&str>) -> Result<Box<dyn Producer>, BrokerError> {
        Ok(Box::new(FileProducer::new(self.outputs.clone(), transactional)))
    }

    fn committed(&self, partitions: &[TopicPartition], _: Duration) -> Result<Vec<Option<(i64, String)>>, BrokerError> {
        Ok(vec![None; partitions.len()])
    }

    fn prepare_log(&self, _: &str, _: i32, _: Duration) -> Result<LogInfo, BrokerError> {
        Err(no_changelog())
    }

    fn log_bounds(&self, _: &str, _: &[i32], _: Duration) -> Result<Vec<(i64, i64)>, BrokerError> {
        Err(no_changelog())
    }

    fn read_log(
        &self,
        _: &str,
        _: &[(i32, i64, i64)],
        _: &mut dyn FnMut(LogRecord<'_>) -> Flow,
    ) -> Result<(), BrokerError> {
        Err(no_changelog())
    }
}

/// Files begin at the beginning in each run, so there is no state to keep.
fn no_changelog() -> BrokerError {
    BrokerError::new(ErrorKind::Setting, "files have no changelog: state of a run over files lives in memory only")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    Joining,
    Joined,
    Left,
}

/// The one member.
struct FileGroup {
    files: Vec<(Arc<str>, FileQueue, Arc<FileControl>)>,
    events: Box<dyn GroupEvents>,
    controls: BTreeMap<TopicPartition, Arc<FileControl>>,
    state: Membership,
}

impl Group for FileGroup {
    fn poll(&mut self, timeout: Duration) -> Result<(), BrokerError> {
        match self.state {
            Membership::Joining => {
                let mut assigned = Vec::with_capacity(self.files.len());
                for (topic, queue, control) in self.files.drain(..) {
                    let partition = TopicPartition { topic, partition: 0 };
                    self.controls.insert(partition.clone(), control);
                    assigned.push(Assigned { partition, committed: None, metadata: None, queue: Box::new(queue) });
                }
                self.state = Membership::Joined;
                self.events.assigned(assigned);
                Ok(())
            }
            Membership::Joined => {
                // Files have nothing more to say to a membership.
                std::thread::sleep(timeout);
                Ok(())
            }
            Membership::Left => Err(BrokerError::new(ErrorKind::Fatal, "this membership has ended; join again")),
        }
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        partitions.iter().filter_map(|p| self.controls.get(p)).for_each(|control| control.pause());
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        partitions.iter().filter_map(|p| self.controls.get(p)).for_each(|control| control.resume());
        Ok(())
    }

    /// `i64::MAX` for each: how many records a file holds is known only once it is read. So nothing is ever at its high
    /// watermark (a file is never idle), and what bounds it is [`Delivery::End`](super::Delivery::End) alone.
    fn end_offsets(&mut self, partitions: &[TopicPartition], _: Duration) -> Result<Vec<i64>, BrokerError> {
        Ok(vec![i64::MAX; partitions.len()])
    }

    fn handle(&self) -> Arc<dyn GroupHandle> {
        Arc::new(FileGroupHandle)
    }

    fn leave(&mut self) -> Result<(), BrokerError> {
        if self.state == Membership::Joined && !self.controls.is_empty() {
            let all: Vec<_> = self.controls.keys().cloned().collect();
            self.events.revoked(&all);
            self.controls.values().for_each(|control| control.close());
        }
        self.controls.clear();
        self.state = Membership::Left;
        Ok(())
    }
}

/// Offsets of files are not kept.
struct FileGroupHandle;

impl GroupHandle for FileGroupHandle {
    fn commit(&self, _: &[Position]) -> Result<(), BrokerError> {
        Ok(())
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
