//! The calls of librdkafka that the safe wrapper does not have: reading a partition's own queue by callback, waking a
//! thread when it fills, and waiting for acknowledgements. With [`native_ask`](super::native_ask) the only `unsafe` of this
//! room.
//!
//! Rules kept here:
//! - Raw consume calls are made on partition queues only. On the group's queue they would take rebalance events and answer
//!   them by unassigning everything, in silence.
//! - Nothing unwinds across C: a panic of the visitor is caught, carried out, and goes on after librdkafka has returned.
//! - What librdkafka lends (message, headers, event) is not kept beyond the call that lent it. A kept message would pin
//!   its whole fetch response.

#![expect(unsafe_code, reason = "librdkafka's C interface")]

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};

use crate::broker::{Flow, HeaderVisitor, Headers, Record};
use crate::limits::SOURCE_PREFETCH_RECORDS;
use crate::ring::Bell;

/// Below this a queue is never long: some milliseconds of work.
const LONG_MIN: usize = 2_000;

/// What a partition queue gives, errors not yet judged.
pub(super) enum Item<'a> {
    Record(&'a Record<'a>),
    End { position: i64 },
    Error { code: RDKafkaErrorCode, reason: String },
}

/// The queue of one partition, detached from the group's queue.
pub(super) struct RawQueue<C: ConsumerContext> {
    queue: NonNull<c::rd_kafka_queue_t>,
    /// Read by librdkafka's callback; boxed so that its address holds. Present only while the callback is enabled.
    bell: Option<Box<Bell>>,
    /// With more than so many in it, messages are taken out one by one.
    long: usize,
    /// Last, so that it outlives the queue, as librdkafka asks.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread; `RawQueue` is not `Sync`, so one thread at a time uses it.
unsafe impl<C: ConsumerContext> Send for RawQueue<C> {}

impl<C: ConsumerContext> RawQueue<C> {
    /// Takes the partition's queue out of the group's. To be called at every assignment before fetching starts, also for a
    /// partition held before: an assignment may have joined the queues again. `None`: no such topic name.
    /// `partitions` is how many share the room for what is fetched ahead.
    pub(super) fn detach(
        consumer: &Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        partitions: usize,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives as long as `consumer`; the name is a C string that librdkafka copies.
        let queue =
            unsafe { c::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        // SAFETY: `queue` is ours; a null destination is documented to end forwarding.
        unsafe { c::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut()) };
        let long = (2 * SOURCE_PREFETCH_RECORDS / partitions.max(1)).max(LONG_MIN);
        Some(RawQueue { queue, bell: None, long, consumer: Arc::clone(consumer) })
    }

    /// Gives what is in the queue to `visit` until it is empty or `visit` stops. Never waits. Returns how many were given.
    pub(super) fn consume(&mut self, visit: &mut dyn FnMut(Item<'_>) -> Flow) -> usize {
        let client = self.consumer.client().native_ptr();
        let mut visit = Visit { visit, client, given: 0, panic: None };
        // SAFETY: the queue is alive.
        if unsafe { c::rd_kafka_queue_length(self.queue.as_ptr()) } > self.long {
            self.consume_slowly(&mut visit);
            return visit.finish();
        }
        // SAFETY: the queue is alive; `visit` outlives the call, is used by no one else during it, and librdkafka calls
        // back on this thread only, before it returns.
        unsafe {
            c::rd_kafka_consume_callback_queue(self.queue.as_ptr(), 0, Some(on_message), (&raw mut visit).cast());
        }
        visit.finish()
    }

    /// The same, one message at a time. By callback librdkafka first takes everything out of the queue, so that to its fetcher it
    /// looks empty until we are done; if we are slow, it fetches and fetches, whatever bound is set. What is taken out like
    /// this leaves the rest in sight. It costs a tenth of a microsecond more for each message.
    fn consume_slowly(&self, visit: &mut Visit<'_>) {
        loop {
            // SAFETY: the queue is alive; it gives a message that is ours until we destroy it, or null if it is empty.
            let Some(message) = NonNull::new(unsafe { c::rd_kafka_consume_queue(self.queue.as_ptr(), 0) }) else {
                return;
            };
            visit.given += 1;
            // SAFETY: not null, and nobody else has it.
            let lent = unsafe { message.as_ref() };
            let flow = catch_unwind(AssertUnwindSafe(|| give(lent, visit.visit)));
            // SAFETY: destroyed once; nothing that was lent is kept.
            unsafe { c::rd_kafka_message_destroy(message.as_ptr()) };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => return,
                Err(panic) => {
                    visit.panic = Some(panic);
                    return;
                }
            }
        }
    }

    /// Rings the bell, if one hangs here.
    pub(super) fn wake(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Rings `bell` whenever the queue turns non-empty; `None` stops that.
    pub(super) fn ring(&mut self, bell: Option<Bell>) {
        let bell = bell.map(Box::new);
        let (callback, target) = match &bell {
            Some(bell) => (Some(on_data as unsafe extern "C" fn(_, _)), ptr::from_ref::<Bell>(bell).cast_mut().cast()),
            None => (None, ptr::null_mut()),
        };
        // SAFETY: librdkafka calls back, and replaces the callback, under the queue's lock: after this call the former
        // bell is not used any more and may go. The new one stays in place until it is replaced or the queue is dropped.
        unsafe { c::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), callback, target) };
        self.bell = bell;
    }
}

