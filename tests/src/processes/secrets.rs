//! Everything secret that a test has come by, so that its end can look for it in every log.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Secrets and what they are. Clones share one list.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<BTreeMap<String, &'static str>>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

impl Secrets {
    /// Remembers `text`, which is a `what`.
    pub fn remember(&self, what: &'static str, text: &str) {
        assert!(text.len() >= 8, "a {what} of less than 8 characters stands in any log by accident");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned(), what);
    }

    /// The lines of a log that hold a secret, raw or percent-encoded, each with what it is.
    pub fn found_in(&self, log: &Path) -> Vec<String> {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).to_lowercase();
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for (secret, what) in &*secrets {
            // An encoder may spell the digits of an escape in either case; everything is compared
            // in one.
            let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string().to_lowercase();
            let raw = secret.to_lowercase();
            let lines = text.lines().filter(|line| line.contains(&raw) || line.contains(&encoded));
            found.extend(lines.map(|line| format!("a {what} in {}: {line}", log.display())));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::folder::Folder;

    #[test]
    fn a_secret_is_found_raw_and_percent_encoded_in_either_case() {
        let folder = Folder::temporary().expect("a folder");
        let log = folder.path().join("a.log");
        let secrets = Secrets::default();
        secrets.remember("password", "pass word/ü 1");
        for (line, is_found) in [
            ("login of bob", false),
            ("login of bob with pass word/ü 1", true),
            ("password=pass%20word%2F%C3%BC%201&x=1", true),
            ("password=pass%20word%2f%c3%bc%201&x=1", true),
        ] {
            fs::write(&log, line).expect("a log");
            assert_eq!(!secrets.found_in(&log).is_empty(), is_found, "{line}");
        }
    }
}
