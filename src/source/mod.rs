//! Sources: threads that poll partitions, decode, detect and route, and never commit.
//!
//! A source owns its partitions' readers and the sending ends of its rings. What it promises: signals of a partition enter
//! each ring in offset order; a watermark enters behind the signals it covers; barrier n enters every ring before anything
//! of epoch n + 1. A full ring stops its reading; nothing is dropped.

pub mod clock;
mod gate;
pub mod outgoing;
pub mod reader;
pub mod route;
mod seen;
pub mod stream;
pub mod thread;

pub use clock::{Board, PartitionClock};
pub use gate::Gate;
pub use reader::{Processor, Reader, StreamReader};
pub use route::Router;
pub use seen::FieldsSeen;
pub use stream::Stream;
pub use thread::{Command, Phase, PhaseCell, Request, Source, SourceParts};
