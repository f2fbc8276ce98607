//! Which file of a crate imports which, and the circles among them. Tests are left out, and so is
//! what a module passes on of its own children by `pub use`.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Crate, File};

/// The imports between the files of a crate, by their modules.
pub struct Graph {
    modules: Vec<Vec<String>>,
    imports: BTreeMap<usize, BTreeSet<usize>>,
}

impl Graph {
    /// Reads the files of a crate.
    pub fn of(member: &Crate) -> Self {
        Self::of_files(&member.files)
    }

    /// Reads these files of one crate.
    pub fn of_files(files: &[File]) -> Self {
        let is_main = |file: &&File| file.path.ends_with("/main.rs");
        let files: Vec<&File> = files.iter().filter(|file| !is_main(file) && !file.is_of_tests()).collect();
        let modules: Vec<Vec<String>> = files.iter().map(|file| file.module.clone()).collect();
        let mut graph = Self { modules, imports: BTreeMap::new() };
        for (importer, file) in files.iter().enumerate() {
            let text = without_children(file.without_tests());
            let paths = source::code(&file.path, &text).into_iter().filter(|found| !found.is_literal);
            let imported: BTreeSet<usize> = paths.filter_map(|path| graph.resolve(&file.module, &path.text)).collect();
            graph.imports.insert(importer, imported.into_iter().filter(|&index| index != importer).collect());
        }
        graph
    }

    /// Each import that there is, as the modules of importer and imported.
    pub fn arrows(&self) -> impl Iterator<Item = (&[String], &[String])> {
        let arrows = self.imports.iter().flat_map(|(&from, to)| to.iter().map(move |&to| (from, to)));
        arrows.map(|(from, to)| (self.modules[from].as_slice(), self.modules[to].as_slice()))
    }

    /// The file that a path in `module` leads to, if it is one of the crate's own beside the root.
    fn resolve(&self, module: &[String], path: &str) -> Option<usize> {
        let mut parts: Vec<&str> = path.split("::").collect();
        // As in `pub(super)`.
        if parts.len() == 1 && ["crate", "self", "super"].contains(&path) {
            return None;
        }
        let mut base: Vec<&str> = module.iter().map(String::as_str).collect();
        match parts[0] {
            "crate" => {
                base.clear();
                parts.remove(0);
            }
            "self" => {
                parts.remove(0);
            }
            "super" => {
                while parts.first() == Some(&"super") {
                    base.pop();
                    parts.remove(0);
                }
            }
            child if self.modules.iter().any(|known| is_child(known, module, child)) => {}
            _ => return None,
        }
        base.extend(parts);
        (1..=base.len()).rev().find_map(|length| self.modules.iter().position(|known| *known == base[..length]))
    }

    /// The circles: files that import each other, directly or by way of others.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let reached: Vec<BTreeSet<usize>> = (0..self.modules.len()).map(|from| self.reached_from(from)).collect();
        let mut circles: BTreeSet<Vec<usize>> = BTreeSet::new();
        for (from, reachable) in reached.iter().enumerate() {
            let circle: Vec<usize> = reachable.iter().copied().filter(|&to| reached[to].contains(&from)).collect();
            if reachable.contains(&from) {
                circles.insert(circle);
            }
        }
        let name = |index: usize| self.modules[index].join("::");
        circles.into_iter().map(|circle| circle.into_iter().map(name).collect()).collect()
    }

    fn reached_from(&self, from: usize) -> BTreeSet<usize> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            let imported = self.imports.get(&next).into_iter().flatten();
            open.extend(imported.copied().filter(|&index| reached.insert(index)));
        }
        reached
    }
}

fn is_child(known: &[String], module: &[String], child: &str) -> bool {
    known.len() == module.len() + 1 && known.starts_with(module) && known.last().is_some_and(|last| last == child)
}

/// The text without its `pub use`, each of which ends with the next semicolon, and without the
/// modules that it declares.
fn without_children(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut is_within = false;
    for line in text.lines() {
        is_within |= line.starts_with("pub use ") || line.starts_with("pub(crate) use ");
        let declares = line.ends_with(';') && line.trim_end_matches(';').split(' ').rev().nth(1) == Some("mod");
        if !is_within && !declares {
            kept.push_str(line);
        }
        kept.push('\n');
        is_within &= !line.ends_with(';');
    }
    kept
}
