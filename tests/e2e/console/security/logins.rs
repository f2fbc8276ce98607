//! Logins: whose they are, and when they end.

use chrono::Utc;
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Value, json};
use testbed::{
    clients::http::Ask,
    people::{
        User,
        console::{COOKIE, Visitor},
    },
    stack::Stack,
};

const SECRET_KEY: &str = "a key of this test's own, so that it can sign 4711";

async fn stack() -> Stack {
    Stack::plan().control_env("SECRET_KEY", SECRET_KEY).start().await
}

/// Whose page a visitor sees: an e-mail; `None` for who is not logged in.
async fn whose(visitor: &Visitor) -> Option<String> {
    let page = visitor.gets("/console/profile").await;
    if page.status != 200 {
        assert_eq!(page.status, 303, "{}", page.text());
        return None;
    }
    let text = page.text();
    let email = text.split("<dd>").nth(1).and_then(|rest| rest.split('<').next()).expect("an e-mail");
    Some(email.to_owned())
}

fn claims(jwt: &str) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    decode::<Value>(jwt, &DecodingKey::from_secret(SECRET_KEY.as_bytes()), &validation).expect("its key").claims
}

/// The same login with other claims, signed with the program's own key.
fn signed(jwt: &str, changes: &Value) -> String {
    let mut claims = claims(jwt);
    for (name, value) in changes.as_object().expect("claims") {
        claims[name] = value.clone();
    }
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET_KEY.as_bytes())).expect("signed")
}

async fn changes_password(visitor: &mut Visitor, user: &User, new: &str) {
    let form = [("current_password", user.password.as_str()), ("password", new)];
    let answer = visitor.posts("/console/profile/password", &form).await;
    assert_eq!(answer.header("location"), "/console/profile?done=password", "{}", answer.text());
    visitor.keeps(&answer);
}

#[tokio::test]
async fn a_login_that_was_planted_is_not_the_one_that_a_password_gives() {
    let stack = stack().await;
    let api = &stack.control.api;
    let (alice, mallory) = (stack.control.user("alice").await, stack.control.user("mallory").await);
    let theirs = mallory.enters_console(api).await;
    let mut logins = vec![theirs.login().to_owned()];
    for planted in [theirs.login(), "planted", "a.b.c", ""] {
        let mut browser = api.visitor().with_login(planted);
        browser.logs_in(&alice.email, &alice.password).await;
        assert_eq!(whose(&browser).await.as_ref(), Some(&alice.email), "{planted}");
        assert!(!logins.contains(&browser.login().to_owned()), "a login is given twice");
        let id = &claims(browser.login())["jti"];
        assert!(logins.iter().all(|login| claims(login)["jti"] != *id));
        logins.push(browser.login().to_owned());
        // The one who planted it holds what they held before.
        assert_eq!(whose(&theirs).await.as_ref(), Some(&mallory.email));
    }
    stack.finish().await;
}

#[tokio::test]
async fn of_two_logins_in_one_browser_none_is_taken_and_the_planted_one_goes() {
    let stack = stack().await;
    let api = &stack.control.api;
    let (alice, mallory) = (stack.control.user("alice").await, stack.control.user("mallory").await);
    let (own, theirs) = (alice.enters_console(api).await, mallory.enters_console(api).await);
    // As a script of another port of this host can set it, by http alone: for a longer path, so
    // that it comes first.
    for (first, second) in [(theirs.login(), own.login()), (own.login(), theirs.login()), ("planted", own.login())] {
        let both = own.with_login(&format!("{first}; {COOKIE}={second}"));
        let answer = both.gets("/console/profile").await;
        assert_eq!(answer.header("location"), "/console/login?next=%2Fconsole%2Fprofile");
        let lines = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
        let cleared: Vec<&str> = lines.collect();
        for path in ["/console", "/console/", "/console/profile"] {
            let line = format!("{COOKIE}=; HttpOnly; Path={path}; Max-Age=0; SameSite=Strict");
            assert!(cleared.contains(&line.as_str()), "no {line} in {cleared:?}");
        }
        assert!(!cleared.iter().any(|line| line.contains("Path=/;")), "{cleared:?}");
        let changed = both.posts("/console/profile", &[("full_name", "Mallory")]).await;
        assert!(changed.header("location").starts_with("/console/login"), "{}", changed.text());
    }
    assert_eq!(whose(&own.with_login(&format!("{0}; {COOKIE}={0}", own.login()))).await, Some(alice.email));
    stack.finish().await;
}

#[tokio::test]
async fn logging_in_as_somebody_else_leaves_nothing_of_who_was_there() {
    let stack = stack().await;
    let api = &stack.control.api;
    let (alice, bob) = (stack.control.user("alice").await, stack.control.user("bob").with_credits(777).await);
    let mut browser = bob.enters_console(api).await;
    assert!(browser.gets("/console").await.text().contains("777.00"));
    let login = browser.gets("/console/login").await;
    assert_eq!(login.status, 200);
    browser.logs_in(&alice.email, &alice.password).await;
    let page = browser.gets("/console/profile").await.text();
    assert!(page.contains(&alice.email) && !page.contains(&bob.email) && !page.contains("777.00"), "{page}");
    stack.finish().await;
}

