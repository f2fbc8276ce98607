//! The portal as its forms and links make it: what a person is told, what is kept of what they
//! typed, what happens once however often it is sent, and what is nobody else's.

use http::Method;
use serde_json::Value;
use testbed::{
    clients::http::{Answer, Ask},
    people::{User, console::Visitor},
};
use uuid::Uuid;

use crate::harness::{Control, MOCK_PAYMENTS};

/// Somebody at the console, logged in as this person.
async fn at_console(control: &Control, person: &User) -> Visitor {
    let mut visitor = Visitor::at(&control.url(""));
    let answer = visitor.logs_in(&person.email, &person.password).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/console"));
    visitor
}

/// What a form of this page holds in a field of this name.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) =
        page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split_once('"').expect("the end of a value").0
}

/// The text of the only token that a page shows.
fn shown_text(answer: &Answer) -> String {
    let page = answer.text();
    let (_, rest) = page.split_once("class=\"token-text\"").unwrap_or_else(|| panic!("no text in {page}"));
    let (_, rest) = rest.split_once('>').expect("an element");
    rest.split_once('<').expect("its end").0.trim().to_owned()
}

async fn tokens(person: &User) -> Vec<Value> {
    let all = person.get("/tokens/my-tokens?active_only=false").answer().await.expect(200);
    all.as_array().cloned().expect("an array")
}

#[tokio::test]
async fn a_purchase_form_that_is_sent_twice_buys_once_and_shows_the_same_text() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40.00").await;
    let visitor = at_console(&control, &alice).await;
    let page = visitor.gets("/console/buy/confirm?hours=24&to=/page").await;
    let page = page.text();
    let form: Vec<(&str, &str)> =
        ["key", "to", "price", "hours", "scope"].into_iter().map(|name| (name, field(&page, name))).collect();

    let (one, two) = tokio::join!(visitor.posts("/console/buy", &form), visitor.posts("/console/buy", &form));
    assert_eq!((one.status, two.status), (200, 200), "{}", one.text());
    assert_eq!(shown_text(&one), shown_text(&two));
    assert_eq!(alice.balance().await, "22.00");
    assert_eq!(tokens(&alice).await.len(), 1);
    assert_eq!(one.header("cache-control"), "no-store");
}

#[tokio::test]
async fn what_costs_another_price_than_was_shown_is_not_bought() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40.00").await;
    let visitor = at_console(&control, &alice).await;
    let key = Uuid::new_v4().to_string();
    let form = [("key", key.as_str()), ("to", "/"), ("price", "1.00"), ("hours", "24"), ("scope", "full")];
    let answer = visitor.posts("/console/buy", &form).await;
    assert_eq!(answer.status, 303);
    let again = visitor.gets(answer.header("location")).await;
    assert!(again.text().contains("The price has changed"), "{}", again.text());
    assert_eq!(alice.balance().await, "40.00");
    assert!(tokens(&alice).await.is_empty());
}

#[tokio::test]
async fn who_has_too_little_is_told_what_is_missing_and_led_to_it() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").with_credits("10.00").await;
    let visitor = at_console(&control, &alice).await;
    let page = visitor.gets("/console/buy/confirm?hours=24&to=/page").await.text();
    assert!(page.contains("8.00\u{a0}ZNC"), "{page}");
    assert!(page.contains("/console/credits?amount=8.00"), "{page}");
    let key = Uuid::new_v4().to_string();
    let form = [("key", key.as_str()), ("to", "/"), ("price", "18.00"), ("hours", "24"), ("scope", "full")];
    assert_eq!(visitor.posts("/console/buy", &form).await.status, 402);
    assert_eq!(alice.balance().await, "10.00");
}

