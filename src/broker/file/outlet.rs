//! The producer: hands records to the channel that prints them.

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::broker::{BrokerError, ErrorKind, GroupHandle, OutRecord, Position, Producer};

/// Transactional: records wait for the commit, bounded by the epoch's output bound. Else they go at once.
pub(super) struct FileProducer {
    outputs: Sender<OutRecord>,
    transactional: bool,
    held: Vec<OutRecord>,
}

impl FileProducer {
    pub(super) fn new(outputs: Sender<OutRecord>, transactional: bool) -> Self {
        FileProducer { outputs, transactional, held: Vec::new() }
    }

    fn deliver(&self, record: OutRecord) -> Result<(), BrokerError> {
        let gone = |_| BrokerError::new(ErrorKind::Fatal, "nobody takes the results any more: the output was closed");
        self.outputs.send(record).map_err(gone)
    }
}

impl Producer for FileProducer {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.held.clear();
        Ok(())
    }

    fn send(&mut self, record: OutRecord) -> Result<(), BrokerError> {
        if self.transactional {
            self.held.push(record);
            return Ok(());
        }
        self.deliver(record)
    }

    fn commit(&mut self, _: &[Position], _: &dyn GroupHandle) -> Result<(), BrokerError> {
        for record in std::mem::take(&mut self.held) {
            self.deliver(record)?;
        }
        Ok(())
    }

    fn abort(&mut self) -> Result<(), BrokerError> {
        self.held.clear();
        Ok(())
    }

    fn flush(&mut self, _: Duration) -> Result<(), BrokerError> {
        Ok(())
    }

    fn log_ends(&mut self) -> Vec<(i32, i64)> {
        Vec::new()
    }
}
