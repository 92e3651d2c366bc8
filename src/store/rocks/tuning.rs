//! How RocksDB is set up: what memory it may take, what it may delay, what it must check.
//!
//! * Memory: one cache holds blocks, indexes and filters of all families; memtables are two a family at most, and their sizes
//!   are shares of one budget. Beside these there are some hundred kilobytes a compaction or an open file.
//! * Delays: a writer waits only if a family's second memtable fills before its first is on disk, or if compaction falls so
//!   far behind that [`LEVEL0_STOP`] files pile up. It is not slowed down before that: no bound is soft. Two threads
//!   compact, another flushes, all at the priority of the process: at a lower one they would starve on a machine that is busy, and
//!   then whoever writes would wait for them.
//! * Durability: the write-ahead log is written with each batch and synced with none. What a crash of the machine takes from
//!   its end is in Kafka, which is the truth, and is applied again; a sync per epoch would buy nothing. After damage in the
//!   log RocksDB goes back to the moment before it, for all families, or refuses; each log names its predecessor, so that
//!   none is missed unnoticed.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DEFAULT_COLUMN_FAMILY_NAME, Env, LogLevel, LruCacheOptions, Options, SliceTransform, WriteBufferManager,
};

use super::failure::Failure;
use super::layout::{Family, PREFIX_BYTES};

/// At [`FILE_BYTES`] each they are 8 GiB, so that files are not opened again and again; far below the usual limit of 1024
/// descriptors.
const OPEN_FILES_MAX: i32 = 256;

/// Files of this size: few enough to keep open, small enough that one compaction is short.
const FILE_BYTES: u64 = 32 << 20;

/// Level-0 files that start a compaction.
const LEVEL0_COMPACT: i32 = 4;

/// Level-0 files at which writers wait: far behind the start of compaction, so that a burst passes.
pub(super) const LEVEL0_STOP: i32 = 36;

/// One flush and two compactions: a long one of a family that was filled in bulk must not keep short ones of the others waiting, or
/// their writers would stop.
const BACKGROUND_JOBS: i32 = 3;

/// Log bytes that a start reads again at most; then the memtables that need the oldest log are flushed.
const LOG_BYTES_MAX: u64 = 128 << 20;

/// What a compaction reads at once of each of its inputs, which no budget counts.
const COMPACTION_READ_BYTES: usize = 256 << 10;

/// RocksDB's own log: kept short, as our own log has what matters.
const INFO_LOG_BYTES: usize = 1 << 20;
const INFO_LOG_FILES: usize = 2;

/// The cache has four parts with locks of their own: enough for a few readers, few enough that each has room.
const CACHE_SHARD_BITS: i32 = 2;

/// Pieces of an index or filter that are cached one by one.
const METADATA_BYTES: usize = 8 << 10;

/// Bits per key of a filter: one in a hundred absent keys is looked up in vain.
const FILTER_BITS: f64 = 10.0;

/// The table format is pinned, so that a newer RocksDB does not write files that the version before cannot read.
const TABLE_FORMAT: i32 = 6;

/// The memtable budget is cut into so many shares.
const SHARES: usize = 32;

/// Smallest memtable; RocksDB takes no smaller one.
const MEMTABLE_BYTES_MIN: usize = 64 << 10;

/// What all families share.
pub(super) struct Tuning {
    cache: Cache,
    buffers: WriteBufferManager,
    env: Env,
    write_buffer_bytes: usize,
}

impl Tuning {
    pub(super) fn new(cache_bytes: usize, write_buffer_bytes: usize) -> Result<Tuning, Failure> {
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(cache_bytes);
        cache.set_num_shard_bits(CACHE_SHARD_BITS);
        Ok(Tuning {
            cache: Cache::new_lru_cache_opts(&cache),
            // It does not stall: two memtables a family stay within the budget, and a stall that waits for memory could
            // wait for a reader that waits for the writer.
            buffers: WriteBufferManager::new_write_buffer_manager(write_buffer_bytes, false),
            env: Env::new()?,
            write_buffer_bytes,
        })
    }

    /// Bytes of memory that blocks and memtables take now.
    pub(super) fn memory_bytes(&self) -> usize {
        self.cache.get_usage().saturating_add(self.buffers.get_usage())
    }

    /// Options of the database as a whole.
    pub(super) fn database(&self) -> Result<Options, Failure> {
        // Known by this name only: each log says what its predecessor held, so that none can be missing unnoticed.
        let mut options = Options::default().get_options_from_string("track_and_verify_wals=true")?;
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.buffers);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_max_total_wal_size(LOG_BYTES_MAX);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_paranoid_checks(true);
        options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(INFO_LOG_BYTES);
        options.set_keep_log_file_num(INFO_LOG_FILES);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        Ok(options)
    }

    /// All families, as they are opened.
    pub(super) fn families(&self) -> Vec<ColumnFamilyDescriptor> {
        let own = Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), self.family(family)));
        // RocksDB insists on its default family; it stays empty.
        let default = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, self.family(Family::Meta));
        own.into_iter().chain([default]).collect()
    }

    /// Options of one family.
    pub(super) fn family(&self, family: Family) -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(self.memtable_bytes(family));
        options.set_max_write_buffer_number(2);
        options.set_level_zero_file_num_compaction_trigger(LEVEL0_COMPACT);
        options.set_level_zero_slowdown_writes_trigger(LEVEL0_STOP);
        options.set_level_zero_stop_writes_trigger(LEVEL0_STOP);
        // None: what deeper levels owe delays nobody.
        options.set_soft_pending_compaction_bytes_limit(0);
        options.set_hard_pending_compaction_bytes_limit(0);
        options.set_target_file_size_base(FILE_BYTES);
        options.set_max_bytes_for_level_base(4 * FILE_BYTES);
        // Parts that expire leave tombstones behind in key order; where they gather, scans would crawl.
        options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_cache_index_and_filter_blocks_with_high_priority(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        // In pieces: one index of a large file may be larger than a part of the cache, and then never stays in it.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(METADATA_BYTES);
        table.set_pin_top_level_index_and_filter(true);
        table.set_bloom_filter(FILTER_BITS, false);
        table.set_format_version(TABLE_FORMAT);
        match family {
            Family::Meta => options.set_compression_type(DBCompressionType::None),
            Family::Scratch => {
                options.set_compression_type(DBCompressionType::None);
                table.set_whole_key_filtering(true);
            }
            Family::Warm => {
                // Read key by key, and mostly dropped soon: to pack and unpack would cost more than the disk that it saves.
                options.set_compression_type(DBCompressionType::None);
                by_prefix(&mut options, &mut table);
            }
            Family::Cold => {
                options.set_compression_type(DBCompressionType::Zstd);
                table.set_block_size(16 << 10);
                by_prefix(&mut options, &mut table);
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }

    /// Two a family make [`SHARES`].
    fn memtable_bytes(&self, family: Family) -> usize {
        let shares = match family {
            Family::Warm => 10,
            Family::Cold => 2,
            Family::Scratch => 3,
            Family::Meta => 1,
        };
        (self.write_buffer_bytes / SHARES * shares).max(MEMTABLE_BYTES_MIN)
    }
}

/// Parts are read by ranges within one key, so filters know the prefixes that its parts share, not whole keys.
fn by_prefix(options: &mut Options, table: &mut BlockBasedOptions) {
    options.set_prefix_extractor(SliceTransform::create_fixed_prefix(PREFIX_BYTES));
    table.set_whole_key_filtering(false);
}
