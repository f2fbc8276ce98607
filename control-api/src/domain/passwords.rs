//! Hashing and checking passwords, a few at a time: each takes 19 MiB and tens of milliseconds, so
//! a flood of logins must neither exhaust memory nor starve the rest of the program.

use std::{sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;

/// How long a caller waits for its turn before it is told to come back.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// A bounded pool of threads that hash.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// The hash of nobody's password, checked where there is no account, so that its absence takes
    /// the same time.
    nobody: Arc<str>,
}

impl Passwords {
    /// A pool as wide as the machine has cores, for more would only make each slower.
    pub fn new() -> Self {
        let width = std::thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new(width)), nobody: hash_now("nobody's password").into() }
    }

    /// The hash of a password, as kept in Postgres: argon2id with the parameters that OWASP names.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.turn().await?.spend(move || hash_now(&password)).await
    }

    /// Whether `hash` is that of the password.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<bool, Error> {
        self.turn().await?.verify(password, Some(hash)).await
    }

    /// Waits for a turn, for who has something to do between that and the hashing.
    pub async fn turn(&self) -> Result<HashSlot, Error> {
        let place = self.turns.clone().acquire_owned();
        let place = tokio::time::timeout(TURN_WITHIN, place).await.map_err(|_| Error::Busy)?;
        let place = place.expect("the semaphore is never closed");
        Ok(HashSlot { place, nobody: Arc::clone(&self.nobody) })
    }
}

/// Leave to hash one password.
pub struct HashSlot {
    place: OwnedSemaphorePermit,
    nobody: Arc<str>,
}

impl HashSlot {
    /// Whether `hash` is that of the password; `None` stands for an account that does not exist,
    /// and takes as long.
    pub async fn verify(self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        let (password, exists) = (password.to_owned(), hash.is_some());
        let hash = hash.unwrap_or(&self.nobody).to_owned();
        let matches = self.spend(move || verify_now(&password, &hash)).await?;
        Ok(matches && exists)
    }

    async fn spend<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        // The place goes with the work, for a caller that hangs up does not end it.
        let done = tokio::task::spawn_blocking(move || {
            let _place = self.place;
            work()
        });
        done.await.map_err(|_| Error::Busy)
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

fn hash_now(password: &str) -> String {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.expect("the default parameters suit every password of at most 72 bytes").to_string()
}

fn verify_now(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_nothing_matches_nobody() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse").await.expect("a turn");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse", &hash).await.expect("a turn"));
        assert!(!passwords.verify("wrong horse", &hash).await.expect("a turn"));
        let turn = passwords.turn().await.expect("a turn");
        assert!(!turn.verify("nobody's password", None).await.expect("a verdict"));
    }
}
