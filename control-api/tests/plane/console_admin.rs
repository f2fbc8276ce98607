//! The console of those who administer, as its pages and forms make it: who gets in, what is asked
//! before it is done, what the ledger and the audit log have of it afterwards, and that nothing
//! anybody typed becomes markup or a formula.

use serde_json::{Value, json};
use shared::redis::events::{SessionFigures, Usage};
use testbed::{
    clients::http::{Answer, Ask},
    eventually,
    people::{Token, User, console::Visitor, text},
};
use uuid::Uuid;

use crate::harness::{Control, MOCK_PAYMENTS};

const HOSTILE: &str = "<script>alert(1)</script>\"'";

/// Somebody at the console, logged in as this person.
async fn at_console(control: &Control, person: &User) -> Visitor {
    let mut visitor = Visitor::at(&control.url(""));
    let answer = visitor.logs_in(&person.email, &person.password).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    visitor
}

async fn console(control: &Control) -> Visitor {
    at_console(control, &control.admin).await
}

/// What a form of this page holds in a field of this name.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) =
        page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split_once('"').expect("the end of a value").0
}

/// A page that is there.
#[track_caller]
fn shown(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// Where an answer sends the browser.
#[track_caller]
fn led_to(answer: &Answer) -> &str {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location")
}

/// What the audit log has of this action, the last first.
async fn audited(control: &Control, action: &str) -> Vec<Value> {
    let admin = &control.admin;
    let page = admin.get(&format!("/admin/audit-logs?action={action}")).answer().await.expect(200);
    page["items"].as_array().cloned().expect("lines")
}

fn path_of(person: &User, below: &str) -> String {
    format!("/console/admin/users/{}{below}", person.id)
}

/// The edges tell that a device uses a token.
async fn uses(control: &Control, token_id: Uuid, session_id: Uuid, agent: &str) {
    let now = control.redis.command(&["TIME"]).await.expect("a time");
    let ms = now.lines().next().expect("seconds").parse::<i64>().expect("a number") * 1_000;
    let figures = SessionFigures {
        session_id,
        instance_id: Uuid::new_v4(),
        token_id,
        user_id: Uuid::nil(),
        device: "device-of-alice".to_owned(),
        address: "192.0.2.7".parse().ok(),
        agent: Some(agent.to_owned()),
        started_at_ms: ms,
        last_activity_ms: ms,
        reported_at_ms: ms,
        requests: 3,
        bytes_in: 10,
        bytes_out: 2_048,
        open_connections: 2,
    };
    control.tell(&Usage::Session(figures)).await;
}

#[tokio::test]
async fn a_stranger_is_asked_to_log_in_and_a_member_is_refused_on_every_page() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let (stranger, member, admin) =
        (Visitor::at(&control.url("")), at_console(&control, &alice).await, console(&control).await);
    let id = Uuid::nil();
    let pages = [
        "",
        "/live",
        "/users",
        "/tokens",
        "/sessions",
        "/bundles",
        "/bundles/new",
        "/payments",
        "/audit",
        "/audit.csv",
        "/ledger",
        "/health",
    ];
    let of_things = [
        "/users/ID",
        "/users/ID/state",
        "/users/ID/role",
        "/users/ID/balance",
        "/users/ID/balance/confirm",
        "/users/ID/networks",
        "/users/ID/password-link",
        "/users/ID/login-failures",
        "/tokens/ID",
        "/tokens/ID/revoke",
        "/sessions/ID/cut",
        "/bundles/ID",
        "/bundles/ID/withdraw",
        "/payments/ID",
    ];
    for page in pages {
        assert_eq!(admin.gets(&format!("/console/admin{page}")).await.status, 200, "{page}");
    }
    let of_things = of_things.map(|path| path.replace("ID", &id.to_string()));
    for path in pages.map(str::to_owned).iter().chain(&of_things) {
        let path = format!("/console/admin{path}");
        let asked = stranger.gets(&path).await;
        assert!(led_to(&asked).starts_with("/console/login?next=%2Fconsole%2Fadmin"), "{path}");
        assert_eq!(member.gets(&path).await.status, 403, "{path}");
    }
    for path in &of_things {
        assert_eq!(admin.gets(&format!("/console/admin{path}")).await.status, 404, "{path}");
    }
    let forms = [
        "/users/ID/state",
        "/users/ID/role",
        "/users/ID/balance",
        "/users/ID/networks",
        "/users/ID/password-link",
        "/users/ID/login-failures",
        "/tokens/ID/revoke",
        "/sessions/ID/cut",
        "/bundles/new",
        "/bundles/ID",
        "/bundles/ID/withdraw",
        "/ledger",
    ];
    let own = &control.admin.id;
    for path in forms.map(|path| format!("/console/admin{}", path.replace("ID", own))) {
        assert!(led_to(&stranger.posts(&path, &[]).await).starts_with("/console/login"), "{path}");
        assert_eq!(member.posts(&path, &[("active", "no"), ("superuser", "no")]).await.status, 403, "{path}");
        let foreign = admin.form(&path, &[]).header("Origin", "https://evil.example").answer().await;
        assert_eq!(foreign.status, 403, "{path}");
    }
}

