//! Holds the house in order: which code may name what, which module may import which, how long and
//! how wide texts are. A design that only people remember is gone after a dozen changes; this one
//! turns red.
//!
//! Each rule is shown to be breakable beside its check. `testbed house` prints the figures.

mod allowed;
mod docs;
mod layers;
mod rules;
mod words;

use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}
