//! What the gateway tells the upstream of who asks, verified as the upstream's operator does it:
//! by a library of others, and by the keys that an edge serves.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use shared::redis::ASSERTION_KEYS;
use testbed::{
    clients::{
        http::{Ask, client},
        raw_http::Wire,
    },
    eventually,
    people::{Edge, Token},
    processes::folder::Folder,
    stack::{Plan, Stack, Upstream},
    upstreams::standin::Standin,
};

use crate::tokens::expiry::faketime;

const KEY_SET: &str = "/.well-known/jwks.json";
const HEADER: &str = "x-zenzefi-assertion";
/// The shortest that an assertion may be good for.
const SECONDS: i64 = 10;

fn signing() -> Plan {
    Stack::plan().edge_env("ASSERTION_SECONDS", &SECONDS.to_string())
}

/// With keys that take turns as fast as they may.
fn turning() -> Plan {
    signing().edge_env("ASSERTION_ROTATE_SECONDS", &SECONDS.to_string())
}

/// The keys that an edge serves to anybody.
async fn keys(edge: &Edge) -> JwkSet {
    serde_json::from_value(edge.get(KEY_SET).answer().await.expect(200)).expect("a JWK set")
}

fn names(keys: &JwkSet) -> BTreeSet<String> {
    keys.keys.iter().filter_map(|key| key.common.key_id.clone()).collect()
}

/// The name of the key that signed an assertion.
fn name(assertion: &str) -> String {
    decode_header(assertion).expect("a JWT").kid.expect("a name")
}

/// What an assertion says, if one of these keys signed it, for this audience, and it has not
/// expired.
fn verified(assertion: &str, keys: &JwkSet, audience: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let key = keys.find(&name(assertion)).unwrap_or_else(|| panic!("no key {} in {keys:?}", name(assertion)));
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.leeway = 0;
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
    decode(assertion, &DecodingKey::from_jwk(key)?, &validation).map(|read| read.claims)
}

/// The assertions that the upstream received with a request, as `/echo` tells.
fn received(echo: &Value) -> Vec<String> {
    let pairs = echo["headers"].as_array().expect("pairs").iter();
    pairs.filter(|pair| pair[0] == HEADER).map(|pair| pair[1].as_str().expect("text").to_owned()).collect()
}

/// The one assertion that came with a request of an API client.
async fn assertion(edge: &Edge, token: &Token) -> String {
    one(&edge.with(token, Method::GET, "/echo").answer().await.expect(200))
}

#[track_caller]
fn one(echo: &Value) -> String {
    let [assertion] = &received(echo)[..] else { panic!("not one assertion: {echo}") };
    assertion.clone()
}

/// When an assertion was made and when it ends, in seconds since 1970.
fn times(claims: &Value) -> (i64, i64) {
    let time = |claim: &str| claims[claim].as_i64().expect("whole seconds");
    (time("iat"), time("exp"))
}

/// What reaches the upstream of a WebSocket's handshake that claims to be somebody.
async fn handshake(edge: &Edge, token: &Token) -> Value {
    let mut wire = Wire::connect(edge.url()).await.expect("a connection");
    let host = edge.url().trim_start_matches("http://");
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\nConnection: Upgrade, {HEADER}\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Zenzefi-Assertion: forged\r\n\r\n",
        token.text
    );
    wire.send(request).await.expect("sent");
    wire.answer().await.expect("an answer").json()
}