#[tokio::test]
async fn rights_change_for_the_own_password_alone() {
    let control = Control::start().await;
    let (alice, admin, me) = (control.user("alice").await, console(&control).await, &control.admin);
    let path = path_of(&alice, "/role");
    let asked = shown(&admin.gets(&path).await);
    assert_eq!(field(&asked, "superuser"), "yes");
    assert!(asked.contains("alice@example.com") && asked.contains("current-password"), "{asked}");
    for password in ["", "a guess", alice.password.as_str()] {
        let refused = admin.posts(&path, &[("superuser", "yes"), ("password", password)]).await;
        assert_eq!(refused.status, 422, "{password}");
        let page = refused.text();
        assert!(page.contains("id=\"password-fault\"") && field(&page, "superuser") == "yes", "{page}");
        assert!(password.is_empty() || !page.contains(password), "{page}");
    }
    let is_superuser = format!("SELECT is_superuser FROM users WHERE id = '{}'", alice.id);
    assert_eq!(control.query(&is_superuser).await, "f");
    assert_eq!(audited(&control, "change_user").await.len(), 0);

    let own = me.password.as_str();
    let promoted = admin.posts(&path, &[("superuser", "yes"), ("password", own)]).await;
    assert_eq!(led_to(&promoted), path_of(&alice, "?done=promoted"));
    assert_eq!(control.query(&is_superuser).await, "t");
    let line = audited(&control, "change_user").await.remove(0);
    assert_eq!(line["details"]["is_superuser"], json!({ "old": false, "new": true }));
    // A button of an old page means what that page said.
    admin.posts(&path, &[("superuser", "yes"), ("password", own)]).await;
    assert_eq!(control.query(&is_superuser).await, "t");
    assert_eq!(admin.posts(&path, &[("superuser", "maybe"), ("password", own)]).await.status, 400);
    let demoted = admin.posts(&path, &[("superuser", "no"), ("password", own)]).await;
    assert_eq!(led_to(&demoted), path_of(&alice, "?done=demoted"));
    let last = admin.posts(&path_of(me, "/role"), &[("superuser", "no"), ("password", own)]).await;
    assert_eq!(last.status, 422);
    assert!(last.text().contains("last active administrator"), "{}", last.text());
}

