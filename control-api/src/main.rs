//! `control-api`: the control plane of the Zenzefi Gateway.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Each hash of a password takes 19 MiB for a moment, on any of many threads, each of which glibc's
/// allocator lets keep some.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    control_api::cli::main()
}
