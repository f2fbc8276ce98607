//! How the sentences of the tree read: comments, Markdown and log messages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::source::MEMBERS;

/// How wide a line of prose is at most, in characters.
pub const COLUMNS: usize = 100;

/// Phrases that make a reader stop, each with what to write instead.
pub const REFUSED: [(&str, &str); 14] = [
    ("whoever", "name the person or the program"),
    ("of theirs", "name whose it is"),
    ("is had", "say who gets it"),
    ("was had", "say who got it"),
    ("be it", "list the cases"),
    ("tries on", "write `retrying`"),
    ("is told of", "say who tells whom what"),
    ("are told of", "say who tells whom what"),
    ("lets go", "write `releases`"),
    ("let go", "write `released`"),
    ("kept out", "write `rejected` or `blocked`"),
    ("nobody's doing", "say what failed"),
    ("so many", "give the number, or `N`"),
    ("by now (since", "give the time once"),
];

/// A line that breaks a rule of prose.
pub struct Breach {
    /// From the root of the workspace.
    pub path: String,
    /// Counts from 1.
    pub line: usize,
    pub text: String,
}

/// Every comment that is wider than [`COLUMNS`]. One without a space past its first word is an
/// address, and passes.
pub fn wide_comments(root: &Path) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in sources(root) {
        for (index, line) in text.lines().enumerate() {
            let is_table = line.trim_start().starts_with(['/', '!']) && line.trim_end().ends_with('|');
            if is_comment(&path, line) && !is_table && is_wide(line) {
                breaches.push(Breach { path: path.clone(), line: index + 1, text: line.to_owned() });
            }
        }
    }
    breaches
}

/// Every line of a document that is wider than [`COLUMNS`]; tables, code and addresses may be.
pub fn wide_documents(root: &Path) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (path, text) in documents(root) {
        let mut is_code = false;
        for (index, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            if !is_code && !line.starts_with('|') && is_wide(line) {
                breaches.push(Breach { path: path.clone(), line: index + 1, text: line.to_owned() });
            }
        }
    }
    breaches
}

/// Every comment and every line of a document that has one of the [`REFUSED`] phrases.
pub fn refused(root: &Path) -> Vec<Breach> {
    let comments = sources(root).into_iter().map(|(path, text)| {
        let comments = text.lines().map(|line| if is_comment(&path, line) { line } else { "" });
        (path.clone(), comments.collect::<Vec<_>>().join("\n"))
    });
    let mut breaches = Vec::new();
    for (path, text) in comments.chain(documents(root)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(phrase) = refused_in(line) {
                breaches.push(Breach { path: path.clone(), line: index + 1, text: phrase.to_owned() });
            }
        }
    }
    breaches
}

/// The first refused phrase of a line, as whole words.
pub fn refused_in(line: &str) -> Option<&'static str> {
    let line = line.to_lowercase();
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let has = |phrase: &str| {
        line.match_indices(phrase)
            .any(|(at, _)| is_edge(line[..at].chars().next_back()) && is_edge(line[at + phrase.len()..].chars().next()))
    };
    REFUSED.into_iter().map(|(phrase, _)| phrase).find(|phrase| has(phrase))
}

fn is_wide(line: &str) -> bool {
    let is_address = |word: &str| word.contains("://") || word.chars().count() > COLUMNS - 20;
    line.chars().count() > COLUMNS && !line.split_whitespace().any(is_address)
}

fn is_comment(path: &str, line: &str) -> bool {
    let line = line.trim_start();
    match path.rsplit_once('.') {
        Some((_, "rs")) => line.starts_with("//"),
        Some((_, "lua" | "sql")) => line.starts_with("--"),
        _ => line.starts_with('#') && !line.starts_with("#!"),
    }
}

/// The sources that hold comments: of Rust, Lua, SQL and the shell.
fn sources(root: &Path) -> Vec<(String, String)> {
    let folders = MEMBERS.map(|member| root.join(member)).into_iter().chain([root.join("deploy")]);
    read(root, folders.collect(), &["rs", "lua", "sql", "sh"])
}

fn documents(root: &Path) -> Vec<(String, String)> {
    let listed = fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    read(root, listed.filter(|path| path.is_file()).chain([root.join("docs")]).collect(), &["md"])
}

/// The files of these kinds among and below these paths, in their order.
fn read(root: &Path, mut open: Vec<PathBuf>, kinds: &[&str]) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten();
            open.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !is_foreign(path)));
        } else if path.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| kinds.contains(&kind)) {
            let name = path.strip_prefix(root).expect("it was found below").to_str().expect("our names are UTF-8");
            texts.extend(fs::read_to_string(&path).ok().map(|text| (name.to_owned(), text)));
        }
    }
    texts.sort();
    texts
}

/// What others wrote.
fn is_foreign(path: &Path) -> bool {
    path.ends_with("target") || path.ends_with("assets") || path.ends_with("node_modules")
}