#[tokio::test]
async fn a_credit_is_shown_first_and_stands_in_the_ledger_and_the_audit_log() {
    let control = Control::start().await;
    let (alice, admin, me) = (control.user("alice").with_credits("10").await, console(&control).await, &control.admin);
    let path = path_of(&alice, "/balance");
    for (amount, reason, fault) in [
        ("", "x", "amount"),
        ("0", "x", "amount"),
        ("1.001", "x", "amount"),
        ("-5", "x", "amount"),
        ("5", " ", "reason"),
    ] {
        let query = format!("{path}/confirm?direction=credit&amount={amount}&reason={reason}");
        let refused = admin.gets(&query).await;
        assert_eq!(refused.status, 422, "{query}");
        assert!(refused.text().contains(&format!("id=\"{fault}-fault\"")), "{}", refused.text());
    }
    let reason = "a friend's \"gift\" <b>";
    let query = format!("{path}/confirm?direction=credit&amount=2,50&reason=a+friend%27s+%22gift%22+%3Cb%3E");
    let asked = shown(&admin.gets(&query).await);
    assert!(asked.contains("10.00\u{a0}ZNC → 12.50\u{a0}ZNC") && !asked.contains("<b>"), "{asked}");
    let key = field(&asked, "key").to_owned();
    let form = |password: &'static str| {
        [("direction", "credit"), ("amount", "2.50"), ("reason", reason), ("key", &key), ("password", password)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let send = async |form: [(&str, String); 5]| {
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        admin.posts(&path, &form).await
    };
    for password in ["", "wrong"] {
        let refused = send(form(password)).await;
        assert_eq!(refused.status, 422);
        let page = refused.text();
        assert_eq!((field(&page, "amount"), field(&page, "key")), ("2.50", key.as_str()));
        assert!(page.contains("a friend&#39;s &#34;gift&#34; &#60;b&#62;"), "{page}");
    }
    assert_eq!(alice.balance().await, "10.00");

    // What moves the balance between the page and the form is not overwritten; nor does a form that
    // is sent twice move it twice.
    control.admin.changes(&alice, &json!({ "currency_balance": "30" })).await.expect(200);
    let mut credit = form("");
    credit[4].1 = me.password.clone();
    let (one, two) = tokio::join!(send(credit.clone()), send(credit.clone()));
    assert_eq!(
        (led_to(&one), led_to(&two)),
        (path_of(&alice, "?done=credited").as_str(), path_of(&alice, "?done=credited").as_str())
    );
    assert_eq!(alice.balance().await, "32.50");
    let lines = alice.get("/currency/transactions").answer().await.expect(200);
    let line = &lines["items"][0];
    assert_eq!(
        (&line["amount"], &line["transaction_type"], &line["description"]),
        (&json!("2.50"), &json!("adjustment"), &json!(reason))
    );
    let lines = audited(&control, "change_user").await;
    let credits: Vec<&Value> = lines.iter().filter(|line| line["details"]["reason"] == reason).collect();
    assert_eq!(credits.len(), 1);
    assert_eq!(credits[0]["details"]["currency_balance"], json!({ "old": "30.00", "new": "32.50" }));
    assert_eq!(credits[0]["resource_id"], json!(alice.id));
    let page = shown(&admin.gets(&path_of(&alice, "?done=credited")).await);
    assert!(page.contains("32.50\u{a0}ZNC") && page.contains("a friend&#39;s &#34;gift&#34; &#60;b&#62;"), "{page}");
    assert!(page.contains("<del>30.00</del> → 32.50"), "{page}");

    let debit = [("direction", "debit"), ("amount", "40"), ("reason", "y"), ("password", me.password.as_str())];
    let refused = admin.posts(&path, &debit).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("only 32.50\u{a0}ZNC"), "{}", refused.text());
    let debit = [("direction", "debit"), ("amount", "32.50"), ("reason", "y"), ("password", me.password.as_str())];
    assert_eq!(led_to(&admin.posts(&path, &debit).await), path_of(&alice, "?done=debited"));
    assert_eq!(alice.balance().await, "0.00");
}

#[tokio::test]
async fn credits_at_once_add_up() {
    let control = Control::start().await;
    let (alice, admin, me) = (control.user("alice").await, console(&control).await, &control.admin);
    let path = path_of(&alice, "/balance");
    let credits = (1..=6).map(|amount: u32| {
        let (admin, path, password, amount) = (&admin, &path, me.password.as_str(), amount.to_string());
        async move {
            let form = [("direction", "credit"), ("amount", &amount), ("reason", "r"), ("password", password)];
            admin.posts(path, &form).await.status
        }
    });
    assert_eq!(futures_util::future::join_all(credits).await, [303; 6]);
    assert_eq!(alice.balance().await, "21.00");
    let checked = shown(&admin.posts("/console/admin/ledger", &[]).await);
    assert!(checked.contains("Every balance is what its ledger says. Users checked: 2."), "{checked}");
}

