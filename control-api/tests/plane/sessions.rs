//! Sessions: what the edges count, how it is shown, and how one ends.

use serde_json::{Value, json};
use shared::redis::{
    self,
    events::{SessionFigures, Usage},
    replies::{CutReason, Lookup},
};
use testbed::people::{Token, User, text};
use testbed::{clients::http::Ask, eventually};
use uuid::Uuid;

use crate::harness::Control;

const DEVICE: &str = "device-of-alice";

/// Redis' clock, in milliseconds since 1970.
async fn now_ms(control: &Control) -> i64 {
    let time = control.redis.command(&["TIME"]).await.expect("a reply");
    let seconds: i64 = time.lines().next().expect("seconds").parse().expect("a number");
    seconds * 1_000
}

/// What an edge process has counted of a session, at its first request.
async fn first_figures(control: &Control, person: &User, token: &Token) -> SessionFigures {
    let now_ms = now_ms(control).await;
    SessionFigures {
        session_id: Uuid::new_v4(),
        instance_id: Uuid::new_v4(),
        token_id: token.id,
        user_id: person.id.parse().expect("a UUID"),
        device: DEVICE.to_owned(),
        address: "192.0.2.7".parse().ok(),
        agent: Some("an agent".to_owned()),
        started_at_ms: now_ms,
        last_activity_ms: now_ms,
        reported_at_ms: now_ms,
        requests: 1,
        bytes_in: 10,
        bytes_out: 100,
        open_connections: 1,
    }
}

async fn tell(control: &Control, figures: &SessionFigures) {
    control.tell(&Usage::Session(figures.clone())).await;
}

/// Returns once all that was told has been taken in.
async fn taken_in(control: &Control) {
    let left = async || control.redis.command(&["XLEN", redis::USAGE]).await.expect("a number");
    eventually!(left().await, |left| left == "0");
}

/// What an admin sees of a session, ended or not.
async fn seen(admin: &User, id: Uuid) -> Value {
    let page = admin.get("/admin/sessions?active_only=false").answer().await.expect(200);
    let items = page["items"].as_array().expect("items").iter();
    items.into_iter().find(|item| item["id"] == json!(id)).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_session_is_the_sum_of_its_edges_counts_and_replaying_the_stream_changes_none() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let first = first_figures(&control, &alice, &token).await;
    let later = SessionFigures {
        last_activity_ms: first.last_activity_ms + 1_000,
        reported_at_ms: first.reported_at_ms + 1_000,
        requests: 5,
        bytes_out: 500,
        open_connections: 0,
        ..first.clone()
    };
    let elsewhere = SessionFigures { instance_id: Uuid::new_v4(), ..first.clone() };
    let unknown = SessionFigures { token_id: Uuid::nil(), session_id: Uuid::new_v4(), ..first.clone() };
    let events = [&first, &unknown, &elsewhere, &later];
    for figures in events {
        tell(&control, figures).await;
    }
    taken_in(&control).await;
    let session = seen(admin, first.session_id).await;
    for (field, value) in [
        ("user_id", json!(alice.id)),
        ("token_id", json!(token.id)),
        ("device_id", json!(DEVICE)),
        ("ip_address", json!("192.0.2.7")),
        ("user_agent", json!("an agent")),
        ("request_count", json!(6)),
        ("bytes_in", json!(20)),
        ("bytes_out", json!(600)),
        ("open_connections", json!(1)),
        ("ended_at", Value::Null),
        ("is_active", json!(true)),
    ] {
        assert_eq!(session[field], value, "{field}");
    }
    assert!(text(&session, "last_activity") > text(&session, "started_at"));

    for _ in 0..2 {
        for figures in events {
            tell(&control, figures).await;
        }
        taken_in(&control).await;
        assert_eq!(seen(admin, first.session_id).await, session);
    }
    assert_eq!(control.query("SELECT count(*) FROM proxy_sessions").await, "1", "none of a token that does not exist");
}

