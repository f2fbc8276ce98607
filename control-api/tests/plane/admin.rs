//! What superusers see and do.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testbed::people::text;
use testbed::{clients::http::Ask, eventually};
use uuid::Uuid;

use crate::harness::Control;

#[tokio::test]
async fn nobody_but_a_superuser_gets_in() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let id = Uuid::nil();
    let calls = [
        (Method::GET, "/admin/users".to_owned()),
        (Method::PATCH, format!("/admin/users/{id}")),
        (Method::POST, format!("/admin/users/{id}/password-link")),
        (Method::GET, "/admin/tokens".to_owned()),
        (Method::DELETE, format!("/admin/tokens/{id}")),
    ];
    for (method, path) in calls {
        let nobody = control.api.request(method.clone(), &path).json(&json!({})).answer().await;
        assert_eq!((nobody.status, nobody.problem().as_str()), (401, "Not authenticated"), "{path}");
        let refused = control.api.request(method, &path).bearer_auth(&alice.jwt).json(&json!({})).answer().await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "Superuser permissions required"), "{path}");
    }
}

#[tokio::test]
async fn users_are_found_by_a_literal_part_of_their_name_in_any_case() {
    let control = Control::start().await;
    let admin = &control.admin;
    for name in ["alice", "bob_100%", "bobby"] {
        let email = format!("{}@example.com", name.trim_end_matches('%'));
        control.api.registers(&json!({ "email": email, "username": name, "password": "password1" })).await.expect(201);
    }
    let found = async |query: &str| {
        let page = admin.get(&format!("/admin/users?{query}")).answer().await.expect(200);
        let names = page["items"].as_array().unwrap().iter().map(|user| text(user, "username")).collect::<Vec<_>>();
        (names.join(" "), page["total"].clone())
    };
    assert_eq!(found("search=BOB").await, ("bobby bob_100%".to_owned(), json!(2)));
    assert_eq!(found("search=%25").await, ("bob_100%".to_owned(), json!(1)));
    assert_eq!(found("search=b_").await, ("bob_100%".to_owned(), json!(1)));
    assert_eq!(found("search=&limit=2&offset=1").await, ("bob_100% alice".to_owned(), json!(4)));
    assert_eq!(found("is_active=false").await, (String::new(), json!(0)));
}

#[tokio::test]
async fn a_list_refuses_a_page_that_is_out_of_bounds() {
    let control = Control::start().await;
    let admin = &control.admin;
    for query in ["limit=0", "limit=101", "limit=x", "offset=-1", "is_active=maybe", "search=%00", "limit="] {
        let refused = admin.get(&format!("/admin/users?{query}")).answer().await;
        let errors = refused.expect(422)["errors"].clone();
        assert_eq!(errors[0]["field"], query.split('=').next().unwrap(), "{query}");
        refused.problem();
    }
    assert_eq!(admin.get("/admin/tokens?user_id=7").answer().await.expect(422)["errors"][0]["field"], "user_id");
}

#[tokio::test]
async fn a_changed_account_is_shown_as_it_is_now() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    let path = format!("/admin/users/{}", alice.id);
    let change = json!({ "currency_balance": "12.50", "is_superuser": true, "reason": "a friend" });
    let changed = admin.patch(&path, &change).answer().await.expect(200);
    assert_eq!((&changed["currency_balance"], &changed["is_superuser"]), (&json!("12.50"), &json!(true)));
    for bad in [json!("-0.01"), json!("0.001"), json!("1000000000.01"), json!("a"), json!([])] {
        let refused = admin.patch(&path, &json!({ "currency_balance": bad })).answer().await;
        assert_eq!(refused.expect(422)["errors"][0]["field"], "currency_balance");
    }
    let nobody = admin.patch(&format!("/admin/users/{}", Uuid::nil()), &json!({})).answer().await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (404, "User not found"));
}

#[tokio::test]
async fn the_last_active_superuser_stays_whichever_two_ask_at_once() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    let demote = async |id: &str, change: Value| admin.patch(&format!("/admin/users/{id}"), &change).answer().await;
    for change in [json!({ "is_superuser": false }), json!({ "is_active": false })] {
        assert_eq!(demote(&admin.id, change).await.status, 409);
    }
    control.admin.changes(&alice, &json!({ "is_superuser": true })).await.expect(200);
    let answers = join_all([
        admin.patch(&format!("/admin/users/{}", alice.id), &json!({ "is_superuser": false })).answer(),
        alice.patch(&format!("/admin/users/{}", admin.id), &json!({ "is_superuser": false })).answer(),
    ])
    .await;
    assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(control.query("SELECT count(*) FROM users WHERE is_superuser AND is_active").await, "1");
}

