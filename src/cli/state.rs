//! The state of a service: its changelog topic and its directory, found or made before anything runs.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Settings};
use crate::epoch::StateHome;
use crate::event::Timestamp;
use crate::limits::{CHANGELOG_RECORD_BYTES_MIN, STORE_CACHE_SHARE, STORE_WRITE_BUFFER_SHARE};
use crate::pipeline::{INSTANCE_CUT, PipelineError, Spec, Stage};
use crate::store::rocks::{Options, RocksStore};
use crate::store::{StoreError, StoreErrorKind};

/// The changelog topic of an application.
pub fn changelog(settings: &Settings) -> String {
    format!("{}-changelog", settings.application_id)
}

impl From<StoreError> for PipelineError {
    fn from(error: StoreError) -> PipelineError {
        let stage = match error.kind {
            StoreErrorKind::Locked | StoreErrorKind::Foreign => Stage::Setup,
            StoreErrorKind::Corrupt => Stage::State,
            StoreErrorKind::Full | StoreErrorKind::Io => Stage::Running,
        };
        PipelineError { stage, message: error.message }
    }
}

/// Makes sure of the changelog topic and opens the directory.
pub fn open(settings: &Settings, spec: &Spec) -> Result<StateHome, PipelineError> {
    let topic = changelog(settings);
    let partitions = match settings.locality {
        config::Locality::Partition => {
            let inputs: Vec<String> = spec.streams.iter().flat_map(|stream| stream.topics.clone()).collect();
            let found = spec.broker.topics(&inputs, spec.startup_timeout)?;
            found.iter().map(|info| info.partitions).max().unwrap_or(1)
        }
        config::Locality::Instance | config::Locality::Repartition => INSTANCE_CUT.into(),
    };
    let log = spec.broker.prepare_log(&topic, partitions, spec.startup_timeout)?;
    // By hash, each part lies where their number says: with another number it would be looked for elsewhere.
    let other_cut = settings.locality != config::Locality::Partition && log.partitions != partitions;
    if log.partitions < partitions || other_cut {
        let message = format!(
            "changelog topic {topic} has {} partitions and {partitions} are needed: with `locality: partition` one for each \
             partition of the inputs, else {INSTANCE_CUT}. Add partitions with kafka-topics.sh --alter only if the inputs got more; \
             after a change of `locality`, or if another version made it, choose another application_id",
            log.partitions
        );
        return Err(PipelineError { stage: Stage::Setup, message });
    }
    if log.record_bytes_max < CHANGELOG_RECORD_BYTES_MIN {
        let message = format!(
            "changelog topic {topic} has max.message.bytes={}, at least {CHANGELOG_RECORD_BYTES_MIN} are needed: \
             kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config max.message.bytes=1048588",
            log.record_bytes_max
        );
        return Err(PipelineError { stage: Stage::Setup, message });
    }
    let memory = settings.state.memory_bytes;
    let (store, opened) = RocksStore::open(&Options {
        directory: settings.state.directory.clone(),
        application_id: settings.application_id.clone(),
        instance: settings.instance.clone(),
        changelog_id: log.id,
        cache_bytes: memory / STORE_CACHE_SHARE,
        write_buffer_bytes: memory / STORE_WRITE_BUFFER_SHARE,
        max_age: Some(log.delete_retention / 2),
        warm_ttl: settings.state.warm_ttl.to_std(),
        partitions: u16::try_from(log.partitions).unwrap_or(u16::MAX),
        now_ms: Timestamp::now().as_millis(),
    })?;
    tracing::info!(directory = %settings.state.directory.display(), "{opened}");
    let tombstones_kept: Duration = log.delete_retention;
    let (changelog, record_bytes_max) = (topic.into(), log.record_bytes_max);
    Ok(StateHome { store: Arc::new(store), changelog, tombstones_kept, record_bytes_max })
}
