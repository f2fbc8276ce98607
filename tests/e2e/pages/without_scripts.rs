//! What must work in a browser that runs no scripts: signing in, opening an account, logging in,
//! changing a profile.

use testbed::{clients::browser::Browser, people::User, stack::Stack};

/// What the pages say in a language.
struct Texts {
    tag: &'static str,
    register: &'static str,
    welcome: &'static str,
    logged_out: &'static str,
    overview: &'static str,
    saved: &'static str,
    changed: &'static str,
    wrong: &'static str,
    short: &'static str,
}

const TEXTS: [Texts; 2] = [
    Texts {
        tag: "en",
        register: "Register",
        welcome: "Welcome! Your account is ready.",
        logged_out: "You are logged out.",
        overview: "Overview",
        saved: "Your profile is saved.",
        changed: "Your password is changed.",
        wrong: "The e-mail or the password is wrong.",
        short: "This is too short.",
    },
    Texts {
        tag: "ru",
        register: "Регистрация",
        welcome: "Добро пожаловать! Учётная запись создана.",
        logged_out: "Вы вышли.",
        overview: "Обзор",
        saved: "Профиль сохранён.",
        changed: "Пароль изменён.",
        wrong: "Неверная почта или пароль.",
        short: "Слишком коротко.",
    },
];

async fn browser_without_scripts(tag: &str) -> Browser {
    let browser = Browser::start().await;
    browser.speaks(tag).await;
    browser.runs_no_scripts().await;
    browser
}

async fn logs_in(browser: &Browser, email: &str, password: &str) {
    browser.types_over("#email", email).await;
    browser.types("#password", password).await;
    browser.clicks("main button").await;
}

#[tokio::test]
async fn a_token_opens_the_upstream() {
    let stack = Stack::start().await;
    let token = stack.control.user("alice").with_credits(100).await.buys(24).await;
    let browser = browser_without_scripts("en").await;
    browser.opens(&format!("{}/page", stack.edge().url())).await;
    browser.types("#token", &token.text).await;
    browser.clicks("main button").await;
    browser.shows("#about", "reached by a root-relative link").await;
    browser.comes_to(|address| address.ends_with("/page")).await;
    assert!(!browser.address().await.contains(&token.text));
    browser.opens(stack.edge().url()).await;
    // Its page does run scripts where there are any: here it cannot.
    browser.shows("h1", "Zenzefi stand-in").await;
    assert!(!browser.shown("#fetch").await.contains("ok"), "scripts run");
    browser.stops().await;
    stack.finish().await;
}

#[tokio::test]
async fn an_account_is_opened_entered_changed_and_left_in_either_language() {
    let stack = Stack::start().await;
    let console = format!("{}/console", stack.control.plane.url());
    for texts in TEXTS {
        let browser = browser_without_scripts(texts.tag).await;
        let (email, password) = (format!("carol-{}@example.com", texts.tag), format!("carol's secret, {}", texts.tag));
        let better = format!("carol's better secret, {}", texts.tag);
        stack.secrets.remember("password", &password);
        stack.secrets.remember("password", &better);

        browser.opens(&format!("{console}/register")).await;
        browser.shows("h1", texts.register).await;
        for (field, text) in [("#email", email.as_str()), ("#username", "ab"), ("#password", &password)] {
            browser.types(field, text).await;
        }
        // Without scripts the browser itself still checks fields; the program does where the
        // browser does not.
        browser.runs("document.forms[document.forms.length - 1].noValidate = true", &[]).await;
        browser.clicks("main button").await;
        browser.shows("#username-fault", texts.short).await;
        assert_eq!((browser.value("#email").await, browser.value("#password").await), (email.clone(), String::new()));
        browser.types_over("#username", &format!("carol-{}", texts.tag)).await;
        browser.types("#password", &password).await;
        browser.clicks("main button").await;
        browser.shows("main .notice", texts.welcome).await;

        browser.opens(&format!("{console}/profile")).await;
        browser.types_over("#full_name", "Carol Ада").await;
        browser.clicks("section[aria-labelledby=about] button").await;
        browser.shows("main .notice", texts.saved).await;
        assert_eq!(browser.value("#full_name").await, "Carol Ада");
        browser.types("#current_password", &password).await;
        browser.types("#password", &better).await;
        browser.clicks("section[aria-labelledby=password-title] button").await;
        browser.shows("main .notice", texts.changed).await;

        browser.clicks(".who form button").await;
        browser.shows("main .notice", texts.logged_out).await;
        logs_in(&browser, &email, &password).await;
        browser.shows("main .notice", texts.wrong).await;
        assert_eq!(browser.value("#email").await, email);
        logs_in(&browser, &email, &better).await;
        browser.shows("h1", texts.overview).await;
        browser.comes_to(|address| address == console).await;
        let user: User = stack.control.api.logs_in(&email, &better).await;
        assert!(!user.id.is_empty());
        browser.stops().await;
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_language_is_chosen_and_stays() {
    let stack = Stack::start().await;
    let console = format!("{}/console", stack.control.plane.url());
    let browser = browser_without_scripts("en").await;
    browser.opens(&format!("{console}/register")).await;
    browser.shows("h1", "Register").await;
    browser.clicks("a[hreflang=ru]").await;
    browser.shows("h1", "Регистрация").await;
    browser.comes_to(|address| address == format!("{console}/register")).await;
    browser.opens(&format!("{console}/login")).await;
    browser.shows("h1", "Вход").await;
    browser.clicks("a[hreflang=en]").await;
    browser.shows("h1", "Log in").await;
    browser.stops().await;
    stack.finish().await;
}
