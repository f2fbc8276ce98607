//! How comments and documents read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use testbed::house::prose::{self, Breach};

use crate::{allowed, root, rules::files};

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

/// The longest name of a test: it reads as one line of a report.
const NAME_CHARS: usize = 80;

#[test]
fn names_of_tests_are_at_most_80_characters_long() {
    let mut long = Vec::new();
    for file in files(&root()).iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs")) {
        let text = fs::read_to_string(file).expect("a source");
        long.extend(names(&text).into_iter().filter(|name| name.len() > NAME_CHARS).map(str::to_owned));
    }
    assert!(long.is_empty(), "{long:#?}");
    let long = format!("#[test]\nfn {}() {{}}", "long_".repeat(20));
    assert!(names(&long).iter().any(|name| name.len() > NAME_CHARS));
}

/// The names of the functions that a source defines.
fn names(text: &str) -> Vec<&str> {
    text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name).filter(is_name).collect()
}

/// How many breaches each file has.
fn by_file(breaches: &[Breach]) -> BTreeSet<String> {
    let mut counts = BTreeMap::new();
    for breach in breaches {
        *counts.entry(&breach.path).or_insert(0) += 1;
    }
    counts.into_iter().map(|(path, count)| format!("{path} {count}")).collect()
}

fn is_name(name: &&str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
