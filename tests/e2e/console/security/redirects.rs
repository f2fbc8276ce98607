//! Where the console sends people on: to its own pages, whatever an address asks for.

use testbed::{
    clients::http::{Ask, client},
    stack::Stack,
};
use url::{Url, form_urlencoded};

const ELSEWHERE: [&str; 34] = [
    "https://evil.example",
    "https://evil.example/console",
    "http:evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/%2Fevil.example",
    "/%5Cevil.example",
    "%2F%2Fevil.example",
    "/console//evil.example\\@",
    "/console@evil.example",
    "/console.evil.example",
    "/console:80@evil.example",
    "/consolevil.example",
    "/console/..//evil.example",
    "/console/../../evil.example",
    "/console/%2e%2e//evil.example",
    "/console/.%2E//evil.example",
    "/console\\..\\\\evil.example",
    "/console/\\evil.example",
    "/console\r\nSet-Cookie: planted=1",
    "/console\r\n\r\n<script>",
    "/console\nLocation: https://evil.example",
    "/console/\0",
    "/console/ä",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "?next=//evil.example",
    "#//evil.example",
    "",
];

/// Where a browser that is at `from` would go.
fn led(from: &str, location: &str) -> Url {
    Url::parse(from).expect("an address").join(location).unwrap_or_else(|error| panic!("{location}: {error}"))
}

#[tokio::test]
async fn nobody_is_led_off_the_console() {
    let stack = Stack::start().await;
    let api = &stack.control.api;
    let own = stack.control.plane.url();
    let origin = Url::parse(own).expect("an address").origin();
    let alice = stack.control.user("alice").await;
    let member = alice.enters_console(api).await;
    for (number, next) in ELSEWHERE.iter().enumerate() {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        let login = [("email", alice.email.as_str()), ("password", &alice.password), ("next", next)];
        let (email, name) = (format!("carol-{number}@example.com"), format!("carol-{number}"));
        let fields = [("email", email.as_str()), ("username", &name), ("password", "carol's password"), ("next", next)];
        let answers = [
            ("login", api.visitor().posts(&format!("/console/login?{query}"), &login).await),
            ("register", api.visitor().posts(&format!("/console/register?{query}"), &fields).await),
            ("language", api.visitor().gets(&format!("/console/language?to=ru&{query}")).await),
            ("another's language", member.gets(&format!("/console/language?to={query}&{query}")).await),
            (
                "profile",
                member.posts(&format!("/console/profile?{query}"), &[("full_name", "x"), ("next", next)]).await,
            ),
        ];
        for (form, answer) in answers {
            assert_eq!(answer.status, 303, "{form} {next:?}: {}", answer.text());
            let location = answer.header("location");
            let led = led(&format!("{own}/console/login"), location);
            assert_eq!(led.origin(), origin, "{form} {next:?} leads to {location}");
            assert!(
                led.path() == "/console" || led.path().starts_with("/console/"),
                "{form} {next:?} leads to {location}"
            );
            assert!(!answer.headers.iter().any(|(_, value)| value.as_bytes().starts_with(b"planted")));
        }
        for page in ["login", "register"] {
            let shown = api.visitor().gets(&format!("/console/{page}?{query}&done={next}&ref=x")).await;
            let kept = shown.text().split_once(r#"name="next" value=""#).map(|(_, rest)| rest.to_owned());
            let kept = kept.as_deref().and_then(|rest| rest.split('"').next()).expect("where it leads").to_owned();
            assert_eq!(led(own, &kept).origin(), origin, "{page} {next:?} keeps {kept}");
            assert!(led(own, &kept).path().starts_with("/console"), "{page} {next:?} keeps {kept}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_login_leads_where_the_user_was_going() {
    let stack = Stack::start().await;
    let api = &stack.control.api;
    let alice = stack.control.user("alice").await;
    for next in ["/console/profile", "/console/profile?done=profile", "/console/buy?to=%2Fpage%3Fa%3D1"] {
        let asked = api.visitor().gets(next).await;
        if asked.status == 303 {
            let page = api.visitor().gets(asked.header("location")).await.text();
            assert!(page.contains(&format!(r#"name="next" value="{next}""#)), "{page}");
        }
        let login = [("email", alice.email.as_str()), ("password", &alice.password), ("next", next)];
        assert_eq!(api.visitor().posts("/console/login", &login).await.header("location"), next);
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_address_that_names_another_host_is_answered_as_our_own() {
    let stack = Stack::start().await;
    let visitor = stack.control.api.visitor();
    for header in ["Host", "X-Forwarded-Host", "X-Original-Host", "Forwarded"] {
        let value = if header == "Forwarded" { "host=evil.example" } else { "evil.example" };
        let asked = visitor.request(http::Method::GET, "/console/profile").header(header, value).answer().await;
        assert_eq!(asked.header("location"), "/console/login?next=%2Fconsole%2Fprofile", "{header}");
        let page = visitor.request(http::Method::GET, "/console/login").header(header, value).answer().await;
        assert!(!page.text().contains("evil.example"), "{header}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn opening_zenzefi_leads_to_the_edge_and_no_further() {
    let stack = Stack::start().await;
    let alice = stack.control.user("alice").with_credits(100).await;
    let token = alice.buys(24).await;
    let member = alice.enters_console(&stack.control.api).await;
    let (console, edge) = (stack.control.plane.url(), stack.edge().url());
    let [own, origin] = [console, edge].map(|url| Url::parse(url).expect("an address").origin());
    let http = client().build().expect("a client");
    for to in ELSEWHERE.into_iter().chain(["/page?a=1"]) {
        let opened = member.posts(&format!("/console/tokens/{}/open", token.id), &[("to", to), ("next", to)]).await;
        let entrance = led(edge, opened.header("location"));
        let code = entrance.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
        stack.secrets.remember("code", &code);
        assert_eq!((&entrance.origin(), entrance.path()), (&origin, "/_gateway/enter"), "{to:?}");
        let entered = http.get(entrance.clone()).answer().await;
        assert_eq!(entered.status, 303, "{to:?}: {}", entered.text());
        let secret = entered.header("set-cookie").split(['=', ';']).nth(1).expect("a value").to_owned();
        stack.secrets.remember("browser's secret", &secret);
        let page = led(entrance.as_str(), entered.header("location"));
        assert_eq!(page.origin(), origin, "{to:?} leads to {}", entered.header("location"));
        if to == "/page?a=1" {
            assert_eq!(entered.header("location"), format!("{edge}{to}"));
        }
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("to", to).append_pair("next", to).finish();
        for path in ["/console/buy", "/console/buy/confirm", "/console/credits", "/console/credits/returned"] {
            let page = member.gets(&format!("{path}?hours=1&amount=1.00&{query}")).await.text();
            let addresses = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
            for address in addresses.map(|address| led(console, &address.replace("&amp;", "&").replace("&#38;", "&"))) {
                assert!([&own, &origin].contains(&&address.origin()), "{to:?} makes {path} lead to {address}");
            }
        }
    }
    stack.finish().await;
}