#[tokio::test]
async fn disabling_asks_first_and_ends_logins_and_tokens() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").with_credits("100").await, console(&control).await);
    let (token, her) = (alice.buys(24).await, at_console(&control, &alice).await);
    let path = path_of(&alice, "/state");
    let asked = shown(&admin.gets(&path).await);
    assert!(asked.contains("Disable this account?") && field(&asked, "active") == "no", "{asked}");
    assert!(her.is_known().await);
    assert_eq!(led_to(&admin.posts(&path, &[("active", "no")]).await), path_of(&alice, "?done=user-disabled"));
    assert!(!her.is_known().await);
    eventually!(control.field(&token, "state").await, |state| state == "suspended");
    let page = shown(&admin.gets(&path_of(&alice, "?done=user-disabled")).await);
    assert!(page.contains("The account is disabled.") && page.contains("suspended"), "{page}");
    assert!(shown(&admin.gets("/console/admin/users?state=disabled").await).contains("alice@example.com"));
    assert_eq!(led_to(&admin.posts(&path, &[("active", "yes")]).await), path_of(&alice, "?done=user-enabled"));
    eventually!(control.is_live(&token.digest()).await, |live| *live);
    let last = admin.posts(&path_of(&control.admin, "/state"), &[("active", "no")]).await;
    assert_eq!(last.status, 409);
}

#[tokio::test]
async fn users_are_found_and_pages_keep_what_they_are_filtered_by() {
    let control = Control::start().await;
    let admin = console(&control).await;
    for name in ["bob_1", "bob_2", "bob_3", "carol"] {
        control.user(name).await;
    }
    let page = shown(&admin.gets("/console/admin/users?search=BOB_&state=active&limit=2").await);
    assert!(page.contains("bob_3@") && page.contains("bob_2@") && !page.contains("carol@"), "{page}");
    assert!(page.contains("1–2 of 3"), "{page}");
    assert!(
        page.contains("href=\"/console/admin/users?search=BOB_&#38;state=active&#38;limit=2&#38;offset=2\""),
        "{page}"
    );
    let page = shown(&admin.gets("/console/admin/users?search=BOB_&state=active&limit=2&offset=2").await);
    assert!(page.contains("bob_1@") && page.contains("3–3 of 3") && !page.contains("rel=\"next\""), "{page}");
    assert!(page.contains("href=\"/console/admin/users?search=BOB_&#38;state=active&#38;limit=2\""), "{page}");
    let nobody = shown(&admin.gets("/console/admin/users?search=%25%00&offset=x&limit=0").await);
    assert!(nobody.contains("Nobody is found."), "{nobody}");
    let typing = admin.request(http::Method::GET, "/console/admin/users?search=carol").header("HX-Request", "true");
    let piece = shown(&typing.answer().await);
    assert!(piece.contains("carol@") && !piece.contains("<html") && piece.contains("Found: 1"), "{piece}");
}

#[tokio::test]
async fn a_token_is_found_by_its_beginning_alone_and_revoked_after_a_question() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").with_credits("100").await, console(&control).await);
    let [token, other] = [alice.buys(24).await, alice.buys(1).await];
    let found = async |query: &str| shown(&admin.gets(&format!("/console/admin/tokens?{query}")).await);
    let link = |token: &Token| format!("/console/admin/tokens/{}\"", token.id);
    let page = found(&format!("prefix={}", &token.text[..8])).await;
    assert!(page.contains(&link(&token)) && !page.contains(&link(&other)) && !page.contains(&token.text), "{page}");
    let middle = found(&format!("prefix={}", &token.text[1..8])).await;
    assert!(middle.contains("No token is found."), "{middle}");
    // A whole text is not looked for, shown again, nor left in the address.
    let whole = admin.gets(&format!("/console/admin/tokens?prefix={}&state=ready", token.text)).await;
    assert_eq!(led_to(&whole), "/console/admin/tokens?state=ready&fault=too-long");
    let whole = shown(&admin.gets(led_to(&whole)).await);
    assert!(whole.contains("id=\"prefix-fault\"") && !whole.contains(&link(&token)), "{whole}");
    for (query, both) in [
        ("user=ALICE%40example.com", true),
        ("user=alice&state=ready", true),
        ("user=bob", false),
        ("state=active", false),
    ] {
        let page = found(query).await;
        assert_eq!((page.contains(&link(&token)), page.contains(&link(&other))), (both, both), "{query}");
    }
    let path = format!("/console/admin/tokens/{}", token.id);
    let asked = shown(&admin.gets(&format!("{path}/revoke")).await);
    assert!(
        asked.contains("Revoke this token?") && asked.contains("alice@example.com") && !asked.contains(&token.text)
    );
    assert!(control.is_live(&token.digest()).await);
    assert_eq!(led_to(&admin.posts(&format!("{path}/revoke"), &[]).await), format!("{path}?done=revoked"));
    assert!(!control.is_live(&token.digest()).await);
    assert!(found("state=revoked").await.contains(&link(&token)));
    assert_eq!(audited(&control, "revoke").await[0]["resource_id"], json!(token.id));
    let page = shown(&admin.gets(&path).await);
    assert!(page.contains("badge bad") && !page.contains("Revoke…") && !page.contains(&token.text), "{page}");
}

