//! The sources of the workspace's members, as tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The members whose sources are read.
pub const MEMBERS: [&str; 5] = ["control-api", "edge-proxy", "migrations", "shared", "tests"];

/// A member of the workspace.
pub struct Crate {
    pub name: &'static str,
    /// Those below `src/`.
    pub files: Vec<File>,
}

/// A source file.
pub struct File {
    /// From the root of the workspace.
    pub path: String,
    /// Where its module stands in its crate; empty for the root.
    pub module: Vec<String>,
    pub text: String,
}

/// A path, a literal or a dependency, where it stands.
pub struct Found {
    pub text: String,
    pub line: usize,
    pub is_literal: bool,
}

impl Crate {
    /// Every member below `root`.
    pub fn all(root: &Path) -> Vec<Self> {
        MEMBERS.into_iter().map(|name| Self::read(root, name)).collect()
    }

    fn read(root: &Path, name: &'static str) -> Self {
        let src = root.join(name).join("src");
        let files = files_below(&src, |path| is_of_kind(path, &["rs"]));
        Self { name, files: files.iter().map(|path| File::read(root, &src, path)).collect() }
    }

    /// The modules that its root declares.
    pub fn top_modules(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.files.iter().filter_map(|file| Some(file.module.first()?.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The folders below `src/`, from there.
    pub fn folders(&self) -> Vec<String> {
        let within = |file: &File| {
            let path = file.path.strip_prefix(&format!("{}/src/", self.name))?;
            path.rsplit_once('/').map(|(folder, _)| folder.to_owned())
        };
        let mut folders: Vec<String> = self.files.iter().filter_map(within).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }
}

impl File {
    fn read(root: &Path, src: &Path, path: &Path) -> Self {
        let within = path.strip_prefix(src).expect("it was found below").with_extension("");
        let mut module: Vec<String> =
            within.iter().map(|part| part.to_str().expect("our names are UTF-8").to_owned()).collect();
        if module.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
            module.pop();
        }
        let path = path.strip_prefix(root).expect("it was found below").to_str().expect("our names are UTF-8");
        let text = fs::read_to_string(root.join(path)).expect("a file that was just listed");
        Self { path: path.to_owned(), module, text }
    }

    /// Whether it holds tests alone.
    pub fn is_of_tests(&self) -> bool {
        self.module.last().is_some_and(|name| name == "tests")
    }

    /// Its text without tests.
    pub fn without_tests(&self) -> &str {
        if self.is_of_tests() { "" } else { without_tests(&self.text) }
    }

    /// How long that is, in lines.
    pub fn lines_without_tests(&self) -> usize {
        self.without_tests().lines().count()
    }
}

/// A source up to the module of its tests, which stands last.
pub fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// The files below a folder that are `wanted`, in their order; none if there is no such folder.
/// What others wrote is left out.
pub fn files_below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let is_foreign = |path: &Path| ["assets", "node_modules", "target"].iter().any(|name| path.ends_with(name));
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry of a folder").path();
            if !path.is_dir() {
                files.extend(Some(path).filter(|path| wanted(path)));
            } else if !is_foreign(&path) {
                folders.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Whether a file's name ends so.
pub fn is_of_kind(path: &Path, kinds: &[&str]) -> bool {
    path.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| kinds.contains(&kind))
}

/// The tokens of a source file. Panics if it is no Rust.
pub fn tokens(path: &str, source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|error| panic!("{path} is no Rust: {error}"))
}

/// The paths and literals of a source file.
pub fn code(path: &str, source: &str) -> Vec<Found> {
    let mut found = Vec::new();
    collect(tokens(path, source), "", &mut found);
    found
}

/// Collects literals, and paths, each with the `around` of the `use around::{…}` that it stands in.
fn collect(tokens: TokenStream, around: &str, found: &mut Vec<Found>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut path = around.to_owned();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        match token {
            // What follows is a name of the file's own, or a type to cast to.
            TokenTree::Ident(name) if name == "as" => {
                tokens.next_if(|next| matches!(next, TokenTree::Ident(_)));
            }
            TokenTree::Ident(name) => {
                path = if path.is_empty() { name.to_string() } else { format!("{path}::{name}") };
                if tokens.next_if(is_first_colon_of_two).is_some() {
                    tokens.next();
                    continue;
                }
                found.push(Found { text: path, line, is_literal: false });
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => collect(group.stream(), &path, found),
            TokenTree::Group(group) => collect(group.stream(), "", found),
            TokenTree::Literal(literal) => found.push(Found { text: literal.to_string(), line, is_literal: true }),
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(bang) if bang.as_char() == '!'));
                tokens.next_if(is_doc_comment);
            }
            TokenTree::Punct(_) => {}
        }
        path = around.to_owned();
    }
}

fn is_first_colon_of_two(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
}

/// A doc comment reads as `#[doc = "…"]`.
fn is_doc_comment(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string().starts_with("doc ="))
}