#[tokio::test]
async fn a_top_up_is_paid_elsewhere_and_leads_back_to_what_was_to_be_bought() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").await;
    let visitor = at_console(&control, &alice).await;
    let next = "/console/buy/confirm?hours=24";
    let page = visitor.gets(&format!("/console/credits?amount=18,00&next={}", next.replace('?', "%3F"))).await.text();
    let key = field(&page, "key").to_owned();
    let wrong = visitor.posts("/console/credits/top-up", &[("key", &key), ("amount", "a lot"), ("next", next)]).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("value=\"a lot\""), "{}", wrong.text());

    let started = visitor.posts("/console/credits/top-up", &[("key", &key), ("amount", "18,00"), ("next", next)]).await;
    let page = started.text();
    let (_, rest) = page.split_once("id=\"pay\" href=\"").expect("a way to pay");
    let pay = rest.split_once('"').expect("an address").0;
    assert!(visitor.gets(&format!("/console/credits/returned?order={key}")).await.text().contains("has not confirmed"));
    let paid =
        control.api.client().post(pay).header("content-type", "application/x-www-form-urlencoded").body("decision=pay");
    assert_eq!(paid.answer().await.status, 200);
    let returned =
        visitor.gets(&format!("/console/credits/returned?order={key}&next={}", next.replace('?', "%3F"))).await.text();
    assert!(returned.contains(&format!("href=\"{next}\"")), "{returned}");
    assert_eq!(alice.balance().await, "18.00");
}

#[tokio::test]
async fn where_no_payments_are_taken_the_page_says_so() {
    let control = Control::start().await;
    let alice = control.user("alice").await;
    let visitor = at_console(&control, &alice).await;
    assert!(visitor.gets("/console/credits").await.text().contains("Payments are not set up here"));
    let key = Uuid::new_v4().to_string();
    let refused = visitor.posts("/console/credits/top-up", &[("key", &key), ("amount", "5"), ("next", "")]).await;
    assert_eq!(refused.status, 503);
}

#[tokio::test]
async fn a_token_is_refunded_extended_and_rotated_from_its_page() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100.00").await;
    let visitor = at_console(&control, &alice).await;
    let (first, second) = (alice.buys(1).await, alice.buys(24).await);

    let asked = visitor.gets(&format!("/console/tokens/{}/confirm?what=refund", first.id)).await;
    assert!(asked.text().contains("1.00\u{a0}ZNC"), "{}", asked.text());
    let refunded = visitor.posts(&format!("/console/tokens/{}/refund", first.id), &[]).await;
    assert_eq!((refunded.status, refunded.header("location")), (303, "/console/tokens?done=refunded"));
    assert_eq!(alice.balance().await, "82.00");

    let page = visitor.gets(&format!("/console/tokens/{}/confirm?what=extend&hours=12", second.id)).await.text();
    let form = ["hours", "key", "price"].map(|name| (name, field(&page, name)));
    let path = format!("/console/tokens/{}/extend", second.id);
    for _ in 0..2 {
        assert_eq!(visitor.posts(&path, &form).await.status, 303);
    }
    assert_eq!(alice.balance().await, "72.00");

    let rotated = visitor.posts(&format!("/console/tokens/{}/rotate", second.id), &[]).await;
    assert_eq!(shown_text(&rotated).len(), 64);
    assert_ne!(shown_text(&rotated), second.text);
    let page = visitor.gets(&format!("/console/tokens/{}", second.id)).await.text();
    assert!(!page.contains(&shown_text(&rotated)), "a text is shown once");
    assert!(page.contains("36 hours"), "{page}");
}

#[tokio::test]
async fn a_token_of_somebody_else_is_not_there_and_stays_as_it_is() {
    let control = Control::start().await;
    let (alice, mallory) =
        (control.user("alice").with_credits("100.00").await, control.user("mallory").with_credits("100.00").await);
    let token = alice.buys(24).await;
    let visitor = at_console(&control, &mallory).await;
    let path = |below: &str| format!("/console/tokens/{}{below}", token.id);
    for page in ["", "/confirm?what=rotate", "/confirm?what=refund"] {
        assert_eq!(visitor.gets(&path(page)).await.status, 404, "{page}");
    }
    let key = Uuid::new_v4().to_string();
    for deed in ["/open", "/rotate", "/refund", "/release-device", "/extend"] {
        let answer = visitor.posts(&path(deed), &[("hours", "1"), ("key", &key), ("price", "1.00")]).await;
        assert_eq!(answer.status, 404, "{deed}: {}", answer.text());
    }
    assert_eq!((alice.balance().await, mallory.balance().await), ("82.00".into(), "100.00".into()));
    assert_eq!(tokens(&alice).await[0]["state"], "ready");
    assert!(!visitor.gets("/console/tokens?all=1").await.text().contains(&token.text[..8]));
}

