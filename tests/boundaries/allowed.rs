//! Breaches that are known. The list `allowed.txt` may only shrink: a breach that it does not hold
//! fails, and so does a line of it that is true no more. `BOUNDARIES_REWRITE=1` writes the lines of
//! what is found.

use std::{collections::BTreeSet, fs, path::PathBuf};

fn list() -> PathBuf {
    crate::root().join("tests/boundaries/allowed.txt")
}

/// Compares what breaks a rule with what the list allows it.
pub fn compare(rule: &str, found: &BTreeSet<String>) {
    let text = fs::read_to_string(list()).expect("the list");
    let lines: Vec<&str> = text.lines().collect();
    let known: BTreeSet<&str> = lines.iter().filter_map(|line| line.strip_prefix(rule)?.strip_prefix(": ")).collect();
    if std::env::var("BOUNDARIES_REWRITE").is_ok() {
        let others = lines.iter().filter(|line| !line.starts_with(&format!("{rule}: "))).map(|line| (*line).to_owned());
        let mut lines: Vec<String> = others.chain(found.iter().map(|breach| format!("{rule}: {breach}"))).collect();
        lines.sort();
        fs::write(list(), lines.into_iter().map(|line| line + "\n").collect::<String>()).expect("the list");
        return;
    }
    let new: Vec<&String> = found.iter().filter(|breach| !known.contains(breach.as_str())).collect();
    assert!(new.is_empty(), "breaks the rule {rule}: {new:#?}");
    let gone: Vec<&&str> = known.iter().filter(|breach| !found.contains(**breach)).collect();
    assert!(gone.is_empty(), "is mended, so take it out of allowed.txt ({rule}): {gone:#?}");
}
