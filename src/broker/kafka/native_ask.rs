//! The questions to a cluster that the safe wrapper does not have: ListOffsets with an isolation level of its own,
//! DescribeTopics, and committed offsets whose metadata may be any bytes.
//!
//! Rules kept here: what an event lends is copied before the event goes; options, queue and event are each destroyed once, in
//! the call that made them.

#![expect(unsafe_code, reason = "librdkafka's C interface")]

use std::ffi::CString;
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use super::native::text;

/// The code, and on what.
pub(super) type Refusal = (RDKafkaErrorCode, String);

/// Topic, partition, offset.
pub(super) type Offsets = Vec<(String, i32, i64)>;

const NO_ERROR: c::rd_kafka_resp_err_t = c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Where partitions begin or end (as the list's offsets say), as the leaders have it now; with `stable` only up to the first
/// open transaction. Whatever the client's own isolation level. The answer's order is librdkafka's.
pub(super) fn list_offsets<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    stable: bool,
    timeout: Duration,
) -> Result<Offsets, Refusal> {
    let level = if stable {
        c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
    } else {
        c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
    };
    let ask = |rk, options, queue| {
        // SAFETY: all three live until `question` has its answer; a refusal is ours to destroy.
        unsafe {
            let refused = c::rd_kafka_AdminOptions_set_isolation_level(options, level);
            if !refused.is_null() {
                c::rd_kafka_error_destroy(refused);
            }
            c::rd_kafka_ListOffsets(rk, partitions.ptr(), options, queue);
        }
    };
    let operation = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    // SAFETY: `read_offsets` is for the answers to ListOffsets, which `ask` asks.
    question(client, operation, timeout, ask, |event| unsafe { read_offsets(event) })
}

/// A topic as the cluster has it.
pub(super) struct Described {
    /// 16 bytes in base64; empty if the broker gives none.
    pub(super) id: String,
    pub(super) partitions: i32,
    /// Every partition has a leader.
    pub(super) led: bool,
}

/// Asks for one topic by its name.
pub(super) fn describe_topic<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Described, Refusal> {
    let Ok(name) = CString::new(topic) else {
        return Err((RDKafkaErrorCode::InvalidTopic, topic.to_owned()));
    };
    let ask = |rk, options: *mut c::rd_kafka_AdminOptions_t, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: all three live until `question` has its answer; librdkafka copies the names.
        unsafe {
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            c::rd_kafka_DescribeTopics(rk, topics, options, queue);
            c::rd_kafka_TopicCollection_destroy(topics);
        }
    };
    let operation = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `read_topic` is for the answers to DescribeTopics, which `ask` asks.
    question(client, operation, timeout, ask, |event| unsafe { read_topic(event) })
}

/// What a group has committed for a partition: offset and metadata; or why that is not known.
pub(super) type Known = Result<Option<(i64, String)>, RDKafkaErrorCode>;

/// The answer to a question for committed offsets. Anyone in the group may have committed metadata that is no text; it
/// comes out mended, where the safe wrapper would panic.
pub(super) fn read_committed(answer: &TopicPartitionList) -> Vec<(String, i32, Known)> {
    if answer.count() == 0 {
        return Vec::new();
    }
    // SAFETY: the list lives as long as `answer`, which is not changed meanwhile; it has `count` elements.
    let elements = unsafe { slice::from_raw_parts((*answer.ptr()).elems, answer.count()) };
    let read = |element: &c::rd_kafka_topic_partition_t| {
        let known = match element.err {
            NO_ERROR if element.offset >= 0 => Ok(Some((element.offset, metadata(element)))),
            NO_ERROR => Ok(None),
            code => Err(code.into()),
        };
        (text(element.topic), element.partition, known)
    };
    elements.iter().map(read).collect()
}

