//! How comments and documents read.

use std::collections::{BTreeMap, BTreeSet};

use testbed::house::prose::{self, Breach};

use crate::{allowed, root};

#[test]
fn comments_are_at_most_100_columns_wide() {
    allowed::compare("comment-columns", &by_file(&prose::wide_comments(&root())));
}

#[test]
fn comments_and_documents_hold_no_phrase_that_makes_a_reader_stop() {
    allowed::compare("phrases", &by_file(&prose::refused(&root())));
    assert_eq!(prose::refused_in("/// Whoever asks gets one."), Some("whoever"));
    assert_eq!(prose::refused_in("/// The outlets got it."), None, "only whole words count");
}

/// How many breaches each file has.
fn by_file(breaches: &[Breach]) -> BTreeSet<String> {
    let mut counts = BTreeMap::new();
    for breach in breaches {
        *counts.entry(&breach.path).or_insert(0) += 1;
    }
    counts.into_iter().map(|(path, count)| format!("{path} {count}")).collect()
}
