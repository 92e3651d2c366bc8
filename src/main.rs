//! The `throughline` binary: the allocator and the way into [`throughline::cli`].

/// jemalloc: threads that free what others allocated (batches in rings) cost it little, and its pages go back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    throughline::cli::main()
}
