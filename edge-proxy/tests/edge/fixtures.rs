//! Text of the shapes that real applications have, and what the gateway makes of it:
//! `tests/fixtures/rewrite`, where each file has a snapshot beside it. `UPDATE_SNAPSHOTS=1` writes
//! them anew; read the difference before it is committed.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use http::Method;
use testbed::{
    clients::http::{Answer, Ask},
    stack::{EdgeStack, Stack},
    upstreams::standin::FIXTURES,
};

const SNAPSHOT: &str = ".snap";

/// What a snapshot holds: the headers that name an origin, and the body, with a name in place of
/// each origin that changes from run to run.
fn seen(answer: &Answer, stack: &EdgeStack) -> String {
    let mut seen = String::new();
    for name in ["content-security-policy", "content-security-policy-report-only"] {
        for value in answer.headers.get_all(name) {
            writeln!(seen, "{name}: {}", value.to_str().expect("text")).expect("a string takes text");
        }
    }
    seen.push_str(&answer.text());
    let upstream = stack.standin.url();
    for (origin, name) in [(stack.edge().url(), "gateway.test:8000"), (upstream.as_str(), "upstream.test:8443")] {
        let (_, authority) = origin.split_once("://").expect("an origin");
        for colon in [":", "%3A"] {
            seen = seen.replace(&authority.replace(':', colon), &name.replace(':', colon));
        }
    }
    seen
}

#[tokio::test]
async fn text_of_real_shapes_becomes_what_its_snapshots_say() {
    let stack = Stack::plan().edge_env("ZENZEFI_ALIASES", "https://zenzefi.example:8443").start_edges().await;
    let token = stack.token().await;
    let files = fs::read_dir(FIXTURES).expect("fixtures").map(|entry| entry.expect("a file").file_name());
    let files: BTreeSet<String> = files.map(|name| name.into_string().expect("a name")).collect();
    let fixtures: BTreeSet<&str> = files.iter().map(|name| name.trim_end_matches(SNAPSHOT)).collect();
    assert!(fixtures.len() > 5, "{fixtures:?}");
    let is_update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut differing = Vec::new();
    for name in fixtures {
        let answer = stack.edge().by_cookie(&token, Method::GET, &format!("/fixtures/{name}")).answer().await;
        assert!((200..300).contains(&answer.status), "{name}: {answer:?}");
        let (seen, snapshot) = (seen(&answer, &stack), Path::new(FIXTURES).join(format!("{name}{SNAPSHOT}")));
        if is_update {
            fs::write(&snapshot, &seen).expect("the snapshot is written");
        } else if fs::read_to_string(&snapshot).unwrap_or_default() != seen {
            differing.push(format!("{} has another text than this:\n{seen}", snapshot.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    stack.finish().await;
}
