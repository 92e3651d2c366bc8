//! What a pipeline is to do, and how it fails.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{Broker, BrokerError, ErrorKind};
use crate::epoch::{Delivery, StateHome};
use crate::event::Span;
use crate::rules::plan::Plan;
use crate::shard::core::Cut;
use crate::source::{FieldsSeen, Stream};
use crate::topology::{Placement, Topology};

/// Where all events of one key meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locality {
    /// One instance owns all partitions; one watermark orders everything.
    Instance,
    /// The inputs are partitioned by the correlation key; each partition number is a task with its own watermark.
    Partition,
}

/// Into how many parts, each a changelog partition, the state of an instance that owns everything is cut: fixed for the life of
/// an application, whatever the number of shards.
pub const INSTANCE_CUT: u16 = 4;

impl Locality {
    /// How state is cut into changelog partitions.
    pub fn cut(self) -> Cut {
        match self {
            Locality::Instance => Cut::ByHash(INSTANCE_CUT),
            Locality::Partition => Cut::ByTask,
        }
    }
}

/// A pipeline, ready to run.
#[derive(Clone)]
pub struct Spec {
    /// The compiled rules.
    pub plan: Arc<Plan>,
    /// The inputs.
    pub streams: Vec<Stream>,
    /// The way to the broker.
    pub broker: Arc<dyn Broker>,
    /// This process's name in the group.
    pub instance: String,
    /// Topic of correlations whose rule names none.
    pub output_topic: String,
    /// Topic of dead letters.
    pub dead_letter_topic: String,
    /// Outputs must exist before anything is read.
    pub check_outputs: bool,
    /// Transactions or not.
    pub delivery: Delivery,
    /// Time between barriers.
    pub epoch: Duration,
    /// Where keys meet.
    pub locality: Locality,
    /// How long an event's id is remembered; `Span::ZERO`: dedup is off.
    pub dedup_window: Span,
    /// Bound on patterns without `maxspan`; `Span::MAX`: none.
    pub retention: Span,
    /// Where state is kept; `None`: in memory alone, as for files.
    pub state: Option<StateHome>,
    /// Bytes of memory for state, all shards together; `None`: as much as it takes. Only with `state`: what does not fit lies there.
    pub state_memory: Option<usize>,
    /// How many source and shard threads, and where each runs.
    pub placement: Placement,
    /// The machine to pin them on; `None`: no pinning.
    pub topology: Option<Arc<Topology>>,
    /// Stop at the end that each partition had at the start.
    pub until_end: bool,
    /// Print `detected_at` in correlations.
    pub stamp: bool,
    /// Who wants to know which fields of the plan occur.
    pub fields_seen: Option<Arc<FieldsSeen>>,
    /// How long to wait for a broker that does not answer at the start.
    pub startup_timeout: Duration,
}

/// Where a pipeline failed, for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Settings, rules, names: exit status 2.
    Setup,
    /// Broker or disk: exit status 3.
    Running,
    /// State on disk could not be read. It can be rebuilt from the changelog.
    State,
}

/// Why a pipeline cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PipelineError {
    /// Whose fault.
    pub stage: Stage,
    /// What, where, and what to do.
    pub message: String,
}

impl From<BrokerError> for PipelineError {
    fn from(error: BrokerError) -> Self {
        let stage = match error.kind {
            ErrorKind::Setting => Stage::Setup,
            ErrorKind::State => Stage::State,
            _ => Stage::Running,
        };
        PipelineError { stage, message: error.message }
    }
}
