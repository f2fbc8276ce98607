//! Breaches that are known, each a line `rule: breach` of `allowed.txt`. The list may only shrink:
//! a breach that it does not hold fails, and so does a line of it that is true no more.

use std::{collections::BTreeSet, fs};

/// Compares what breaks a rule with what the list allows it.
pub fn compare(rule: &str, found: impl IntoIterator<Item = String>) {
    let text = fs::read_to_string(crate::root().join("tests/boundaries/allowed.txt")).expect("the list");
    let known = text.lines().filter_map(|line| Some(line.strip_prefix(rule)?.strip_prefix(": ")?.to_owned()));
    let (found, known): (BTreeSet<String>, BTreeSet<String>) = (found.into_iter().collect(), known.collect());
    let new: Vec<&String> = found.difference(&known).collect();
    assert!(new.is_empty(), "breaks the rule {rule}: {new:#?}");
    let gone: Vec<&String> = known.difference(&found).collect();
    assert!(gone.is_empty(), "is mended, so take it out of allowed.txt ({rule}): {gone:#?}");
}