#[tokio::test]
async fn people_see_their_own_sessions_and_admins_find_those_of_a_user_or_a_token() {
    let control = Control::start().await;
    let admin = &control.admin;
    let (alice, bob) = (control.user("alice").with_credits("100").await, control.user("bob").with_credits("100").await);
    let (of_alice, of_bob) = (alice.buys(24).await, bob.buys(24).await);
    for (person, token) in [(&alice, &of_alice), (&bob, &of_bob)] {
        tell(&control, &first_figures(&control, person, token).await).await;
    }
    taken_in(&control).await;
    let mine = alice.get("/users/me/sessions").answer().await.expect(200);
    assert_eq!((&mine["total"], &mine["limit"], &mine["offset"]), (&json!(1), &json!(50), &json!(0)));
    assert_eq!(mine["items"][0]["token_id"], json!(of_alice.id));
    for query in [format!("user_id={}", bob.id), format!("token_id={}", of_bob.id)] {
        let found = admin.get(&format!("/admin/sessions?{query}")).answer().await.expect(200);
        assert_eq!((&found["total"], &found["items"][0]["user_id"]), (&json!(1), &json!(bob.id)), "{query}");
    }
    let page = admin.get("/admin/sessions?limit=1&offset=1").answer().await.expect(200);
    assert_eq!((&page["total"], page["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_eq!(alice.get("/admin/sessions").answer().await.status, 403);
    assert_eq!(admin.get("/admin/sessions?user_id=7").answer().await.status, 422);
}

#[tokio::test]
async fn a_session_ends_when_its_lease_lapses_and_goes_on_when_it_is_used_again() {
    let control = Control::start_with([("DEBUG", "true"), ("LEASE_SECONDS", "2")]).await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let idle = SessionFigures { open_connections: 0, ..first_figures(&control, &alice, &token).await };
    let connected = SessionFigures { session_id: Uuid::new_v4(), open_connections: 1, ..idle.clone() };
    tell(&control, &idle).await;
    let report = async || {
        // The edge goes on telling of a connection on which nothing moves.
        let now_ms = now_ms(&control).await;
        tell(&control, &SessionFigures { reported_at_ms: now_ms, ..connected.clone() }).await;
        seen(admin, idle.session_id).await
    };
    let ended = eventually!(report().await, |session| session["is_active"] == json!(false));
    assert_eq!(ended["ended_at"], ended["last_activity"]);
    taken_in(&control).await;
    assert_eq!(seen(admin, connected.session_id).await["is_active"], json!(true));

    let now_ms = now_ms(&control).await;
    tell(&control, &SessionFigures { last_activity_ms: now_ms, reported_at_ms: now_ms, ..idle.clone() }).await;
    eventually!(seen(admin, idle.session_id).await, |session| session["is_active"] == json!(true));
    // Neither is reported any more, as when their edge died.
    for figures in [&idle, &connected] {
        let ended = eventually!(seen(admin, figures.session_id).await, |session| session["is_active"] == json!(false));
        assert_eq!(ended["open_connections"], json!(0));
    }
}

#[tokio::test]
async fn an_administrator_ends_a_session_which_cuts_its_device_and_frees_the_token() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    assert!(matches!(control.takes(&token, DEVICE).await, Lookup::Live(_)));
    assert!(matches!(control.takes(&token, "another-device").await, Lookup::Conflict { .. }));
    let figures = first_figures(&control, &alice, &token).await;
    tell(&control, &figures).await;
    taken_in(&control).await;
    let path = format!("/admin/sessions/{}", figures.session_id);
    for _ in 0..2 {
        let ended = admin.delete(&path).answer().await.expect(200);
        assert_eq!(ended, json!({ "ended": true, "session_id": figures.session_id }));
    }
    let Lookup::Live(grant) = control.lookup(&token.digest()).await else { panic!("the token goes on") };
    assert_eq!((grant.cut.generation, grant.cut.reason), (1, Some(CutReason::EndedByAdministrator)));
    assert_eq!(grant.cut.device.map(|device| device.to_string()).as_deref(), Some(DEVICE));
    assert!(matches!(control.takes(&token, "another-device").await, Lookup::Live(_)));

    let now_ms = now_ms(&control).await + 5_000;
    tell(
        &control,
        &SessionFigures { last_activity_ms: now_ms, reported_at_ms: now_ms, requests: 7, ..figures.clone() },
    )
    .await;
    taken_in(&control).await;
    let session = seen(admin, figures.session_id).await;
    assert_eq!((&session["is_active"], &session["request_count"]), (&json!(false), &json!(7)));
    let nobody = admin.delete(&format!("/admin/sessions/{}", Uuid::nil())).answer().await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (404, "Session not found"));
    assert_eq!(alice.delete(&path).answer().await.status, 403);
}

#[tokio::test]
async fn an_owner_takes_a_token_from_whichever_device_holds_it() {
    let control = Control::start().await;
    let (alice, bob) = (control.user("alice").with_credits("100").await, control.user("bob").await);
    let token = alice.buys(24).await;
    assert!(matches!(control.takes(&token, DEVICE).await, Lookup::Live(_)));
    let path = format!("/tokens/{}/release-device", token.id);
    assert_eq!(bob.post(&path).answer().await.status, 404);
    let released = alice.post(&path).answer().await.expect(200);
    assert_eq!(released, json!({ "released": true, "token_id": token.id }));
    let Lookup::Live(grant) = control.takes(&token, "another-device").await else { panic!("it is free") };
    assert_eq!((grant.cut.generation, grant.cut.reason), (1, Some(CutReason::TakenOver)));
    assert_eq!(grant.cut.device, None);
}

#[tokio::test]
async fn a_cut_that_redis_has_not_taken_says_that_it_is_pending() {
    let mut control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let figures = first_figures(&control, &alice, &token).await;
    tell(&control, &figures).await;
    taken_in(&control).await;
    control.redis.kill().await;
    let cuts = [
        alice.post(&format!("/tokens/{}/release-device", token.id)),
        admin.delete(&format!("/admin/sessions/{}", figures.session_id)),
    ];
    for cut in cuts {
        assert_eq!(cut.answer().await.expect(200)["pending"], json!(true));
    }
    control.redis.start_again().await.expect("redis");
    eventually!(control.field(&token, "cut_gen").await, |generation| generation == "2");
}

#[tokio::test]
async fn an_owner_tries_what_a_token_opens_without_using_it() {
    let control = Control::start().await;
    let (alice, bob) = (control.user("alice").with_credits("100").await, control.user("bob").await);
    let wanted = json!({ "duration_hours": 1, "scope": "certificates_only" });
    let token = Token::of(&alice.post("/tokens/purchase").json(&wanted).answer().await.expect(201));
    let path = format!("/tokens/{}/access", token.id);
    let tried = async |asked: &str| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("method", "POST"), ("path", asked)])
            .finish();
        alice.get(&format!("{path}?{query}")).answer().await.expect(200)
    };
    let opened = tried("/certificates/filter?page=1").await;
    let expected = json!({
        "allowed": true, "reason": "The token opens this path", "scope": "certificates_only", "state": "ready"
    });
    assert_eq!(opened, expected);
    for (asked, reason) in [
        (
            "/users/currentUser",
            "Access denied: your token scope ('certificates_only') does not allow access to '/users/currentUser'",
        ),
        ("/certificates/%2e%2e/users", "The path contains a dot segment"),
        ("/certificates/details/\0", "The path contains a control character"),
        ("certificates/filter", "The path must start with a slash"),
    ] {
        let refused = tried(asked).await;
        assert_eq!((&refused["allowed"], &refused["reason"]), (&json!(false), &json!(reason)));
    }
    assert_eq!(control.field(&token, "activated_at").await, "");
    let admin = &control.admin;
    admin.delete(&format!("/admin/tokens/{}", token.id)).answer().await.expect(200);
    let ended = tried("/certificates/filter").await;
    assert_eq!((&ended["reason"], &ended["state"]), (&json!("The token was revoked"), &json!("revoked")));
    let of_another = bob.get(&format!("{path}?path=/")).answer().await;
    assert_eq!((of_another.status, of_another.problem().as_str()), (404, "Token not found"));
    assert_eq!(alice.get(&path).answer().await.expect(422)["errors"][0]["field"], "path");
}
