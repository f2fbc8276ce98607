//! How the sentences of the tree read: comments, Markdown and log messages.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::source::{self, MEMBERS};

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
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    /// From the root of the workspace.
    pub path: String,
    /// Counts from 1.
    pub line: usize,
    pub why: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.why)
    }
}

/// A text of the tree, and where it stands.
pub struct Text {
    /// From the root of the workspace.
    pub path: String,
    pub text: String,
}

impl Text {
    pub fn is_document(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Whether this line of it is a comment.
    fn is_comment(&self, line: &str) -> bool {
        let line = line.trim_start();
        match self.path.rsplit_once('.') {
            Some((_, "rs")) => line.starts_with("//"),
            Some((_, "lua" | "sql")) => line.starts_with("--"),
            _ => line.starts_with('#') && !line.starts_with("#!"),
        }
    }

    /// Its lines of prose, each with its number: of a document all but code, of a source its
    /// comments. Tables are left out.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_code = false;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            is_code ^= self.is_document() && line.trim_start().starts_with("```");
            let is_table = line.trim_end().ends_with('|');
            let is_prose = if self.is_document() { !is_code } else { self.is_comment(line) };
            (is_prose && !is_table).then_some((index + 1, line))
        })
    }

    /// The lines of prose that are wider than [`COLUMNS`]; addresses may be.
    pub fn wide(&self) -> Vec<Breach> {
        let wide = self.prose().filter(|(_, line)| is_wide(line));
        wide.map(|(line, _)| self.breach(line, format!("wider than {COLUMNS} columns"))).collect()
    }

    /// What has one of the [`REFUSED`] phrases: prose, and what a program writes.
    pub fn refused(&self) -> Vec<Breach> {
        let is_of_program =
            ["control-api/src/", "edge-proxy/src/", "shared/src/"].iter().any(|src| self.path.starts_with(src));
        let written = if is_of_program && self.path.ends_with(".rs") { self.literals() } else { Vec::new() };
        let prose = self.prose().map(|(line, text)| (line, text.to_owned()));
        let refused = |(line, text): (usize, String)| {
            let (phrase, instead) = refused_in(&text)?;
            Some(self.breach(line, format!("\"{phrase}\": {instead}")))
        };
        prose.chain(written).filter_map(refused).collect()
    }

    /// The texts that a source holds, its tests left out.
    fn literals(&self) -> Vec<(usize, String)> {
        let found = source::code(&self.path, source::without_tests(&self.text));
        found.into_iter().filter(|found| found.is_literal).map(|found| (found.line, found.text)).collect()
    }

    fn breach(&self, line: usize, why: String) -> Breach {
        Breach { path: self.path.clone(), line, why }
    }
}

/// Every document, and every source that holds comments: of Rust, Lua, SQL and the shell.
pub fn texts(root: &Path) -> Vec<Text> {
    let sources = MEMBERS.into_iter().chain(["deploy"]).flat_map(|folder| {
        source::files_below(&root.join(folder), |path| source::is_of_kind(path, &["rs", "lua", "sql", "sh"]))
    });
    let is_page = |path: &Path| {
        let is_near = path.parent() == Some(root) || path.starts_with(root.join("docs"));
        is_near && source::is_of_kind(path, &["md"])
    };
    let paths = sources.chain(source::files_below(root, is_page));
    let text = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("it was found below").to_str().expect("our names are UTF-8");
        Text { path: name.to_owned(), text: fs::read_to_string(&path).expect("a file that was just listed") }
    };
    paths.map(text).collect()
}

/// The first refused phrase of a line, as whole words, and what to write instead.
pub fn refused_in(line: &str) -> Option<(&'static str, &'static str)> {
    let line = line.to_lowercase();
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let has = |phrase: &str| {
        line.match_indices(phrase)
            .any(|(at, _)| is_edge(line[..at].chars().next_back()) && is_edge(line[at + phrase.len()..].chars().next()))
    };
    REFUSED.into_iter().find(|(phrase, _)| has(phrase))
}

fn is_wide(line: &str) -> bool {
    let is_address = |word: &str| word.contains("://") || word.chars().count() > COLUMNS - 20;
    line.chars().count() > COLUMNS && !line.split_whitespace().any(is_address)
}
