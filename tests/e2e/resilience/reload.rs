//! Options that are read again on SIGHUP, while both programs go on serving.

use std::fs;

use http::Method;
use nix::sys::signal::Signal;
use testbed::{clients::http::Ask, eventually, people::Token, processes::programs::Plane, stack::Stack};

/// Writes `.env` and has both programs read it; returns once they have, `ending` their log lines of
/// it.
async fn reads(stack: &Stack, file: &str, ending: &str) {
    fs::write(stack.folder().join(".env"), file).expect("a file");
    for plane in [&stack.control.plane, &stack.edge_planes[0]] {
        let before = log(plane).matches(ending).count();
        plane.process().signal(Signal::SIGHUP);
        eventually!(log(plane), |log| log.matches(ending).count() > before);
    }
}

const READ: &str = "the options were read again";
const REFUSED: &str = "all stay as they were";

fn log(plane: &Plane) -> String {
    fs::read_to_string(plane.process().log()).expect("a log")
}

async fn stack_and_token(plan: testbed::stack::Plan) -> (Stack, Token) {
    let stack = plan.start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    (stack, token)
}

#[tokio::test]
async fn limits_and_lists_of_addresses_change_at_once_and_go_back_to_their_defaults() {
    let plan = Stack::plan().left_to_file("TOKEN_REQUESTS_PER_MINUTE").left_to_file("USER_REQUESTS_PER_MINUTE");
    let (stack, token) = stack_and_token(plan).await;
    let alice = stack.control.user("another").await;
    let proxied = async || stack.edge().with(&token, Method::GET, "/certificates/filter").answer().await.status;
    let called =
        async || stack.control.api.request(Method::GET, "/users/me").bearer_auth(&alice.jwt).answer().await.status;
    assert_eq!((proxied().await, called().await), (200, 200));

    reads(&stack, "DENIED_ADDRESSES=127.0.0.0/8\n", READ).await;
    assert_eq!((proxied().await, called().await), (403, 403));

    reads(&stack, "TOKEN_REQUESTS_PER_MINUTE=1\nUSER_REQUESTS_PER_MINUTE=1\n", READ).await;
    // The first may pass still.
    proxied().await;
    called().await;
    assert_eq!((proxied().await, called().await), (429, 429));

    reads(&stack, "", READ).await;
    // What was used of the lower limit runs out sooner now.
    eventually!((proxied().await, called().await), |statuses| *statuses == (200, 200));
    stack.finish().await;
}

#[tokio::test]
async fn what_cannot_change_is_told_and_what_is_wrong_changes_nothing_and_is_not_repeated() {
    let (stack, token) = stack_and_token(Stack::plan()).await;
    let proxied = async || stack.edge().with(&token, Method::GET, "/certificates/filter").answer().await.status;
    reads(&stack, "UPSTREAM_TIMEOUT_SECONDS=7\nAUDIT_RETENTION_DAYS=9\nREDIS_URL=redis://ignored:1\n", READ).await;
    let told = |plane, option: &str| {
        let lines = log(plane);
        lines.lines().any(|line| line.contains("cannot change while") && line.contains(option))
    };
    assert!(told(&stack.edge_planes[0], "UPSTREAM_TIMEOUT_SECONDS"));
    assert!(told(&stack.control.plane, "AUDIT_RETENTION_DAYS"));
    for plane in [&stack.edge_planes[0], &stack.control.plane] {
        assert!(!told(plane, "REDIS_URL"), "the environment wins over the file");
    }

    for wrong in ["JWT_X=1\nDENIED_ADDRESSES=not-an-address-7\n", "DENIED_ADDRESSES=\"127.0.0.1\n"] {
        reads(&stack, wrong, REFUSED).await;
        assert_eq!(proxied().await, 200);
    }
    for plane in [&stack.edge_planes[0], &stack.control.plane] {
        assert!(!log(plane).contains("not-an-address-7"), "the log repeats a value");
        assert!(log(plane).contains("DENIED_ADDRESSES") || log(plane).contains("denied-addresses"));
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_was_refused_with_another_option_is_told_once_that_is_mended() {
    let (stack, _) = stack_and_token(Stack::plan()).await;
    let told = |plane: &Plane, what: &str| log(plane).lines().any(|line| line.contains(what));
    let edge = &stack.edge_planes[0];
    let wrong = "UPSTREAM_TIMEOUT_SECONDS=7\nACCESS_TOKEN_EXPIRE_MINUTES=0\nHTTPS_REDIRECT=true\n";
    reads(&stack, wrong, REFUSED).await;
    assert!(!told(edge, "UPSTREAM_TIMEOUT_SECONDS") && told(edge, "HTTPS_REDIRECT needs"));
    reads(&stack, "UPSTREAM_TIMEOUT_SECONDS=7\n", READ).await;
    assert!(told(edge, "cannot change while the program runs: it will with the next start"));
    assert!(told(edge, "UPSTREAM_TIMEOUT_SECONDS"));
    // Back to what runs: nothing waits for a start any more.
    let before = log(edge).matches("UPSTREAM_TIMEOUT_SECONDS").count();
    reads(&stack, "", READ).await;
    assert_eq!(log(edge).matches("UPSTREAM_TIMEOUT_SECONDS").count(), before);
    stack.finish().await;
}

#[tokio::test]
async fn a_secret_that_moves_from_the_file_to_one_of_its_own_is_found_there() {
    let plan = Stack::plan();
    let stack = plan.start().await;
    let secret = stack.folder().join("basic-auth");
    fs::write(&secret, "user:pass\n").expect("a file");
    let edge = &stack.edge_planes[0];
    let options =
        format!("ZENZEFI_BASIC_AUTH_FILE={}\nYOOKASSA_SECRET_KEY_FILE={}\n", secret.display(), secret.display());
    reads(&stack, &options, READ).await;
    assert!(log(edge).lines().any(|line| line.contains("cannot change while") && line.contains("ZENZEFI_BASIC_AUTH")));
    assert!(!log(edge).contains("user:pass"));
    reads(&stack, &format!("{options}ZENZEFI_BASIC_AUTH=a:b\nYOOKASSA_SECRET_KEY=a\n"), REFUSED).await;
    stack.finish().await;
}

#[tokio::test]
async fn the_log_can_be_made_quiet_and_loud_again() {
    let (stack, token) = stack_and_token(Stack::plan().left_to_file("LOG_LEVEL")).await;
    let asked = async |path: &str| stack.edge().with(&token, Method::GET, path).answer().await.status;
    let ran = async |path: &str| {
        asked(path).await;
        let url = format!("{}{path}", stack.control.plane.url());
        stack.control.api.client().get(url).answer().await;
    };
    reads(&stack, "LOG_LEVEL=warn,edge_proxy::process::reload=info,control_api::server::reload=info\n", READ).await;
    ran("/certificates/while-quiet").await;
    reads(&stack, "LOG_LEVEL=info\n", READ).await;
    ran("/certificates/while-loud").await;
    for plane in [&stack.edge_planes[0], &stack.control.plane] {
        eventually!(log(plane), |log| log.contains("/while-loud"));
        assert!(!log(plane).contains("/while-quiet"));
    }
    stack.finish().await;
}