#[tokio::test]
async fn a_bundle_is_bought_with_all_its_texts() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100.00").await;
    let visitor = at_console(&control, &alice).await;
    let offers = control.api.client().get(control.url("/api/v1/bundles/")).answer().await.expect(200);
    let starter = offers["items"].as_array().into_iter().flatten().find(|bundle| bundle["name"] == "Starter Pack");
    let id = starter.expect("the pack")["id"].as_str().unwrap_or_default().to_owned();
    let page = visitor.gets(&format!("/console/buy/confirm?bundle={id}")).await.text();
    assert!(page.contains("81.00\u{a0}ZNC"), "{page}");
    let form: Vec<(&str, &str)> =
        ["key", "to", "price", "bundle"].into_iter().map(|name| (name, field(&page, name))).collect();
    let bought = visitor.posts("/console/buy", &form).await.text();
    assert_eq!(bought.matches("class=\"token-text\"").count(), 5);
    assert_eq!(alice.balance().await, "19.00");
}

#[tokio::test]
async fn the_history_pages_filters_and_comes_as_a_file() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100.00").await;
    for _ in 0..25 {
        alice.buys(1).await;
    }
    control
        .admin
        .changes(&alice, &serde_json::json!({ "currency_balance": "80.00", "reason": "=HYPERLINK(\"x\")" }))
        .await
        .expect(200);
    let visitor = at_console(&control, &alice).await;
    let first = visitor.gets("/console/credits?type=purchase&limit=20").await.text();
    assert!(first.contains("1\u{2013}20 of 25"), "{first}");
    assert!(first.contains("/console/credits?type=purchase&#38;limit=20&#38;offset=20"), "{first}");
    let second = visitor.gets("/console/credits?type=purchase&limit=20&offset=20").await.text();
    assert!(second.contains("21\u{2013}25 of 25"), "{second}");
    let file = visitor.gets("/console/credits/transactions.csv").await;
    assert!(file.header("content-disposition").contains("transactions.csv"));
    let text = file.text();
    assert_eq!(text.lines().count(), 28);
    assert!(text.contains("\"'=HYPERLINK(\"\"x\"\")\",\"5.00\""), "{text}");
}

#[tokio::test]
async fn a_line_of_the_ledger_is_worded_in_the_readers_language() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("100.00").await;
    let token = alice.buys(1).await;
    let extend = alice.post(&format!("/tokens/{}/extend", token.id));
    extend.json(&serde_json::json!({ "duration_hours": 24 })).answer().await.expect(200);
    alice.delete(&format!("/tokens/{}", token.id)).answer().await.expect(200);
    control
        .admin
        .changes(&alice, &serde_json::json!({ "currency_balance": "80.00", "reason": "Token refund: by hand" }))
        .await
        .expect(200);
    // As a program of before wrote it.
    let old = format!(
        "BEGIN; UPDATE users SET currency_balance = 79, ledger_seq = ledger_seq + 1 WHERE id = '{id}';
        INSERT INTO transactions (id, user_id, seq, amount, balance_after, type, description)
            SELECT gen_random_uuid(), id, ledger_seq, -1, 79, 'purchase', 'Token purchase: 1h (full)' FROM users
            WHERE id = '{id}'; COMMIT",
        id = alice.id
    );
    control.query(&old).await;
    let visitor = at_console(&control, &alice).await;
    let page = async |language: &str| {
        let asked = visitor.request(Method::GET, "/console/credits").header("Accept-Language", language);
        asked.answer().await.text()
    };
    let (english, russian) = (page("en").await, page("ru").await);
    for (in_english, in_russian) in [
        ("Token purchase: 1h (full)", "Покупка токена: 1 ч (всё)"),
        ("Token extension: 24h", "Продление токена: 24 ч"),
        ("Token refund: 25h (not activated)", "Возврат токена: 25 ч (не начат)"),
        ("Balance set by an administrator", "Баланс установлен администратором"),
        ("Token refund: by hand", "Token refund: by hand"),
    ] {
        assert!(english.contains(in_english), "{in_english}: {english}");
        assert!(russian.contains(in_russian), "{in_russian}: {russian}");
    }
    assert_eq!(english.matches("Token purchase: 1h (full)").count(), 2);
    assert_eq!(russian.matches("Token purchase: 1h (full)").count(), 1, "an old line keeps its words");
}

