//! Signals of a key in event-time order: the order heap behind the watermark, a key's timeline, windows over it, and the
//! timing wheel for deadlines.
//!
//! Owns plain data structures, no policy: when a signal is released, what a window is for and what a deadline means is
//! decided in `shard`. Touches no disk, reads no clock; all time is event time.

mod order;
mod track;
mod wheel;
mod window;

pub use order::Order;
pub use track::{Cut, Timeline};
pub use wheel::Wheel;
pub use window::Window;
