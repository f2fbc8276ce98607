//! What the documents name exists, and what exists is named in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use testbed::house::source::Crate;

use crate::{root, rules::files};

/// How long ARCHITECTURE.md is at most, for it is what people enter by.
const PAGE_LINES: usize = 250;

#[test]
fn the_architecture_is_short_enough_to_enter_by() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let lines = page.lines().count();
    assert!(lines <= PAGE_LINES, "{lines} lines");
}

#[test]
fn the_architecture_names_every_folder_and_module_of_the_programs() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page");
    let unnamed = unnamed(&page);
    assert!(unnamed.is_empty(), "ARCHITECTURE.md names none of {unnamed:?}");
    assert!(!self::unnamed("`domain/` is named, and nothing else.").is_empty());
}

/// The folders of each program, and the modules right below its root, that a page does not name.
fn unnamed(page: &str) -> Vec<String> {
    let crates = Crate::all(&root());
    let programs = crates.iter().filter(|member| ["control-api", "edge-proxy", "shared"].contains(&member.name));
    let places = programs.flat_map(|member| {
        let folders = member.folders();
        let files = member.top_modules().into_iter().filter(|module| !folders.iter().any(|folder| folder == module));
        let files: Vec<String> = files.map(|module| format!("{module}.rs")).collect();
        let folders = folders.iter().map(|folder| format!("{folder}/"));
        folders.chain(files).map(|place| (member.name, place)).collect::<Vec<_>>()
    });
    let unnamed = places.filter(|(_, place)| !page.contains(&format!("`{place}`")));
    unnamed.map(|(name, place)| format!("{name}/src/{place}")).collect()
}

#[test]
fn every_test_and_metric_that_the_architecture_names_exists() {
    let root = root();
    let page = documents(&root);
    let sources: Vec<String> = files(&root).iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    let is_in_source = |text: &str| sources.iter().any(|source| source.contains(text));
    let is_name = |word: &&str| {
        let is_long = word.matches('_').count() >= 2;
        is_long && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let named: Vec<&str> = page.split('`').filter(is_name).collect();
    assert!(named.len() > 10, "the page is not read as it is written: {named:?}");
    for name in named {
        assert!(is_in_source(&format!("fn {name}(")) || is_in_source(&format!("\"{name}\"")), "{name} is gone");
    }
}

#[test]
fn the_architecture_names_every_metric() {
    let root = root();
    let page = documents(&root);
    for (file, prefix) in
        [("edge-proxy/src/telemetry/metrics.rs", "edge_"), ("control-api/src/telemetry.rs", "control_")]
    {
        let source = fs::read_to_string(root.join(file)).expect("a source");
        let is_metric = |word: &&str| word.starts_with(prefix) && !word.contains([' ', '=']);
        let metrics: Vec<&str> = source.split('"').filter(is_metric).collect();
        assert!(metrics.len() > 5, "{file} is not read as it is written: {metrics:?}");
        for metric in metrics {
            assert!(page.contains(&format!("| `{metric}` |")), "{metric} is not in the table");
        }
    }
}

/// The text of ARCHITECTURE.md and of every document in `docs/`.
fn documents(root: &Path) -> String {
    let listed = fs::read_dir(root.join("docs")).expect("the folder of documents");
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry of the folder").path()).collect();
    paths.push(root.join("ARCHITECTURE.md"));
    paths.iter().map(|path| fs::read_to_string(path).expect("a document") + "\n").collect()
}
