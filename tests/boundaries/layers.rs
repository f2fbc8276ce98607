//! Which module may import which: a table for each program, and no circle of files anywhere.

use std::collections::BTreeSet;

use testbed::house::{
    imports::Graph,
    source::{Crate, File},
};

use crate::{allowed, root};

/// The layers of a program from top to bottom. A module imports only what stands on a line below
/// its own.
type Layers = &'static [&'static [&'static str]];

const EDGE: Layers = &[
    &["process"],
    &["proxy"],
    &["endpoints"],
    &["edge"],
    &["admission", "connection"],
    &["grants", "response", "upstream"],
    &["pages", "usage", "assertion", "tls"],
    &["telemetry", "redis", "rewrite"],
    &["config"],
    &["rejection", "route", "origin", "cookies", "clock", "ids", "lifecycle", "sync"],
];

const CONTROL: Layers = &[
    &["cli"],
    &["run"],
    &["server", "jobs"],
    &["api", "console"],
    &["http"],
    &["input", "publish"],
    &["app"],
    &["domain"],
    &["payments", "redis"],
    &["db"],
    &["telemetry"],
    &["config", "links", "assets"],
];

/// The contract knows nothing of how pages look and how options are read.
const SHARED: Layers = &[&["process", "web"], &["redis"], &["rate", "token"], &["net"], &["malformed"]];

/// How many modules stand right below the root of a crate at most.
const TOP_MODULES: usize = 25;
/// How long a file is at most, its tests left out.
const FILE_LINES: usize = 500;

#[test]
fn a_module_imports_only_what_stands_below_it() {
    let crates = Crate::all(&root());
    let table = |name: &str| match name {
        "edge-proxy" => Some(EDGE),
        "control-api" => Some(CONTROL),
        "shared" => Some(SHARED),
        _ => None,
    };
    let members = crates.iter().filter_map(|member| Some((member, table(member.name)?)));
    allowed::compare(
        "layers",
        members.flat_map(|(member, layers)| {
            upward(member, layers).into_iter().map(|breach| format!("{}: {breach}", member.name))
        }),
    );
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        module: path.trim_end_matches(".rs").split('/').map(str::to_owned).collect(),
        text: text.to_owned(),
    };
    let files = vec![file("config.rs", "use crate::proxy::Proxy;"), file("proxy.rs", ""), file("attic.rs", "")];
    let broken = upward(&Crate { name: "edge-proxy", files }, EDGE);
    assert_eq!(broken, ["config imports proxy", "attic stands in no layer"]);
}

/// The imports that point up or sideways, and the modules that no line of the table names.
fn upward(member: &Crate, layers: Layers) -> Vec<String> {
    let layer = |module: &str| layers.iter().position(|line| line.contains(&module));
    let graph = Graph::of(member);
    let mut breaches = BTreeSet::new();
    for (from, to) in graph.arrows() {
        if let (Some(from), Some(to)) = (from.first(), to.first())
            && from != to
            && layer(from).is_some_and(|above| layer(to).is_some_and(|below| below <= above))
        {
            breaches.insert(format!("{from} imports {to}"));
        }
    }
    let unplaced = member.top_modules().into_iter().filter(|module| layer(module).is_none());
    breaches.into_iter().chain(unplaced.map(|module| format!("{module} stands in no layer"))).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = Crate::all(&root());
    let circles = crates.iter().flat_map(|member| {
        let circles = Graph::of(member).circles();
        circles.into_iter().map(|circle| format!("{}: {}", member.name, circle.join(" ")))
    });
    allowed::compare("circles", circles);
    let file = |name: &str, text: &str| File {
        path: format!("{name}.rs"),
        module: vec![name.to_owned()],
        text: text.to_owned(),
    };
    let circle = [
        file("one", "use crate::{two, three::Three};"),
        file("two", "fn f() { crate::one::g() }"),
        file("three", "pub use crate::one::G;\n\n#[cfg(test)]\nmod tests { use crate::one; }"),
    ];
    assert_eq!(Graph::of_files(&circle).circles(), [["one", "two"]]);
}

#[test]
fn a_crate_has_few_modules_below_its_root_and_defines_nothing_there() {
    for member in Crate::all(&root()) {
        let count = member.top_modules().len();
        assert!(count <= TOP_MODULES, "{} has {count} modules below its root", member.name);
        let root_file = member.files.iter().find(|file| file.path.ends_with("/lib.rs"));
        let defined = root_file.map(|file| defines(&file.text)).unwrap_or_default();
        assert!(defined.is_empty() || member.name == "migrations", "{}: {defined:?}", member.name);
    }
    assert_eq!(defines("//! A map.\npub mod one;\nmod two;\npub struct Three;"), ["pub struct Three;"]);
}

/// The lines of a crate's root that are neither comments nor modules.
fn defines(text: &str) -> Vec<&str> {
    let is_module = |line: &str| line.ends_with(';') && (line.starts_with("mod ") || line.starts_with("pub mod "));
    let is_map = |line: &str| line.is_empty() || line.starts_with("//") || line.starts_with("#[") || is_module(line);
    text.lines().filter(|line| !is_map(line)).collect()
}

#[test]
fn a_file_is_at_most_500_lines_long_without_its_tests() {
    let crates = Crate::all(&root());
    let files = crates.iter().flat_map(|member| &member.files);
    let long = files.filter(|file| file.lines_without_tests() > FILE_LINES).map(|file| file.path.clone());
    allowed::compare("file-lines", long);
    let text = format!("{}\n#[cfg(test)]\nmod tests {{}}\n", "fn f() {}\n".repeat(FILE_LINES + 1));
    let file = File { path: "long.rs".to_owned(), module: vec!["long".to_owned()], text };
    assert!(file.lines_without_tests() > FILE_LINES);
}
