//! `.run/`: where one stack keeps what it needs the next time, and tells others where it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// `.run/`, ours alone while it is locked.
pub struct RunFolder {
    pub path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Takes the folder, made if it is not there; an error where another stack has it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let in_folder = || format!("cannot use {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(in_folder)?;
        let path = path.canonicalize().with_context(in_folder)?;
        let lock = File::create(path.join("lock")).with_context(in_folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("a stack is running there already: see {}", path.join("stack.json").display());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(in_folder),
        }
        // A run that was killed has left it.
        let _ = fs::remove_file(path.join("stack.json"));
        fs::create_dir_all(path.join("logs"))?;
        Ok(Self { path, _lock: lock })
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Writes `stack.json`, which stands until the returned value is dropped.
    pub fn announce(&self, stack: &Value) -> anyhow::Result<Announcement> {
        let path = self.path.join("stack.json");
        write_private(&path, stack)?;
        Ok(Announcement(path))
    }
}

/// `stack.json`, as long as it stands.
pub struct Announcement(PathBuf);

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What is drawn in the first run and kept for the following ones.
#[derive(Deserialize, Serialize)]
pub struct Secrets {
    pub secret_key: String,
    pub superuser_password: String,
    pub token: Option<String>,
}

impl Secrets {
    pub fn load_or_draw(path: &Path) -> anyhow::Result<Self> {
        if let Ok(text) = fs::read(path) {
            return serde_json::from_slice(&text).with_context(|| format!("{} is broken", path.display()));
        }
        let draw = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let secrets = Self { secret_key: draw(), superuser_password: draw()[..20].to_owned(), token: None };
        secrets.save(path)?;
        Ok(secrets)
    }

    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        write_private(path, &serde_json::to_value(self)?)
    }
}

/// Writes a file that only we may read, whole or not at all.
fn write_private(path: &Path, value: &Value) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{value:#}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}