fn metadata(element: &c::rd_kafka_topic_partition_t) -> String {
    if element.metadata.is_null() {
        return String::new();
    }
    // SAFETY: not null, so librdkafka points at `metadata_size` bytes that live as long as the element.
    let bytes = unsafe { slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks with a queue of its own and waits for the answer.
fn question<C: ConsumerContext, T>(
    client: &BaseConsumer<C>,
    operation: c::rd_kafka_admin_op_t,
    timeout: Duration,
    ask: impl FnOnce(*mut c::rd_kafka_t, *mut c::rd_kafka_AdminOptions_t, *mut c::rd_kafka_queue_t),
    read: impl FnOnce(*mut c::rd_kafka_event_t) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let rk = client.client().native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: `rk` lives as long as `client`. Options, queue and event are made here and destroyed here, each once and in
    // this order; what the event lends is copied by `read` before it goes.
    unsafe {
        let options = c::rd_kafka_AdminOptions_new(rk, operation);
        c::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = c::rd_kafka_queue_new(rk);
        ask(rk, options, queue);
        // The request's own timeout answers; the second more is for the answer to get here.
        let event = c::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1000));
        let answer = if event.is_null() {
            Err((RDKafkaErrorCode::OperationTimedOut, "no answer".to_owned()))
        } else {
            match c::rd_kafka_event_error(event) {
                NO_ERROR => read(event),
                code => Err((code.into(), text(c::rd_kafka_event_error_string(event)))),
            }
        };
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AdminOptions_destroy(options);
        answer
    }
}

fn other_answer() -> Refusal {
    (RDKafkaErrorCode::Unknown, "an answer to another question".to_owned())
}

/// # Safety
/// `event` is a live event.
unsafe fn read_offsets(event: *mut c::rd_kafka_event_t) -> Result<Offsets, Refusal> {
    // SAFETY: by this function's contract; what the event lends is copied before returning.
    unsafe {
        let result = c::rd_kafka_event_ListOffsets_result(event);
        if result.is_null() {
            return Err(other_answer());
        }
        let mut count = 0;
        let infos = c::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        let infos = if count == 0 { &[] } else { slice::from_raw_parts(infos, count) };
        let mut offsets = Vec::with_capacity(count);
        for info in infos {
            let partition = &*c::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            let topic = text(partition.topic);
            if partition.err != NO_ERROR {
                return Err((partition.err.into(), format!("{topic}/{}", partition.partition)));
            }
            offsets.push((topic, partition.partition, partition.offset));
        }
        Ok(offsets)
    }
}

/// # Safety
/// `event` is a live event.
unsafe fn read_topic(event: *mut c::rd_kafka_event_t) -> Result<Described, Refusal> {
    // SAFETY: by this function's contract; what the event lends is copied before returning.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(other_answer());
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 {
            return Err((RDKafkaErrorCode::UnknownTopicOrPartition, "not in the answer".to_owned()));
        }
        let topic = *topics;
        let error = c::rd_kafka_TopicDescription_error(topic);
        let code = c::rd_kafka_error_code(error);
        if code != NO_ERROR {
            return Err((code.into(), text(c::rd_kafka_error_string(error))));
        }
        let partitions = c::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let partitions = if count == 0 { &[] } else { slice::from_raw_parts(partitions, count) };
        let led = partitions.iter().all(|p| {
            let leader = c::rd_kafka_TopicPartitionInfo_leader(*p);
            !leader.is_null() && c::rd_kafka_Node_id(leader) >= 0
        });
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let known = !id.is_null()
            && (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id)) != (0, 0);
        let id = if known { text(c::rd_kafka_Uuid_base64str(id)) } else { String::new() };
        Ok(Described { id, partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX), led })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;

    use super::*;

    #[test]
    fn metadata_that_is_no_text_is_mended_and_what_is_missing_is_none() {
        let mut list = TopicPartitionList::new();
        let mut known = list.add_partition("t", 3);
        known.set_offset(Offset::Offset(7)).expect("an offset");
        known.set_metadata("ok!");
        list.add_partition("t", 4);
        // SAFETY: the first element has three bytes of metadata, and nobody else looks at the list.
        unsafe { *(*(*list.ptr()).elems).metadata.cast::<u8>().add(2) = 0xff };
        let read = read_committed(&list);
        assert_eq!(read[0], ("t".into(), 3, Ok(Some((7, "ok\u{fffd}".into())))));
        assert_eq!(read[1], ("t".into(), 4, Ok(None)));
    }
}
