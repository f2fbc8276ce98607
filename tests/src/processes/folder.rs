//! Temporary folders, each named after the process that owns it, so that what a killed run left
//! behind is swept by the next.

use std::{
    fs, io,
    os::unix,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use nix::{
    errno::Errno,
    sys::signal,
    unistd::{Pid, User},
};
use uuid::Uuid;

const PREFIX: &str = "testbed-";
/// For how long the folder of a test that failed is kept for a reader of its logs.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// A folder that goes when it is dropped, unless the test that owns it is failing: then it stays,
/// with its logs, for an hour at least.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes a folder under the system's temporary one, and removes those whose owners are gone.
    pub fn temporary() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let name = format!("{PREFIX}{}-{}", std::process::id(), &Uuid::new_v4().simple().to_string()[..8]);
        let path = parent.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    #[expect(clippy::print_stderr, reason = "the reader of a failed test's output looks for its logs next")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("testbed: logs are kept under {} for an hour", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Gives a folder to the account that a server runs as.
pub fn give_to(path: &Path, account: &User) -> io::Result<()> {
    unix::fs::chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
}

/// Removes old folders of owners that no longer run. Two runs may sweep at once: the one that comes
/// second finds nothing.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split_once('-'));
        let Some(Ok(owner)) = owner.map(|(pid, _)| pid.parse()) else { continue };
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > KEPT_FOR));
        if is_old && signal::kill(Pid::from_raw(owner), None) == Err(Errno::ESRCH) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