#[tokio::test]
async fn a_session_is_seen_and_cut_after_a_question() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").with_credits("100").await, console(&control).await);
    let (token, session) = (alice.buys(24).await, Uuid::new_v4());
    uses(&control, token.id, session, HOSTILE).await;
    let path = format!("/console/admin/sessions/{session}/cut");
    eventually!(admin.gets("/console/admin/sessions").await.text(), |page| page.contains(&path));
    let page = shown(&admin.gets("/console/admin/sessions?user=alice").await);
    assert!(
        page.contains("192.0.2.7") && page.contains("2.0\u{a0}KiB") && page.contains("alice@example.com"),
        "{page}"
    );
    assert!(!page.contains("<script>alert") && page.contains("&#60;script&#62;alert"), "{page}");
    assert!(!shown(&admin.gets("/console/admin/sessions?user=nobody").await).contains(&path));
    for page in ["/console/admin/live", "/console/admin/health"] {
        shown(&admin.gets(page).await);
    }
    assert!(shown(&admin.gets("/console/admin").await).contains("connections: 2"));
    let asked = shown(&admin.gets(&path).await);
    assert!(asked.contains("Cut this session?") && !asked.contains("<script>alert"), "{asked}");
    assert_eq!(led_to(&admin.posts(&path, &[]).await), "/console/admin/sessions?done=cut");
    assert!(shown(&admin.gets("/console/admin/sessions").await).contains("No session is found."));
    assert!(
        shown(&admin.gets(&format!("/console/admin/sessions?state=all&token={}", token.id)).await).contains("ended")
    );
    assert_eq!(audited(&control, "end_session").await[0]["resource_id"], json!(session));
}

#[tokio::test]
async fn a_password_link_is_shown_once_and_failed_logins_are_forgotten() {
    let control = Control::start_with([("LOGIN_FAILURES_PER_HOUR", "0")]).await;
    let (alice, admin) = (control.user("alice").await, console(&control).await);
    let path = path_of(&alice, "/password-link");
    assert!(!shown(&admin.gets(&path).await).contains("code="));
    for password in ["", "a guess"] {
        assert_eq!(admin.posts(&path, &[("password", password)]).await.status, 422);
    }
    assert_eq!(audited(&control, "draw_password_link").await.len(), 0);
    let page = shown(&admin.posts(&path, &[("password", &control.admin.password)]).await);
    let (_, rest) = page.split_once("/set-password?code=").expect("a link");
    let code = rest.split_once('<').expect("its end").0;
    assert!(!admin.gets(&path_of(&alice, "")).await.text().contains(code));
    let set = admin.posts("/set-password", &[("code", code), ("password", "a new password")]).await;
    assert!(set.status < 400, "{}", set.text());
    control.api.logs_in(&alice.email, "a new password").await;
    assert_eq!(audited(&control, "draw_password_link").await.len(), 1);

    while control.api.tries_to_log_in(&alice.email, "wrong").await.status != 429 {}
    let path = path_of(&alice, "/login-failures");
    shown(&admin.gets(&path).await);
    assert_eq!(control.api.tries_to_log_in(&alice.email, "a new password").await.status, 429);
    assert_eq!(led_to(&admin.posts(&path, &[]).await), path_of(&alice, "?done=failures-cleared"));
    control.api.logs_in(&alice.email, "a new password").await;
}

