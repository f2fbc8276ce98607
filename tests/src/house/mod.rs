//! Reads the sources of the workspace as a stranger sees them: which module imports which, how long
//! files and functions are, how comments read. The test `boundaries` holds the tree to it, and
//! `testbed house` prints it as a table.

pub mod imports;
pub mod measure;
pub mod prose;
pub mod source;

use std::path::Path;

use imports::Graph;
use source::Crate;

/// A table of Markdown on the tree below `root`, one row a figure.
pub fn report(root: &Path) -> String {
    let crates = Crate::all(root);
    let mut rows = Vec::new();
    for member in &crates {
        rows.push((format!("top-level modules of {}", member.name), member.top_modules().len().to_string()));
    }
    for member in &crates {
        let circles = Graph::of(member).circles();
        let largest = circles.iter().map(Vec::len).max().unwrap_or(0);
        let told = if largest == 0 { "0".to_owned() } else { format!("{} (of {largest} files)", circles.len()) };
        rows.push((format!("circles of files in {}", member.name), told));
    }
    let files: Vec<_> = crates.iter().flat_map(|member| &member.files).collect();
    let longest = files.iter().max_by_key(|file| file.lines_without_tests());
    rows.extend(longest.map(|file| ("longest file without its tests".to_owned(), file_length(file))));
    let functions: Vec<_> = files.iter().flat_map(|file| measure::functions(file)).collect();
    for bound in [60, 80] {
        let count = functions.iter().filter(|function| function.lines > bound).count();
        rows.push((format!("functions of more than {bound} lines"), count.to_string()));
    }
    for name in ["Edge", "RequestCtx", "Config"] {
        let edge = crates.iter().find(|member| member.name == "edge-proxy");
        let fields = edge.and_then(|member| member.files.iter().find_map(|file| measure::fields(file, name)));
        rows.push((format!("fields of the edge's `{name}`"), fields.map_or("-".to_owned(), |count| count.to_string())));
    }
    let sources = prose::texts(root).into_iter().filter(|text| !text.is_document());
    let wide: usize = sources.map(|text| text.wide().len()).sum();
    rows.push(("comment lines past 100 columns".to_owned(), wide.to_string()));
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    rows.push(("lines of ARCHITECTURE.md".to_owned(), page.lines().count().to_string()));
    let rows = rows.into_iter().map(|(what, figure)| format!("| {what} | {figure} |\n"));
    ["| | |\n| --- | --- |\n".to_owned()].into_iter().chain(rows).collect()
}

fn file_length(file: &source::File) -> String {
    format!("{} ({})", file.lines_without_tests(), file.path)
}
