//! The records of one file, lent to its source thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::content::{Content, Taken, failed};
use super::split::{Piece, Splitter};
use super::{LINE_HEADER, Progress};
use crate::broker::{BrokerError, Delivery, Flow, HeaderVisitor, Headers, PartitionQueue, Record};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::ring::Bell;

/// What the membership tells the queue, from its own thread.
#[derive(Default)]
pub(super) struct FileControl {
    paused: AtomicBool,
    closed: AtomicBool,
    bell: Arc<Mutex<Option<Bell>>>,
}

impl FileControl {
    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn readable(&self) -> bool {
        !self.paused.load(Ordering::Acquire) && !self.closed.load(Ordering::Acquire)
    }
}

enum State {
    /// Not opened yet: a file is opened when it is first read, so that many inputs do not hold a descriptor each for long.
    Unopened,
    Reading(Content),
    Ended,
    Failed,
}

/// See the module.
pub(super) struct FileQueue {
    path: Arc<str>,
    control: Arc<FileControl>,
    progress: Arc<Progress>,
    state: State,
    splitter: Splitter,
    /// Index of the next record.
    offset: i64,
    /// The first record with its line, if it was looked at but not delivered yet.
    peeked: Option<(Vec<u8>, u64)>,
    stamp_by_index: bool,
}

/// What a look at the first record gave.
pub(super) enum Peek {
    Record(Vec<u8>),
    End,
    /// Nothing yet; a pipe.
    Nothing,
}

impl FileQueue {
    pub(super) fn new(path: Arc<str>, control: Arc<FileControl>, progress: Arc<Progress>) -> Self {
        let splitter = Splitter::new(PAYLOAD_BYTES_MAX);
        FileQueue {
            path,
            control,
            progress,
            state: State::Unopened,
            splitter,
            offset: 0,
            peeked: None,
            stamp_by_index: false,
        }
    }

    /// Gives records their index in milliseconds as timestamp.
    pub(super) fn stamp_by_index(&mut self, yes: bool) {
        self.stamp_by_index = yes;
    }

    /// The first record, which stays to be delivered.
    pub(super) fn peek(&mut self) -> Result<Peek, BrokerError> {
        loop {
            if let Some((bytes, _)) = &self.peeked {
                return Ok(Peek::Record(bytes.clone()));
            }
            match self.splitter.next() {
                Piece::Record { bytes, line } => self.peeked = Some((bytes.to_vec(), line)),
                Piece::End => return Ok(Peek::End),
                Piece::Wanting => match self.read() {
                    Ok(true) => {}
                    Ok(false) => return Ok(Peek::Nothing),
                    Err(error) => return Err(failed(&self.path, &error)),
                },
            }
        }
    }

    fn deliver(
        offset: &mut i64,
        by_index: bool,
        bytes: &[u8],
        line: u64,
        visit: &mut dyn FnMut(Delivery<'_>) -> Flow,
    ) -> Flow {
        let timestamp_ms = by_index.then_some(*offset);
        let record = Record { offset: *offset, timestamp_ms, key: None, value: Some(bytes), headers: &Line(line) };
        *offset += 1;
        visit(Delivery::Record(&record))
    }

    /// Reads on. `Ok(false)`: nothing can be had now.
    fn read(&mut self) -> std::io::Result<bool> {
        if matches!(self.state, State::Unopened) {
            let (progress, bell) = (Arc::clone(&self.progress), Arc::clone(&self.control.bell));
            self.state = State::Reading(Content::open(&self.path, progress, bell)?);
        }
        let State::Reading(content) = &mut self.state else { return Ok(false) };
        match content.read(self.splitter.room())? {
            Taken::Data => {}
            Taken::Pending => return Ok(false),
            Taken::End => self.splitter.finish(),
        }
        Ok(true)
    }
}

impl PartitionQueue for FileQueue {
    /// At the end every call delivers one [`Delivery::End`] and counts it; after a failure nothing more comes.
    fn drain(&mut self, visit: &mut dyn FnMut(Delivery<'_>) -> Flow) -> usize {
        let mut deliveries = 0;
        if matches!(self.state, State::Failed) {
            return 0;
        }
        let by_index = self.stamp_by_index;
        while self.control.readable() {
            if let Some((bytes, line)) = self.peeked.take() {
                deliveries += 1;
                if Self::deliver(&mut self.offset, by_index, &bytes, line, visit) == Flow::Stop {
                    return deliveries;
                }
            }
            match self.splitter.next() {
                Piece::Record { bytes, line } => {
                    deliveries += 1;
                    if Self::deliver(&mut self.offset, by_index, bytes, line, visit) == Flow::Stop {
                        return deliveries;
                    }
                }
                Piece::End => {
                    // Closes the file.
                    self.state = State::Ended;
                    self.splitter.release();
                    visit(Delivery::End { position: self.offset });
                    return deliveries + 1;
                }
                Piece::Wanting => match self.read() {
                    Ok(true) => {}
                    Ok(false) => return deliveries,
                    Err(error) => {
                        self.state = State::Failed;
                        visit(Delivery::Failed(failed(&self.path, &error)));
                        return deliveries + 1;
                    }
                },
            }
        }
        deliveries
    }

    fn ring_on_data(&mut self, bell: Bell) {
        *self.control.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell.clone());
        // A file is there from the beginning.
        bell.ring();
    }
}

/// The header of a record: the line it begins on.
struct Line(u64);

impl Headers for Line {
    fn visit(&self, visit: &mut HeaderVisitor<'_>) {
        visit(LINE_HEADER, Some(self.0.to_string().as_bytes()));
    }
}