#[tokio::test]
async fn a_login_that_was_left_opens_nothing_nor_does_a_copy_of_it_that_was_renewed() {
    let stack = stack().await;
    let api = &stack.control.api;
    let alice = stack.control.user("alice").await;
    let (now, browser, other) =
        (Utc::now().timestamp(), alice.enters_console(api).await, alice.enters_console(api).await);
    let late = browser.with_login(&signed(browser.login(), &json!({ "exp": now + 600 })));
    let mut renewed = late.clone();
    renewed.keeps(&late.gets("/console/profile").await);
    assert_ne!(renewed.login(), late.login(), "a login whose time is half over is renewed");
    assert_eq!(claims(renewed.login())["jti"], claims(browser.login())["jti"]);
    assert!(renewed.is_known().await);
    let last = browser.with_login(&signed(browser.login(), &json!({ "exp": now + 3590 })));

    let left = late.posts("/console/logout", &[]).await;
    assert_eq!(left.header("location"), "/console/login?done=logged-out");
    assert!(!left.header("set-cookie").contains('.'), "who leaves is given no login");
    for copy in [&browser, &late, &renewed, &last] {
        assert!(!copy.is_known().await);
        let again = copy.gets("/console/profile").await;
        assert_eq!(again.header("set-cookie"), "", "and it is not renewed");
        assert_eq!(copy.posts("/console/logout", &[]).await.status, 303);
    }
    assert!(other.is_known().await, "another login goes on");
    stack.finish().await;
}

#[tokio::test]
async fn a_login_is_renewed_for_twelve_hours_after_the_password_and_no_longer() {
    let stack = stack().await;
    let alice = stack.control.user("alice").await;
    let browser = alice.enters_console(&stack.control.api).await;
    let now = Utc::now().timestamp();
    for (given, is_renewed) in [(3600, true), (11 * 3600, true), (13 * 3600, false)] {
        let claims = json!({ "exp": now + 60, "auth_time": now - given });
        let page = browser.with_login(&signed(browser.login(), &claims)).gets("/console").await;
        assert_eq!(page.status, 200);
        assert_eq!(!page.header("set-cookie").is_empty(), is_renewed, "{given} seconds after the password");
        if let Some(login) = page.header("set-cookie").split(['=', ';']).nth(1) {
            stack.secrets.remember("login", login);
        }
    }
    let ended = browser.with_login(&signed(browser.login(), &json!({ "exp": now - 1 })));
    assert!(!ended.is_known().await);
    stack.finish().await;
}

#[tokio::test]
async fn a_new_password_leaving_everywhere_and_a_disabled_account_end_every_login() {
    let stack = stack().await;
    let (api, admin) = (&stack.control.api, &stack.control.admin);
    let mut alice = stack.control.user("alice").await;
    let (mut browser, other) = (alice.enters_console(api).await, alice.enters_console(api).await);
    let before = browser.clone();
    let new = "alice's new password";
    stack.secrets.remember("password", new);
    changes_password(&mut browser, &alice, new).await;
    assert!(browser.is_known().await, "whoever changed it stays");
    assert!(!before.is_known().await && !other.is_known().await);
    let by_api = alice.request(Method::GET, "/users/me").answer().await;
    assert_eq!(by_api.status, 401, "the API's logins end too");

    alice.password = new.to_owned();
    let other = alice.enters_console(api).await;
    assert_eq!(other.posts("/console/profile/sessions", &[]).await.header("location"), "/console/login?done=sessions");
    assert!(!browser.is_known().await && !other.is_known().await);

    let browser = alice.enters_console(api).await;
    admin.changes(&alice, &json!({ "is_active": false })).await.expect(200);
    assert!(!browser.is_known().await);
    let changed = browser.posts("/console/profile", &[("full_name", "Still Alice")]).await;
    assert!(changed.header("location").starts_with("/console/login"));
    let refused = api.visitor().logs_in(&alice.email, new).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, ""));
    stack.finish().await;
}

#[tokio::test]
async fn the_apis_logins_and_the_consoles_are_worth_nothing_to_each_other() {
    let stack = stack().await;
    let api = &stack.control.api;
    let alice = stack.control.user("alice").await;
    let browser = alice.enters_console(api).await;
    assert!(!browser.with_login(&alice.jwt).is_known().await);
    for bearer in [browser.login(), &signed(browser.login(), &json!({ "auth_time": 0 }))] {
        let refused = api.request(Method::GET, "/users/me").bearer_auth(bearer).answer().await;
        assert_eq!(refused.status, 401, "{}", refused.text());
    }
    // Nor is a login taken from where it does not belong.
    let bearer = api.visitor().request(Method::GET, "/console/profile").bearer_auth(browser.login()).answer().await;
    assert_eq!(bearer.status, 303);
    let cookie = format!("{COOKIE}={}", browser.login());
    let by_cookie = api.request(Method::GET, "/users/me").header("Cookie", cookie).answer().await;
    assert_eq!(by_cookie.status, 401, "{}", by_cookie.text());
    for forged in [json!({ "sub": stack.control.admin.id, "username": "admin" }), json!({ "epoch": 7 })] {
        let jwt = signed(browser.login(), &forged);
        let (signed, _) = jwt.rsplit_once('.').expect("a signature");
        let (_, signature) = browser.login().rsplit_once('.').expect("a signature");
        assert!(!browser.with_login(&format!("{signed}.{signature}")).is_known().await, "{forged}");
    }
    stack.finish().await;
}