#[tokio::test]
async fn the_upstream_verifies_who_asks_by_the_keys_of_any_edge_however_the_request_came() {
    let http_2 = client().http2_prior_knowledge().build().expect("a client");
    for upstream in [Upstream::Unverified, Upstream::Plain] {
        let stack = signing().edges(2).upstream(upstream).start().await;
        let alice = stack.control.user("alice").with_credits(100).await;
        let token = alice.buys(24).await;
        let audience = if upstream == Upstream::Plain { stack.standin.http_url() } else { stack.standin.url() };
        let [first, second] = &stack.edges[..] else { panic!("two edges") };
        let both = eventually!((keys(first).await, keys(second).await), |(one, other)| names(one).len() == 4
            && names(one) == names(other));
        let (of_first, of_second) = both;
        for (edge, keys) in [(first, &of_second), (second, &of_first)] {
            let forged = |edge: &Edge| {
                let request = edge.with(&token, Method::GET, "/echo");
                let names = ["X-Zenzefi-Assertion", "x_zenzefi_assertion", "X.Zenzefi-Assertion"];
                names.into_iter().fold(request, |request, name| request.header(name, "forged"))
            };
            let by_http_1 = forged(edge).header("connection", HEADER).answer().await.expect(200);
            let by_http_2 = forged(&edge.by(edge.url(), http_2.clone())).answer().await.expect(200);
            for echo in [by_http_1, by_http_2, handshake(edge, &token).await] {
                assert!(!echo.to_string().contains("forged"), "{echo}");
                stack.secrets.remember("assertion", &one(&echo));
                let claims = verified(&one(&echo), keys, &audience).expect("good");
                let (issued, _) = times(&claims);
                let expected = json!({
                    "iss": first.url(),
                    "sub": alice.id,
                    "aud": audience,
                    "token_id": token.id,
                    "scope": "full",
                    "iat": issued,
                    "exp": issued + SECONDS,
                });
                assert_eq!(claims, expected);
                assert!(verified(&one(&echo), keys, "https://another.example").is_err());
            }
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn the_key_set_is_for_everybody_and_for_a_while() {
    let stack = turning().start().await;
    let answer = stack.edge().get(KEY_SET).answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), "public, max-age=2");
    for key in answer.json()["keys"].as_array().expect("keys") {
        let members = ["alg", "crv", "kid", "kty", "use", "x"];
        assert!(key.as_object().expect("a key").keys().eq(members), "nothing that is private: {key}");
        assert_eq!((&key["alg"], &key["crv"], &key["kty"]), (&json!("EdDSA"), &json!("Ed25519"), &json!("OKP")));
    }
    let head = stack.edge().request(Method::HEAD, KEY_SET).answer().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let posted = stack.edge().request(Method::POST, KEY_SET).answer().await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
    let misspelled = stack.edge().get("/.well-known//jwks.json").answer().await;
    assert_eq!(misspelled.status, 400);
    assert_eq!(stack.standin.seen(KEY_SET).requests, 0);
    stack.finish().await;
}

#[tokio::test]
async fn where_nothing_is_signed_there_is_no_assertion_and_the_key_set_is_the_upstreams() {
    let stack = Stack::start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let request = stack.edge().with(&token, Method::GET, "/echo").header(HEADER, "forged");
    assert_eq!(received(&request.answer().await.expect(200)), Vec::<String>::new());
    assert_eq!(received(&handshake(stack.edge(), &token).await), Vec::<String>::new());
    assert_eq!(stack.edge().get(KEY_SET).answer().await.status, 401);
    assert_eq!(stack.edge().status_for(&token, KEY_SET).await, 404);
    assert_eq!(stack.standin.seen(KEY_SET).requests, 1);
    stack.finish().await;
}

#[tokio::test]
async fn an_assertion_is_shared_and_ends_with_its_token_whatever_the_edges_clock() {
    let stack = Stack::plan()
        .edge_env("ASSERTION_SECONDS", "3600")
        .debug_env("TOKEN_HOUR_SECONDS", "30")
        .edge_env("LD_PRELOAD", &faketime().to_string_lossy())
        .edge_env("FAKETIME", "+1h")
        .edge_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    let audience = stack.standin.url();
    let token = stack.control.user("alice").with_credits(100).await.buys_scoped(1, "full").await;
    let keys = keys(stack.edge()).await;
    let first = assertion(stack.edge(), &token).await;
    let status = stack.edge().with(&token, Method::GET, "/api/v1/proxy/status").answer().await.expect(200);
    let ends: DateTime<Utc> = status["expires_at"].as_str().expect("a text").parse().expect("a time");
    let (second, third) = (assertion(stack.edge(), &token).await, assertion(stack.edge(), &token).await);
    assert_eq!(second, third);
    for assertion in [first, second] {
        let claims = verified(&assertion, &keys, &audience).expect("good");
        let (issued, expires) = times(&claims);
        assert!(expires <= ends.timestamp(), "{claims} after {ends}");
        assert!(expires - issued >= 25, "{claims}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_assertion_is_good_at_every_address_of_the_upstream() {
    let standin = Standin::start_on_free_ports().await.expect("a stand-in");
    let addresses = [standin.http_url(), standin.url()];
    let stack = signing().edge_env("ZENZEFI_URL", &addresses.join(",")).start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let (keys, assertion) = (keys(stack.edge()).await, assertion(stack.edge(), &token).await);
    for address in &addresses {
        let claims = verified(&assertion, &keys, address).expect("good");
        assert_eq!(claims["aud"], json!(addresses));
    }
    stack.finish().await;
}

#[tokio::test]
async fn keys_take_turns_under_load_and_each_was_known_at_the_other_edge_before_it_signed() {
    let stack = turning().edges(2).start().await;
    let audience = stack.standin.url();
    let alice = stack.control.user("alice").with_credits(1000).await;
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(alice.buys(24).await);
    }
    let [signs, other] = &stack.edges[..] else { panic!("two edges") };
    // It keeps what it was told for as long as it may, and asks for nothing in between.
    let keeps = Duration::from_secs(2);
    let (mut kept, mut told) = (keys(other).await, Instant::now());
    let (mut names, mut requests) = (BTreeSet::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while names.len() < 3 {
        assert!(Instant::now() < deadline, "{names:?} after {requests} requests");
        for token in &tokens {
            if told.elapsed() >= keeps {
                (kept, told) = (keys(other).await, Instant::now());
            }
            let assertion = assertion(signs, token).await;
            verified(&assertion, &kept, &audience).unwrap_or_else(|error| panic!("{error} after {requests} requests"));
            names.insert(name(&assertion));
            requests += 1;
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn what_was_signed_before_redis_went_or_an_edge_died_is_verified_all_the_same() {
    let mut stack = signing().edges(2).first_edge_by_link().start().await;
    let audience = stack.standin.url();
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let [first, second] = [stack.edges[0].clone(), stack.edges[1].clone()];
    let before = assertion(&first, &token).await;
    stack.link.as_ref().expect("it was planned").cut();
    let after = eventually!(assertion(&first, &token).await, |assertion| *assertion != before);
    for keys in [keys(&first).await, keys(&second).await] {
        verified(&after, &keys, &audience).expect("made without Redis");
    }
    stack.link.as_ref().expect("it was planned").mend();
    stack.edge_planes[0].kill().await;
    stack.edge_planes[0].start_beside().expect("a process");
    let readyz = format!("{}/readyz", stack.edge_planes[0].ops_url());
    let http = client().build().expect("a client");
    let readiness = async || http.get(&readyz).try_answer().await.map_or_else(|_| String::new(), |ready| ready.text());
    eventually!(readiness().await, |ready| ready.contains("other edges do not know the key"));
    eventually!(readiness().await, |ready| ready.contains(r#""ready":true"#));
    for keys in [keys(&first).await, keys(&second).await] {
        assert_ne!(keys.find(&name(&after)), None, "of the process that died");
    }
    let again = eventually!(first.with(&token, Method::GET, "/echo").answer().await, |answer| answer.status == 200);
    verified(&one(&again.json()), &keys(&second).await, &audience).expect("of the next process");
    stack.announce(503);
    stack.finish().await;
}

#[tokio::test]
async fn keys_that_redis_lost_are_told_again_and_what_is_none_there_is_passed_over() {
    let stack = signing().edges(2).start().await;
    let [first, second] = &stack.edges[..] else { panic!("two edges") };
    let all = eventually!(names(&keys(first).await), |names| names.len() == 4);
    let redis = async |words: &[&str]| stack.redis.command(words).await.expect("an answer");
    redis(&["DEL", ASSERTION_KEYS]).await;
    assert_eq!(names(&keys(first).await), all);
    eventually!(redis(&["ZCARD", ASSERTION_KEYS]).await, |count| count == "4");
    let lasts_ms: i64 = redis(&["PTTL", ASSERTION_KEYS]).await.parse().expect("milliseconds");
    assert!((100_000..=130_000).contains(&lasts_ms), "{lasts_ms}");

    let ends = (Utc::now().timestamp_millis() + 60_000).to_string();
    let stranger = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    redis(&["ZADD", ASSERTION_KEYS, &ends, "nonsense", &ends, &stranger[1..], "0", &stranger[2..], &ends, stranger])
        .await;
    let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned();
    for edge in [first, second] {
        let names = eventually!(names(&keys(edge).await), |names| names.contains(&thumbprint));
        assert_eq!(names.len(), 5, "{names:?}");
    }
    eventually!(redis(&["ZCARD", ASSERTION_KEYS]).await, |count| count == "7");
    stack.finish().await;
}

#[tokio::test]
async fn a_process_that_takes_over_serves_the_keys_of_the_one_before_and_its_own() {
    let folder = Folder::temporary().expect("a folder");
    let path = folder.path().join("upgrade");
    let mut stack = signing().edge_env("UPGRADE_SOCKET", &path.to_string_lossy()).start().await;
    let audience = stack.standin.url();
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let edge = stack.edge().clone();
    let before = assertion(&edge, &token).await;
    let known = names(&keys(&edge).await);
    eventually!(path.exists(), |waits| *waits);
    let mut relieved = stack.edge_planes[0].start_beside().expect("a process");
    let after = eventually!(assertion(&edge, &token).await, |after| !known.contains(&name(after)));
    let keys = keys(&edge).await;
    for assertion in [before, after] {
        verified(&assertion, &keys, &audience).expect("good");
    }
    assert!(relieved.wait().await.success(), "{}", relieved.quote());
    stack.finish().await;
}
