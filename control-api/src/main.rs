//! `control-api`: the control plane of the Zenzefi Gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    control_api::cli::main()
}
