//! Benches of the engine's stages and of the whole of it, each in a module of its own: `cargo bench --bench engine -- decode`.

mod decode;
mod detect;
#[path = "../input/drained.rs"]
mod drained;
#[path = "../input/events.rs"]
mod events;
#[path = "../input/ruleset.rs"]
mod ruleset;
mod whole;

use criterion::Criterion;

/// As in the binary, so that what is measured is what ships.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode::benches(&mut criterion);
    detect::benches(&mut criterion);
    whole::benches(&mut criterion);
    criterion.final_summary();
}