impl<C: ConsumerContext> Drop for RawQueue<C> {
    fn drop(&mut self) {
        // Only if it is still ours: a later assignment of the same partition shares librdkafka's queue, and its bell.
        if self.bell.is_some() {
            self.ring(None);
        }
        // SAFETY: made by `rd_kafka_queue_get_partition`, destroyed once, before the consumer.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Waits until every record given to `producer` is acknowledged or refused and that was reported, up to `timeout`.
///
/// The safe wrapper's own `flush` takes events itself in rounds of 100 ms and looks only after each whether it is done: a
/// tenth of a second for every transaction. Here the producer's own thread takes them, and the last one ends the wait.
pub(super) fn flush<C: ProducerContext + 'static>(
    producer: &ThreadedProducer<C>,
    timeout: Duration,
) -> KafkaResult<()> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as `producer`.
    match unsafe { c::rd_kafka_flush(producer.client().native_ptr(), timeout_ms) } {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::Flush(code.into())),
    }
}

struct Visit<'v> {
    visit: &'v mut dyn FnMut(Item<'_>) -> Flow,
    client: *mut c::rd_kafka_t,
    given: usize,
    panic: Option<Box<dyn Any + Send>>,
}

impl Visit<'_> {
    /// How many were given, or the panic that ended it.
    fn finish(self) -> usize {
        match self.panic {
            Some(panic) => resume_unwind(panic),
            None => self.given,
        }
    }
}

/// Called by librdkafka for each message or error of the queue.
unsafe extern "C" fn on_message(message: *mut c::rd_kafka_message_t, visit: *mut c_void) {
    // SAFETY: `consume` passes its `Visit`, which lives and is ours alone until `rd_kafka_consume_callback_queue` returns.
    let visit = unsafe { &mut *visit.cast::<Visit<'_>>() };
    // SAFETY: librdkafka lends a valid message for the length of this call.
    let message = unsafe { &*message };
    visit.given += 1;
    let flow = catch_unwind(AssertUnwindSafe(|| give(message, visit.visit)));
    let stop = match flow {
        Ok(flow) => flow == Flow::Stop,
        Err(panic) => {
            visit.panic = Some(panic);
            true
        }
    };
    if stop {
        // SAFETY: sets a flag of this thread; librdkafka stops after this message and puts the rest back in front.
        unsafe { c::rd_kafka_yield(visit.client) };
    }
}

fn give(message: &c::rd_kafka_message_t, visit: &mut dyn FnMut(Item<'_>) -> Flow) -> Flow {
    match message.err {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
            let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            // SAFETY: a lent message, and a place for the kind.
            let timestamp = unsafe { c::rd_kafka_message_timestamp(message, &raw mut kind) };
            visit(Item::Record(&Record {
                offset: message.offset,
                timestamp_ms: (timestamp >= 0).then_some(timestamp),
                key: bytes(message.key, message.key_len, message),
                value: bytes(message.payload, message.len, message),
                headers: &MessageHeaders(message),
            }))
        }
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => visit(Item::End { position: message.offset }),
        code => {
            // SAFETY: a lent message; librdkafka answers with a string that lives as long as the message, or static.
            let reason = unsafe { c::rd_kafka_message_errstr(message) };
            visit(Item::Error { code: code.into(), reason: text(reason) })
        }
    }
}

/// Bytes lent with `_message`; a null pointer is a null key or value.
fn bytes(start: *const c_void, length: usize, _message: &c::rd_kafka_message_t) -> Option<&[u8]> {
    // SAFETY: if not null, librdkafka points at `length` bytes that live as long as the message.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}

pub(super) fn text(string: *const std::ffi::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: not null, and librdkafka's strings end with a zero.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// Headers of a lent message; parsed by librdkafka only when they are looked at.
struct MessageHeaders<'a>(&'a c::rd_kafka_message_t);

impl Headers for MessageHeaders<'_> {
    fn visit(&self, visit: &mut HeaderVisitor<'_>) {
        let mut headers = ptr::null_mut();
        // SAFETY: a lent message, and a place for the pointer; the headers belong to the message.
        let found = unsafe { c::rd_kafka_message_headers(self.0, &raw mut headers) };
        if found != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: headers of a lent message; an index past the last is answered with an error.
            let found =
                unsafe { c::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) };
            if found != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: librdkafka ends header names with a zero.
            let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
            visit(&name, bytes(value, size, self.0));
        }
    }
}

/// Called by librdkafka, on a thread of its own, when the queue turns non-empty.
unsafe extern "C" fn on_data(_: *mut c::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: the box that `RawQueue::ring` holds while this callback is enabled. A `Bell` may be rung from any thread, and
    // ringing does not unwind: it locks without poisoning and unparks.
    unsafe { &*bell.cast::<Bell>() }.ring();
}
