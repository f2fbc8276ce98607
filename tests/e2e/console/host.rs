//! The console at a host of its own, which shows nothing of the upstream.

use http::Method;
use testbed::{clients::http::Ask, stack::Stack};

use crate::pages::gateway_pages::{assert_page, navigation, rich};

const PAGE: &str = "/users/currentUser";

#[tokio::test]
async fn the_console_has_a_host_of_its_own_at_which_there_is_no_upstream() {
    const HOST: &str = "console.example";
    let stack = Stack::plan().edge_env("CONSOLE_HOST", HOST).start().await;
    let token = rich(&stack, "alice").await.buys(24).await;
    let edge = stack.edge();
    let at = |path: &str| edge.get(path).header("host", HOST);

    let document = at("/openapi.json").answer().await.expect(200);
    assert!(document["paths"].is_object());
    // The control plane's own, though the edge has endpoints at the same paths, and the upstream
    // pages.
    let root = at("/").answer().await.expect(200);
    assert!(root["version"].is_string(), "{root}");
    for path in [PAGE, "/certificates/filter", "/_gateway/whoami", "/_gateway/sign-in", "/api/v1/proxy/status"] {
        let request = at(path).header("cookie", format!("zenzefi_access_token={}", token.text));
        assert_eq!(request.header("x-access-token", &token.text).answer().await.status, 404, "{path}");
    }
    assert_eq!(stack.standin.seen(PAGE).requests, 0);
    let health = at("/health").answer().await.expect(200);
    assert!(health.get("timestamp").is_none() || health["status"].is_string(), "{health}");
    assert_eq!(edge.get("/").header("host", "console.example.evil").answer().await.status, 421);
    // And nothing of the console at the origin that shows the upstream.
    assert_eq!(edge.with(&token, Method::GET, "/console").answer().await.status, 404);
    assert!(stack.standin.seen("/console").requests == 1);
    stack.finish().await;
}

#[tokio::test]
async fn while_the_control_plane_is_away_its_host_says_so_without_its_help() {
    let mut stack = Stack::plan().edge_env("CONSOLE_HOST", "console.example").start().await;
    stack.announce(502);
    stack.control.plane.kill().await;
    let answer = navigation(stack.edge().get("/console").header("host", "console.example"), "ru").answer().await;
    let page = assert_page(&answer, 502, "ru", "Портал сейчас недоступен");
    let style = format!("href=\"{}/_gateway/style.css?v=", stack.edge().url());
    assert!(page.contains(&style) && !page.contains("\"/_gateway"), "{page}");
    assert!(
        answer.header("content-security-policy").contains(&format!("style-src {};", stack.edge().url())),
        "{:?}",
        answer.headers
    );
    assert_eq!(answer.header("refresh"), "5");
    stack.finish().await;
}
