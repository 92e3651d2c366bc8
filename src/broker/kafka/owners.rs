//! Which partitions the members of our group own, as its coordinator has it.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::lookup::Lookup;
use crate::broker::{BrokerError, ErrorKind, TopicPartition};

/// The group's state when every member has what the last rebalance gave it.
const STABLE: &str = "Stable";

impl Lookup {
    /// See [`crate::broker::Broker::owned`].
    pub(super) fn owned(&self, group: &str, timeout: Duration) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        let groups = match self.client().fetch_group_list(Some(group), timeout) {
            Ok(groups) => groups,
            Err(KafkaError::GroupListFetch(RDKafkaErrorCode::UnknownGroup)) => return Ok(None),
            Err(error) => return Err(self.failed("asking who owns which partition", &error)),
        };
        let Some(ours) = groups.groups().iter().find(|g| g.name() == group && g.state() == STABLE) else {
            return Ok(None);
        };
        let mut owned = Vec::new();
        for member in ours.members() {
            read_assignment(member.assignment().unwrap_or_default(), &mut owned).ok_or_else(|| {
                let message =
                    format!("the assignment of member {} of group {group} cannot be read", member.client_id());
                BrokerError::new(ErrorKind::Transient, message)
            })?;
        }
        Ok(Some(owned))
    }
}

/// Reads an assignment as assignors write it (ConsumerProtocolAssignment: version i16, topics [name, partitions [i32]], and what
/// else a later version has), big-endian. A member without one has none; `None`: it is cut off.
fn read_assignment(mut bytes: &[u8], owned: &mut Vec<TopicPartition>) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    take::<2>(&mut bytes)?;
    for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let topic: std::sync::Arc<str> = std::str::from_utf8(name).ok()?.into();
        for _ in 0..i32::from_be_bytes(take(&mut bytes)?) {
            let partition = i32::from_be_bytes(take(&mut bytes)?);
            owned.push(TopicPartition { topic: std::sync::Arc::clone(&topic), partition });
        }
    }
    Some(())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] =
        b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\x03\0\0\0\x07\0\x02bc\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";

    #[test]
    fn topics_and_partitions_are_read_and_a_later_version_s_rest_is_not() {
        let mut owned = Vec::new();
        assert_eq!(read_assignment(TWO, &mut owned), Some(()));
        let names: Vec<String> = owned.iter().map(|tp| format!("{}/{}", tp.topic, tp.partition)).collect();
        assert_eq!(names, ["a/3", "a/7", "bc/0"]);
        owned.clear();
        assert_eq!(read_assignment(b"", &mut owned), Some(()));
        assert!(owned.is_empty());
    }

    #[test]
    fn one_that_is_cut_off_is_no_assignment() {
        // The last four bytes are the length of the user data, which nobody reads.
        for length in 1..TWO.len() - 4 {
            assert_eq!(read_assignment(&TWO[..length], &mut Vec::new()), None, "{length} bytes");
        }
        assert_eq!(read_assignment(b"\0\x01\x7f\xff\xff\xff", &mut Vec::new()), None, "more topics than bytes");
        assert_eq!(read_assignment(b"\0\x01\0\0\0\x01\xff\xff", &mut Vec::new()), None, "a name of negative length");
    }
}