#[tokio::test]
async fn networks_are_kept_as_typed_until_they_can_be_read() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").await, console(&control).await);
    let path = path_of(&alice, "/networks");
    let refused = admin.posts(&path, &[("allowed", "10.0.0.0/8"), ("denied", "</textarea><b>no network")]).await;
    assert_eq!(refused.status, 422);
    let page = refused.text();
    assert!(page.contains("denied-fault") && !page.contains("allowed-fault"), "{page}");
    assert!(
        page.contains(">10.0.0.0/8</textarea>") && page.contains("&#60;/textarea&#62;&#60;b&#62;no network"),
        "{page}"
    );
    let saved = admin.posts(&path, &[("allowed", "10.0.0.0/8\r\n192.0.2.1\r\n"), ("denied", "")]).await;
    assert_eq!(led_to(&saved), path_of(&alice, "?done=networks"));
    let page = shown(&admin.gets(&path_of(&alice, "")).await);
    assert!(page.contains("10.0.0.0/8, 192.0.2.1"), "{page}");
}

#[tokio::test]
async fn a_bundle_is_put_on_offer_changed_and_withdrawn() {
    let control = Control::start().await;
    let admin = console(&control).await;
    let bundle = [
        ("name", "Starter <b>"),
        ("description", ""),
        ("token_count", "5"),
        ("duration_hours", "24"),
        ("scope", "full"),
        ("discount_percent", "12,5"),
        ("password", "operator's password"),
    ];
    let with = |name: &'static str, value: &'static str| {
        bundle.map(|(each, kept)| (each, if each == name { value } else { kept }))
    };
    for (name, value) in [
        ("name", ""),
        ("token_count", "0"),
        ("token_count", "x"),
        ("duration_hours", "2"),
        ("discount_percent", "101"),
        ("scope", "all"),
        ("password", "a guess"),
    ] {
        let refused = admin.posts("/console/admin/bundles/new", &with(name, value)).await;
        assert_eq!(refused.status, 422, "{name}");
        let page = refused.text();
        assert!(page.contains(&format!("id=\"{name}-fault\"")), "{page}");
        assert!(name == "name" || page.contains("value=\"Starter &#60;b&#62;\""), "{page}");
    }
    let created = admin.posts("/console/admin/bundles/new", &bundle).await;
    assert_eq!(led_to(&created), "/console/admin/bundles?done=bundle-created");
    let taken = admin.posts("/console/admin/bundles/new", &bundle).await;
    assert!(taken.status == 422 && taken.text().contains("id=\"name-fault\""), "{}", taken.text());
    let list = shown(&admin.gets("/console/admin/bundles").await);
    assert!(
        list.contains("Starter &#60;b&#62;") && list.contains("12.5 %") && list.contains("78.75\u{a0}ZNC"),
        "{list}"
    );
    let id = control.query("SELECT id FROM bundles WHERE name LIKE 'Starter <%'").await;
    let path = format!("/console/admin/bundles/{id}");
    assert_eq!(field(&shown(&admin.gets(&path).await), "is_active"), "yes");
    let mut changed = with("name", "Starter").to_vec();
    changed.push(("is_active", "yes"));
    assert_eq!(led_to(&admin.posts(&path, &changed).await), "/console/admin/bundles?done=bundle-changed");
    let asked = shown(&admin.gets(&format!("{path}/withdraw")).await);
    assert!(asked.contains("Withdraw this bundle?") && asked.contains("Starter"), "{asked}");
    assert_eq!(
        led_to(&admin.posts(&format!("{path}/withdraw"), &[]).await),
        "/console/admin/bundles?done=bundle-withdrawn"
    );
    assert_eq!(control.query(&format!("SELECT name, is_active FROM bundles WHERE id = '{id}'")).await, "Starter|f");
    assert_eq!(audited(&control, "delete_bundle").await.len(), 1);
}

#[tokio::test]
async fn payments_are_listed_by_user_and_status() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let (alice, bob, admin) = (control.user("alice").await, control.user("bob").await, console(&control).await);
    let body = json!({ "amount_znc": "100", "return_url": control.url("/console") });
    for person in [&alice, &bob] {
        person.post("/currency/purchase").json(&body).answer().await.expect(201);
    }
    let page = shown(&admin.gets("/console/admin/payments?user=alice&status=pending").await);
    assert!(page.contains("alice@example.com") && !page.contains("bob@example.com"), "{page}");
    assert!(shown(&admin.gets("/console/admin/payments?status=succeeded").await).contains("No payment is found."));
    let id = control.query(&format!("SELECT id FROM payments WHERE user_id = '{}'", alice.id)).await;
    let page = shown(&admin.gets(&format!("/console/admin/payments/{id}")).await);
    assert!(page.contains("100.00\u{a0}ZNC") && page.contains("mock") && page.contains("pending"), "{page}");
}

