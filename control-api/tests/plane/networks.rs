//! From where tokens may be used: who sets it, what is refused, what is noted, and what the edges
//! are told.

use serde_json::{Value, json};
use testbed::people::{Token, User, text};
use testbed::{clients::http::Ask, eventually};
use uuid::Uuid;

use crate::harness::Control;

async fn audited(admin: &User, action: &str) -> Vec<Value> {
    let page = admin.get(&format!("/admin/audit-logs?action={action}")).answer().await.expect(200);
    page["items"].as_array().expect("lines").clone()
}

async fn told(control: &Control, token: &Token) -> Value {
    let networks = control.field(token, "networks").await;
    if networks.is_empty() { Value::Null } else { serde_json::from_str(&networks).expect("JSON") }
}

#[tokio::test]
async fn owners_and_administrators_set_a_tokens_networks_and_every_change_is_audited() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    assert_eq!(told(&control, &token).await, Value::Null);

    let own = format!("/tokens/{}", token.id);
    let allowed = json!({ "allowed_networks": ["192.0.2.77/24", "2001:DB8::1", "192.0.2.0/24"] });
    let changed = alice.patch(&own, &allowed).answer().await.expect(200);
    assert_eq!(changed["allowed_networks"], json!(["192.0.2.0/24", "2001:db8::1"]));
    assert_eq!((&changed["denied_networks"], &changed["state"]), (&json!([]), &json!("ready")));
    assert_eq!(told(&control, &token).await, json!({ "token": { "allowed": changed["allowed_networks"] } }));
    assert_eq!(
        alice.get("/tokens/my-tokens").answer().await.expect(200)[0]["allowed_networks"],
        changed["allowed_networks"]
    );

    let others = format!("/admin/tokens/{}", token.id);
    let denied = json!({ "denied_networks": ["192.0.2.9"] });
    let changed = admin.patch(&others, &denied).answer().await.expect(200);
    assert_eq!(
        (&changed["denied_networks"], &changed["allowed_networks"][0]),
        (&json!(["192.0.2.9"]), &json!("192.0.2.0/24"))
    );
    // The same again is no change.
    alice.patch(&own, &denied).answer().await.expect(200);
    alice.patch(&own, &json!({ "allowed_networks": null })).answer().await.expect(200);

    let lines = audited(admin, "restrict").await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let whom = |line: &Value| (text(line, "user_id"), text(line, "resource_id"), line["details"].clone());
    let [by_admin, by_owner] = [&lines[0], &lines[1]].map(whom);
    let id = token.id.to_string();
    assert_eq!(
        by_admin,
        (admin.id.clone(), id.clone(), json!({ "denied_networks": { "old": [], "new": ["192.0.2.9"] } }))
    );
    let new = json!(["192.0.2.0/24", "2001:db8::1"]);
    assert_eq!(by_owner, (alice.id.clone(), id, json!({ "allowed_networks": { "old": [], "new": new } })));

    let gone = admin.patch(&format!("/admin/tokens/{}", Uuid::nil()), &denied).answer().await;
    assert_eq!((gone.status, gone.problem().as_str()), (404, "Token not found"));
}

#[tokio::test]
async fn an_administrator_sets_the_networks_of_all_tokens_of_a_user_future_ones_too() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let networks =
        json!({ "allowed_networks": ["192.0.2.0/24"], "denied_networks": ["192.0.2.9"], "reason": "one office" });
    let path = format!("/admin/users/{}", alice.id);
    let changed = admin.patch(&path, &networks).answer().await.expect(200);
    for field in ["allowed_networks", "denied_networks"] {
        assert_eq!(changed[field], networks[field], "{field}");
    }
    let user = json!({ "user": { "allowed": ["192.0.2.0/24"], "denied": ["192.0.2.9"] } });
    eventually!(told(&control, &token).await, |told| *told == user);
    let later = alice.buys(24).await;
    assert_eq!(told(&control, &later).await, user);

    admin.patch(&path, &json!({ "allowed_networks": [] })).answer().await.expect(200);
    eventually!(told(&control, &later).await, |told| *told == json!({ "user": { "denied": ["192.0.2.9"] } }));
    admin.patch(&path, &json!({ "denied_networks": [] })).answer().await.expect(200);
    eventually!(told(&control, &token).await, |told| told.is_null());

    let lines = audited(admin, "change_user").await;
    let details = json!({
        "allowed_networks": { "old": [], "new": ["192.0.2.0/24"] },
        "denied_networks": { "old": [], "new": ["192.0.2.9"] },
        "reason": "one office",
    });
    assert!(lines.iter().any(|line| line["details"] == details), "{lines:?}");
    // An account that merely has lists is nobody's to change but an administrator's.
    let refused = alice.patch("/users/me", &json!({ "denied_networks": ["192.0.2.9"] })).answer().await;
    assert!(refused.expect(200).get("denied_networks").is_none());
    assert_eq!(told(&control, &token).await, Value::Null);
}

#[tokio::test]
async fn a_list_that_is_none_or_too_long_is_refused_and_not_repeated() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let many = |count: u8| json!((0..count).map(|number| format!("192.0.2.{number}")).collect::<Vec<_>>());
    for path in
        [format!("/tokens/{}", token.id), format!("/admin/tokens/{}", token.id), format!("/admin/users/{}", alice.id)]
    {
        let caller = if path.starts_with("/admin") { admin } else { &alice };
        for field in ["allowed_networks", "denied_networks"] {
            for bad in [
                json!("192.0.2.1"),
                json!(["192.0.2.1/33"]),
                json!(["office.example"]),
                json!([" "]),
                json!([7]),
                many(65),
            ] {
                let refused = caller.patch(&path, &json!({ field: bad })).answer().await;
                let message = "must be a list of at most 64 addresses or networks such as 10.0.0.0/8";
                assert_eq!(
                    refused.expect(422)["errors"],
                    json!([{ "field": field, "message": message }]),
                    "{path} {bad}"
                );
            }
        }
        caller.patch(&path, &json!({ "denied_networks": many(64) })).answer().await.expect(200);
    }
    assert_eq!(told(&control, &token).await["token"]["denied"].as_array().map(Vec::len), Some(64));
}

#[tokio::test]
async fn a_dry_run_tells_whether_a_token_may_be_used_from_an_address() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let token = alice.buys(24).await;
    let networks = json!({ "denied_networks": ["192.0.2.9"] });
    admin.patch(&format!("/admin/users/{}", alice.id), &networks).answer().await.expect(200);
    let access = async |query: &str| {
        let path = format!("/tokens/{}/access?path=/users/currentUser{query}", token.id);
        alice.get(&path).answer().await
    };
    for (query, allowed, reason) in [
        ("", true, "The token opens this path"),
        ("&address=192.0.2.8", true, "The token opens this path"),
        ("&address=192.0.2.9", false, "This access token may not be used from this address"),
        ("&address=::ffff:192.0.2.9", false, "This access token may not be used from this address"),
    ] {
        let told = access(query).await.expect(200);
        assert_eq!((&told["allowed"], &told["reason"]), (&json!(allowed), &json!(reason)), "{query}");
    }
    assert_eq!(access("&address=nowhere").await.expect(422)["errors"][0]["field"], "address");
}
