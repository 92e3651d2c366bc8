//! Every bound in one place, with its reason. A limit that a user meets is named in the message that cites it.

use std::time::Duration;

use crate::event::Span;

/// Deepest nesting of a JSON payload. The decoder is iterative, so this guards readers downstream, not our stack; real
/// events stay under 20.
pub const JSON_DEPTH_MAX: usize = 128;

/// Largest payload that is decoded. Above librdkafka's default `message.max.bytes`, well below what would let a few
/// records fill the memory budget.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Most elements of one array field that are looked at; the rest are ignored. Bounds the work one event can cause.
pub const ARRAY_ELEMENTS_MAX: usize = 1024;

/// Most strides (the text between two values of an event, with what follows from it) that a decoder remembers. A kind of event
/// has about as many as it has fields; 128 bytes each, so that those in use stay in the caches.
pub const SHAPE_STRIDES_MAX: usize = 1024;

/// Longest text of a stride that is remembered: several keys with indentation.
pub const SHAPE_STRIDE_BYTES_MAX: usize = 128;

/// Most objects, by the keys that lead to them, that a decoder tells apart: twice the deepest nesting and more than a plan's fields
/// lie in.
pub const SHAPE_CONTEXTS_MAX: usize = 256;

/// Events after which a memory of shapes that ran full begins anew. To learn all of it again costs less than a millisecond.
pub const SHAPE_KEPT_EVENTS: u32 = 1 << 16;

/// Most keys one event may stand for in one dimension (arrays in `by` fields, every combination).
pub const KEYS_PER_EVENT_MAX: usize = 64;

/// Largest correlation key. It is part of the key of every piece of its state, which goes to Kafka as one record, so it must stay
/// well below `max.message.bytes`; the longest command line of Linux, which some rule may group by, is as long.
pub const KEY_BYTES_MAX: usize = 128 << 10;

/// Least `max.message.bytes` of a changelog topic: a key of [`KEY_BYTES_MAX`] and as much of a value again.
pub const CHANGELOG_RECORD_BYTES_MIN: usize = 2 * KEY_BYTES_MAX;

/// Most events printed in one correlation: first and last halves; `values.count` has the true number.
pub const CORRELATION_EVENTS_MAX: usize = 100;

/// Most steps of a sequence, runs expanded. A pending match holds one event per step.
pub const SEQUENCE_STATES_MAX: usize = 1024;

/// Signals in one batch between a source and a shard: large enough that a hand-off costs nothing per signal, small enough
/// that a batch stays in the first-level cache.
pub const BATCH_SIGNALS: usize = 128;

/// Bytes of evidence and late records in one batch: a ring of large batches must not fill memory.
pub const BATCH_BYTES: usize = 128 << 10;

/// Batches that a ring between a source and a shard holds: at 1M events/s and 2 % signals about 100 ms of work.
pub const RING_BATCHES: usize = 64;

/// Records that a source takes from one partition before it looks at its other duties (barriers, other partitions,
/// revocation). At 1M events/s about 1 ms.
pub const SOURCE_TURN_RECORDS: usize = 1024;

/// Epochs that may wait for their commit; then sources stop.
pub const EPOCHS_IN_FLIGHT: usize = 2;

/// Signals that a shard takes in one epoch before it wants the epoch to end, and takes nothing more until it does: what they
/// change is held three times over (being gathered, sent, stored), some 300 bytes each.
pub const EPOCH_SIGNALS: usize = 3 << 13;

/// Bytes of outputs and dead letters after which an epoch is closed early, whatever the clock says.
pub const EPOCH_OUTPUT_BYTES: usize = 16 << 20;

/// Shortest epoch. Below this a transaction costs more than what it carries.
pub const EPOCH_MIN: Span = Span::from_millis(1);

/// Longest epoch: with two in flight still well inside the transaction timeout of 10 s.
pub const EPOCH_MAX: Span = Span::from_secs(3);

/// Deepest nesting of a configuration; the deepest key lies 5 levels down, a `sigma` section is free in form.
pub const CONFIG_DEPTH_MAX: usize = 64;

/// Most YAML nodes of a configuration, aliases expanded: ends what is built to explode.
pub const CONFIG_NODES_MAX: usize = 100_000;

/// Memory for state where the configuration names none.
pub const STATE_MEMORY_BYTES_DEFAULT: usize = 256 << 20;

/// Least memory for state: one shard's working set with room to spill.
pub const STATE_MEMORY_BYTES_MIN: usize = 16 << 20;

/// Part of the memory for state that the store's block cache takes: 1 / this.
pub const STORE_CACHE_SHARE: usize = 8;

/// Part of the memory for state that the store's write buffers take: 1 / this.
pub const STORE_WRITE_BUFFER_SHARE: usize = 8;

/// Part of the memory for state that epochs under way and the gaps between small allocations take: 1 / this. Measured with a million keys
/// that come and go.
pub const STATE_GAPS_SHARE: usize = 4;

/// Longest name of a topic; Kafka's own limit.
pub const TOPIC_BYTES_MAX: usize = 249;

/// Longest application id and instance name: together with our suffixes they stay under Kafka's 249.
pub const APPLICATION_ID_BYTES_MAX: usize = 100;

/// Most threads of one kind. More would only divide the same cores, and every source has a ring to every shard.
pub const WORKERS_MAX: usize = 1024;

/// Bytes that librdkafka may prefetch for all partitions together.
pub const SOURCE_BUDGET_BYTES: usize = 16 << 20;

/// Records that librdkafka may prefetch for all partitions together: each costs some 300 bytes beside its payload, which
/// [`SOURCE_BUDGET_BYTES`] does not count.
pub const SOURCE_PREFETCH_RECORDS: usize = 25_000;

/// How long a full ring holds a partition before its prefetch is given back by a pause.
pub const PAUSE_AFTER: Span = Span::from_secs(5);

/// How long a thread with pending work may stand still before the process is unhealthy and aborts.
pub const STALL_AFTER: Span = Span::from_secs(10);

/// Shortest admin token: what is shorter can be guessed.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;

/// Largest rule file that is read. A thousand ordinary rules are under 1 MB.
pub const RULE_FILE_BYTES_MAX: usize = 16 << 20;

/// Deepest nesting of an expression in a rule (parentheses, calls, chains of arithmetic). The parser and everything that
/// walks an expression recurse, so this bounds their stack; written rules stay under 10.
pub const EXPRESSION_DEPTH_MAX: usize = 96;

/// Deepest nesting of YAML in a rule file; the envelope needs 4.
pub const RULE_YAML_DEPTH_MAX: usize = 32;

/// Most YAML nodes of one document of a rule file, aliases expanded: ends alias bombs.
pub const RULE_YAML_NODES_MAX: usize = 100_000;

/// Most fields that the rules of one set may name together: ids have 16 bits, and one is the category.
pub const RULE_FIELDS_MAX: usize = 65_535;

/// A message of the log that an outage causes again and again is written at most this often, with the number of those left out.
pub const LOG_REPEAT_AFTER: Duration = Duration::from_secs(30);
