//! What is kept on disk between two orders: the account, the certificate with its key, and the last
//! attempt.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use shared::token::credential::Digest;
use uuid::Uuid;

/// How long it is waited after a failure, at first and at last. Let's Encrypt takes five failures
/// of a name an hour.
const FIRST_RETRY: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(3_600);
/// How the names of files end that are to replace others, and how old one can be that is still
/// being written.
const NEW: &str = "new";
const WRITTEN_WITHIN: Duration = Duration::from_secs(3_600);
/// How many certificates for other names are of use: each is read again and again.
const MOST_OTHERS: usize = 8;

/// The attempts of which none has brought a certificate so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub made: u32,
    /// When the last began, in seconds of Redis' clock since 1970.
    pub last_at: i64,
}

impl Attempts {
    /// With one that begins now.
    pub fn and_another(self, now: i64) -> Self {
        Self { made: self.made.saturating_add(1), last_at: now }
    }

    /// How long there must be none.
    pub fn rest(self, now: i64) -> Duration {
        let Some(doublings) = self.made.checked_sub(1) else { return Duration::ZERO };
        let pause = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(doublings)).min(LAST_RETRY);
        // A last attempt that is to come was noted by a clock that was ahead: nobody waits for it.
        // The next one notes a true time.
        u64::try_from(now.saturating_sub(self.last_at))
            .map_or(Duration::ZERO, |passed| pause.saturating_sub(Duration::from_secs(passed)))
    }
}

/// Files in a folder that only the edge's own account should enter. Each is replaced whole or not
/// at all.
#[derive(Clone, Debug)]
pub struct Folder {
    pub path: PathBuf,
    /// Of one authority.
    account: PathBuf,
    /// The certificate and its key, replaced as one. Of one authority and these names, as the
    /// attempts are: who tries another authority first has none from there, and edges of other
    /// names do not take each other's away.
    pub certificate: PathBuf,
    pub attempts: PathBuf,
}

impl Folder {
    /// What is kept in the folder at `path` of these names' dealings with the authority of this
    /// directory.
    pub fn new(path: &Path, directory: &str, names: &[String]) -> Self {
        let file = |kind, of: &str, ending| path.join(format!("{kind}-{}.{ending}", Digest::of(of.as_bytes())));
        let asked = format!("{directory} {}", names.join(" "));
        Self {
            path: path.to_owned(),
            account: file("account", directory, "json"),
            certificate: file("certificate", &asked, "pem"),
            attempts: file("attempts", &asked, "json"),
        }
    }

    /// Certificates with their keys that were had for other names or of other authorities, those
    /// written last first, and not many of them. What cannot be read is none.
    pub fn other_certificates(&self) -> Vec<PathBuf> {
        let paths = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = paths.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("certificate-") && name.ends_with(".pem") && *path != self.certificate
        });
        let mut others: Vec<(_, PathBuf)> =
            others.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        others.into_iter().take(MOST_OTHERS).map(|(_, path)| path).collect()
    }

    /// Keeps a certificate with its key, as PEM.
    pub fn keep_certificate(&self, pem: &str) -> io::Result<()> {
        self.replace(&self.certificate, pem.as_bytes())
    }

    /// What was kept of the account.
    pub fn account(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.account)
    }

    pub fn keep_account(&self, account: &[u8]) -> io::Result<()> {
        self.replace(&self.account, account)
    }

    /// Forgets an account that the authority does not know.
    pub fn forget_account(&self) -> io::Result<()> {
        remove(&self.account)
    }

    /// The attempts that have failed so far.
    pub fn attempts(&self) -> io::Result<Attempts> {
        // What cannot be understood is none of ours.
        Ok(read(&self.attempts)?.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default())
    }

    pub fn keep_attempts(&self, attempts: Attempts) -> io::Result<()> {
        self.replace(&self.attempts, &serde_json::to_vec(&attempts)?)
    }

    /// Forgets them, for the last has succeeded.
    pub fn forget_attempts(&self) -> io::Result<()> {
        remove(&self.attempts)
    }

    /// Removes what crashes have left of files that were to be replaced. Other edges may be writing
    /// younger ones.
    pub fn remove_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let written = fs::metadata(&path).and_then(|file| file.modified());
            // Both by the clock of this machine, however wrong.
            let age = written.ok().and_then(|written| written.elapsed().ok());
            if path.extension().is_some_and(|ending| ending == NEW) && age.is_some_and(|age| age > WRITTEN_WITHIN) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Replaces a file that nobody else may read, as several edges may at once.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let beside = path.with_extension(format!("{}.{NEW}", Uuid::new_v4()));
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(&self.path)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_asked_ever_less_often_while_that_fails_and_once_an_hour_at_last() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.rest(1_000), Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            attempts = attempts.and_another(1_000);
            pauses.push(attempts.rest(1_000).as_secs());
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(attempts.rest(1_000 + 3_599), Duration::from_secs(1));
        assert_eq!(attempts.rest(1_000 + 3_600), Duration::ZERO);
        assert_eq!(attempts.rest(999), Duration::ZERO, "the clock was set back, by nobody knows how much");
        assert_eq!(attempts.and_another(0).rest(0), LAST_RETRY, "those before it count");
        let many = Attempts { made: u32::MAX, last_at: 1_000 };
        assert_eq!(many.and_another(1_000).rest(1_000), LAST_RETRY);
    }
}