#[tokio::test]
async fn an_admin_lists_tokens_with_their_owners_and_without_their_texts() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("100").await);
    let [kept, revoked] = [alice.buys(1).await, alice.buys(1).await];
    admin.delete(&format!("/admin/tokens/{}", revoked.id)).answer().await.expect(200);
    let page = admin.get(&format!("/admin/tokens?user_id={}", alice.id)).answer().await;
    assert!(!page.text().contains(&kept.text));
    let page = page.expect(200);
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(1), &json!(50), &json!(0)));
    let item = &page["items"][0];
    assert_eq!((&item["user_email"], &item["user_username"]), (&json!(alice.email), &json!("alice")));
    assert_eq!((&item["user_id"], &item["revoked_at"]), (&json!(alice.id), &Value::Null));
    let all = admin.get("/admin/tokens?active_only=false").answer().await.expect(200);
    assert_eq!((&all["total"], &all["items"][0]["state"]), (&json!(2), &json!("revoked")));
}

#[tokio::test]
async fn an_admin_revokes_a_token_that_is_in_use_without_a_refund() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").with_credits("18").await);
    let token = alice.buys(24).await;
    control.activate(&token).await;
    let path = format!("/admin/tokens/{}", token.id);
    for _ in 0..2 {
        let revoked = admin.delete(&path).answer().await.expect(200);
        let message = format!("Token {} revoked successfully (no refund issued)", token.id);
        assert_eq!(revoked, json!({ "revoked": true, "token_id": token.id, "message": message }));
        assert!(!control.is_live(&token.digest()).await);
    }
    assert_eq!(alice.balance().await, "0.00");
    let nothing = admin.delete(&format!("/admin/tokens/{}", Uuid::nil())).answer().await;
    assert_eq!((nothing.status, nothing.problem().as_str()), (404, "Token not found"));
}

#[tokio::test]
async fn disabling_a_user_suspends_their_tokens_and_enabling_restores_them() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100").await;
    let [first, second] = [alice.buys(1).await, alice.buys(24).await];
    control.admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    for token in [&first, &second] {
        eventually!(control.field(token, "state").await, |state| state == "suspended");
    }
    control.admin.changes(&alice, &json!({ "is_active": true })).await.expect(200);
    for token in [&first, &second] {
        eventually!(control.is_live(&token.digest()).await, |live| *live);
    }
}

#[tokio::test]
async fn a_password_link_sets_a_password_once() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    let draw = async || {
        let path = format!("/admin/users/{}/password-link", alice.id);
        admin.post(&path).answer().await.expect(200)
    };
    let replaced = text(&draw().await, "url");
    let link = draw().await;
    let url = text(&link, "url");
    assert!(text(&link, "expires_at").ends_with('Z'));
    assert!(url.starts_with(&control.url("/set-password?code=")));
    let code = |url: &str| url.split_once("code=").unwrap().1.to_owned();

    for _ in 0..2 {
        let page = control.api.client().get(&url).answer().await;
        assert_eq!((page.status, page.header("referrer-policy")), (200, "same-origin"));
        assert!(page.text().contains(r#"method="post" action="/set-password""#));
    }
    let send = async |code: &str, password: &str| {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("code", code), ("password", password)])
            .finish();
        let request =
            control.api.client().post(control.url("/set-password")).header("origin", control.url("")).body(form);
        request.header("content-type", "application/x-www-form-urlencoded").answer().await.status
    };
    assert_eq!(send(&code(&url), "short").await, 422);
    assert_eq!(send(&code(&replaced), "a new password").await, 404);
    assert_eq!(send("nonsense", "a new password").await, 404);
    assert_eq!(send(&code(&url), "a new password").await, 303);
    assert_eq!(send(&code(&url), "another password").await, 404);
    assert_eq!(alice.get("/users/me").answer().await.status, 401);
    control.api.logs_in(&alice.email, "a new password").await;
    let nobody = admin.post(&format!("/admin/users/{}/password-link", Uuid::nil())).answer().await;
    assert_eq!(nobody.status, 404);
}

#[tokio::test]
async fn drawing_and_redeeming_a_password_link_at_once_wait_for_each_other() {
    let control = Control::start().await;
    let (admin, alice) = (&control.admin, control.user("alice").await);
    let draw = || admin.post(&format!("/admin/users/{}/password-link", alice.id)).answer();
    let url = text(&draw().await.expect(200), "url");
    // A link that is being used up stays so for a moment.
    control
        .query(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
            CREATE TRIGGER dawdle AFTER DELETE ON password_links FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )
        .await;
    let (address, code) = url.split_once("?code=").expect("a code");
    let form = format!("code={code}&password=a%20new%20password");
    let request = control.api.client().post(address).header("origin", control.url(""));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    let (redeemed, drawn) = tokio::join!(request.answer(), async {
        eventually!(control.query(asleep).await, |asleep| asleep == "1");
        draw().await
    });
    assert_eq!((redeemed.status, drawn.status), (303, 200));
}
