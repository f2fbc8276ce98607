//! The inputs that fuzzing starts from hold by themselves.

use std::{fs, path::Path};

#[test]
fn what_must_hold_holds_for_every_seed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let seeds: Vec<_> = fs::read_dir(folder).expect("a folder").map(|seed| seed.expect("an entry").path()).collect();
    assert!(seeds.len() > 5, "there are seeds: {seeds:?}");
    for seed in seeds {
        fuzz_rewrite::check(&fs::read(seed).expect("a seed"));
    }
}
