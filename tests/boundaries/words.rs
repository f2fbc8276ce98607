//! How comments, documents and messages read.

use std::fs;

use testbed::house::{
    prose::{self, Text},
    source,
};

use crate::{allowed, root, rules::files};

/// The longest name of a test: it reads as one line of a report.
const NAME_CHARS: usize = 80;

#[test]
fn comments_and_documents_are_at_most_100_columns_wide() {
    let texts = prose::texts(&root());
    allowed::compare("columns", texts.iter().flat_map(Text::wide).map(|breach| breach.to_string()));
    let line = "word ".repeat(25);
    for (path, text) in [
        ("a.rs", format!("fn f() {{}}\n    /// {line}\n")),
        ("a.lua", format!("return 1\n-- {line}")),
        ("a.md", format!("| {line} |\n{line}\n```\n{line}\n```")),
    ] {
        let wide = Text { path: path.to_owned(), text }.wide();
        assert_eq!(wide.iter().map(|breach| breach.line).collect::<Vec<_>>(), [2], "{path}");
    }
}

#[test]
fn comments_documents_and_messages_hold_no_phrase_that_makes_a_reader_stop() {
    let texts = prose::texts(&root());
    allowed::compare("phrases", texts.iter().flat_map(Text::refused).map(|breach| breach.to_string()));
    let text = "fn f() {\n    // The outlets got it.\n    // Whoever asks gets one.\n    warn!(\"it tries on\");\n}"
        .to_owned();
    let refused = Text { path: "edge-proxy/src/a.rs".to_owned(), text }.refused();
    assert_eq!(refused.iter().map(|breach| breach.line).collect::<Vec<_>>(), [3, 4], "only whole words count");
}

#[test]
fn names_of_tests_are_at_most_80_characters_long() {
    let mut long = Vec::new();
    for file in files(&root()).iter().filter(|file| source::is_of_kind(file, &["rs"])) {
        let text = fs::read_to_string(file).expect("a source");
        long.extend(names(&text).into_iter().filter(|name| name.len() > NAME_CHARS).map(str::to_owned));
    }
    assert!(long.is_empty(), "{long:#?}");
    let long = format!("#[test]\nfn {}() {{}}", "long_".repeat(20));
    assert!(names(&long).iter().any(|name| name.len() > NAME_CHARS));
}

/// The names of the functions that a source defines.
fn names(text: &str) -> Vec<&str> {
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.split("fn ").skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name).filter(is_name).collect()
}
