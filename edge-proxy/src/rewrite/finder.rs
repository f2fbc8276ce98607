//! Finds the first of a handful of short texts, with SIMD where the processor has it.

use aho_corasick::{AhoCorasick, Input, MatchKind, packed};

#[derive(Debug)]
pub enum Finder {
    Packed(packed::Searcher),
    /// Where the processor has no SIMD.
    Automaton(AhoCorasick),
}

/// Where one of the texts stands, and which.
pub struct Standing {
    pub start: usize,
    pub end: usize,
    pub index: usize,
}

impl Finder {
    /// For texts that are much alike in all their cases, so that few of their bytes tell them from
    /// others.
    pub fn new(sought: &[Vec<u8>]) -> Self {
        // By itself it would take the kind for many patterns, which reads half as much at once.
        let mut narrow = packed::Config::new();
        narrow.only_teddy_fat(Some(false));
        match narrow.builder().extend(sought).build() {
            Some(searcher) => Self::Packed(searcher),
            None => {
                let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(sought);
                Self::Automaton(automaton.expect("a handful of short texts"))
            }
        }
    }

    /// The first at or after `from`.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Standing> {
        let found = match self {
            Self::Packed(searcher) => searcher.find_in(text, (from..text.len()).into()),
            Self::Automaton(automaton) => automaton.find(Input::new(text).range(from..)),
        }?;
        Some(Standing { start: found.start(), end: found.end(), index: found.pattern().as_usize() })
    }
}