#[tokio::test]
async fn what_is_shown_once_is_not_left_for_another_language() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40.00").await;
    let visitor = at_console(&control, &alice).await;
    let token = alice.buys(24).await;
    let switch = "/console/language?";
    assert!(visitor.gets("/console/tokens").await.text().contains(switch));
    assert!(!visitor.posts(&format!("/console/tokens/{}/rotate", token.id), &[]).await.text().contains(switch));
    // The link that invites somebody keeps its code.
    let invited = Visitor::at(&control.url("")).gets("/register?ref=ABC").await.text();
    assert!(invited.contains("/console/language?to=ru&#38;next=%2Fregister%3Fref%3DABC"), "{invited}");
    let russian = visitor.gets("/console/language?to=ru&next=%2Fregister%3Fref%3DABC").await;
    assert_eq!(russian.header("location"), "/register?ref=ABC");
}

#[tokio::test]
async fn what_no_form_of_ours_sends_is_refused_as_what_it_is() {
    let control = Control::start().await;
    let mut visitor = Visitor::at(&control.url(""));
    for email in ["\0", "nobody", "a\0@example.com"] {
        assert_eq!(visitor.logs_in(email, "a password").await.status, 401, "{email:?}");
    }
    let alice = control.user("alice").await;
    assert_eq!(visitor.logs_in(&alice.email, &"x".repeat(2_000)).await.status, 401);
    let form = [("email", "b@example.com"), ("username", "bob"), ("password", "a password"), ("ref", "\0")];
    assert_eq!(visitor.posts("/console/register", &form).await.status, 422);
    let visitor = at_console(&control, &alice).await;
    assert_eq!(visitor.gets("/console/credits/transactions.csv?type=%00").await.status, 200);
}

#[tokio::test]
async fn whose_login_ends_while_a_form_is_filled_in_is_told_and_led_back_to_it() {
    let control = Control::start().await;
    let visitor = Visitor::at(&control.url(""));
    let page = control.url("/console/buy/confirm?hours=24&to=%2Fpage");
    let request = visitor.form("/console/buy", &[("hours", "24")]).header("Origin", control.url(""));
    let led = request.header("Referer", page).answer().await;
    assert_eq!(
        led.header("location"),
        "/console/login?next=%2Fconsole%2Fbuy%2Fconfirm%3Fhours%3D24%26to%3D%252Fpage&done=login-ended"
    );
    assert!(visitor.gets(led.header("location")).await.text().contains("Your login had ended, so nothing was saved."));
}

#[tokio::test]
async fn a_purchase_in_doubt_is_made_once_by_the_same_form() {
    let control = Control::start().await;
    let alice = control.user("alice").with_credits("40.00").await;
    let visitor = at_console(&control, &alice).await;
    let page = visitor.gets("/console/buy/confirm?hours=24").await.text();
    let names = ["key", "to", "price", "hours", "scope"];
    let form = names.map(|name| (name, field(&page, name)));
    control
        .query(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION USING ERRCODE = '57P01'; END $$;
            CREATE TRIGGER fail BEFORE INSERT ON access_tokens FOR EACH ROW EXECUTE FUNCTION fail()",
        )
        .await;
    let doubtful = visitor.posts("/console/buy", &form).await;
    assert!(doubtful.status >= 500, "{}", doubtful.text());
    let page = doubtful.text();
    assert!(page.contains("We cannot tell yet whether this was bought."), "{page}");
    let again = names.map(|name| (name, field(&page, name)));
    assert_eq!(again, form);
    control.query("DROP TRIGGER fail ON access_tokens").await;
    assert_eq!(shown_text(&visitor.posts("/console/buy", &again).await).len(), 64);
    assert_eq!(alice.balance().await, "22.00");
}
