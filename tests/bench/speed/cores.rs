//! Which processors what is measured has to itself.
//!
//! With two or more, the first is the proxy's or program's that is measured, and the load, the
//! upstream and the stores share the others: so that what loads is not what is measured. With a
//! single one all share it.

use std::{fs, ops::Range, thread::available_parallelism};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use testbed::processes::process::Process;

/// More than there are: the kernel takes those that exist.
const ALL: Range<usize> = 0..CpuSet::count();

/// Keeps this process, and so whatever it starts from now on, off the first processor.
pub fn stay_beside() -> anyhow::Result<()> {
    let cores = available_parallelism()?.get();
    keep(std::process::id(), usize::from(cores > 1)..cores)
}

/// Gives a process, with every thread that it has by now, the first processor to itself.
pub fn give_first(process: &Process) -> anyhow::Result<()> {
    keep(process.pid(), 0..1)
}

/// Lets this process, and so whatever it starts from now on, have every processor: for what is
/// measured as a whole.
pub fn share() -> anyhow::Result<()> {
    keep(std::process::id(), ALL)
}

/// The same for another process.
pub fn give_all(process: &Process) -> anyhow::Result<()> {
    keep(process.pid(), ALL)
}

/// Keeps every thread of a process, and whatever these start, on some of the processors.
fn keep(pid: u32, cores: Range<usize>) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores.clone() {
        set.set(core)?;
    }
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = Pid::from_raw(thread?.file_name().to_string_lossy().parse()?);
        sched_setaffinity(thread, &set).with_context(|| format!("cannot keep a thread on processors {cores:?}"))?;
    }
    Ok(())
}