#[tokio::test]
async fn the_audit_log_is_filtered_and_its_file_holds_no_formula() {
    let control = Control::start().await;
    let admin = console(&control).await;
    let agent = "=HYPERLINK(\"https://evil.example\",\"x\")";
    let body =
        json!({ "email": "eve@example.com", "username": "@eve", "password": "eve's password", "full_name": HOSTILE });
    let registered = control.api.request(http::Method::POST, "/auth/register").header("User-Agent", agent).json(&body);
    let eve = text(&registered.answer().await.expect(201), "id");
    let today = control.query("SELECT (now() AT TIME ZONE 'UTC')::date").await;
    let query = format!("user=eve%40example.com&action=register&kind=user&from={today}&until={today}");
    let page = shown(&admin.gets(&format!("/console/admin/audit?{query}&limit=1")).await);
    assert!(page.contains("@eve") && page.contains("registered") && page.contains("1–1 of 1"), "{page}");
    let file = format!("/console/admin/audit.csv?{query}");
    assert!(page.contains(&file.replace('&', "&#38;")), "{page}");
    let answer = admin.gets(&file).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert!(answer.header("content-disposition").starts_with("attachment"));
    let csv = shown(&answer);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2, "{csv}");
    assert!(lines[0].contains("\"created_at\",\"user_id\""), "{csv}");
    assert!(lines[1].contains("\"'@eve\"") && lines[1].contains("\"'=HYPERLINK(\"\"https"), "{csv}");
    for (query, is_found) in [
        ("until=2020-01-01".to_owned(), false),
        (format!("from={today}"), true),
        ("from=9999-12-31".to_owned(), false),
        ("until=-262143-01-01&from=262142-12-31".to_owned(), true),
        ("user=nobody".to_owned(), false),
        ("action=nothing".to_owned(), true),
    ] {
        let page = shown(&admin.gets(&format!("/console/admin/audit?{query}")).await);
        assert_eq!(!page.contains("Nothing is found."), is_found, "{query}");
        assert!(!page.contains("<script>alert"), "{page}");
    }
    for path in [format!("/console/admin/users/{eve}"), "/console/admin/users".to_owned()] {
        let page = shown(&admin.gets(&path).await);
        assert!(
            page.contains("&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;") && !page.contains("<script>alert"),
            "{page}"
        );
    }
    let more = "INSERT INTO audit_logs (id, action, resource_type, details)
        SELECT gen_random_uuid(), 'login', 'user', '{}' FROM generate_series(1, 2500)";
    control.query(more).await;
    let all = shown(&admin.gets("/console/admin/audit.csv").await);
    let counted = control.query("SELECT count(*) FROM audit_logs").await;
    assert_eq!(all.lines().count().to_string(), (counted.parse::<u32>().expect("a number") + 1).to_string());
}

#[tokio::test]
async fn a_balance_that_parts_from_its_ledger_is_named() {
    let control = Control::start().await;
    let (alice, admin) = (control.user("alice").with_credits("10").await, console(&control).await);
    control
        .query(&format!(
            "SET session_replication_role = replica; UPDATE users SET currency_balance = 99 WHERE id = '{}'",
            alice.id
        ))
        .await;
    assert!(!shown(&admin.gets("/console/admin/ledger").await).contains("alice@"));
    let page = shown(&admin.posts("/console/admin/ledger", &[]).await);
    assert!(page.contains("alice@example.com") && page.contains("99.00\u{a0}ZNC") && page.contains("1 of 2"), "{page}");
    let piece = admin.form("/console/admin/ledger", &[]).header("Origin", control.url("")).header("HX-Request", "true");
    assert!(!shown(&piece.answer().await).contains("<html"));
}

#[tokio::test]
async fn health_says_what_does_not_answer() {
    let control = Control::start().await;
    let admin = console(&control).await;
    eventually!(admin.gets("/console/admin/health").await.text(), |page| {
        page.contains("Holds everything") && !page.contains("badge bad") && !page.contains("badge warn")
    });
    control.redis.pause();
    let page = shown(&admin.gets("/console/admin/health").await);
    assert!(page.contains("does not answer") && page.contains("badge bad"), "{page}");
    control.redis.resume();
}
