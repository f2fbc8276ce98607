//! What is done to an account: disabling and enabling, rights, a link for a password, failed
//! logins. Each is asked first on a page of its own; an administrator who changes rights types
//! their own password.

use askama::Template;
use chrono::Utc;
use shared::web::language::Language;

use super::{
    common::{is_confirmed, user_of_path},
    user::page_of,
};
use crate::{
    app::App,
    console::{
        components::{Confirm, Time},
        form::FieldErrors,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer, PageError},
        text as words,
    },
    db::user,
    domain::{self, administration},
    links::password_link,
};

/// Which of two states a form asks for. An old page so changes nothing that somebody else changed
/// meanwhile.
fn wanted(text: &str) -> Result<bool, PageError> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(PageError::Malformed),
    }
}

fn facts(lang: Language, user: &user::Model) -> Vec<(&'static str, String)> {
    vec![(lang.say("User", "Пользователь"), user.username.clone()), (lang.say("E-mail", "Почта"), user.email.clone())]
}

fn confirm(admin: &Admin, user: &user::Model, title: &str) -> Confirm {
    Confirm {
        lang: admin.lang,
        frame: admin.frame(NavItem::Users),
        title: title.to_owned(),
        facts: facts(admin.lang, user),
        happens: Vec::new(),
        action: String::new(),
        hidden: Vec::new(),
        asks_password_of: None,
        button: "",
        is_dangerous: false,
        back: format!("/console/admin/users/{}", user.id),
        errors: FieldErrors::default(),
    }
}

fn own_account(admin: &Admin, user: &user::Model) -> Option<String> {
    let lang = admin.lang;
    let sentence = lang.say("This is your own account.", "Это ваша собственная учётная запись.");
    (user.id == admin.session.user.id).then(|| sentence.to_owned())
}

pub async fn ask_state(admin: Admin) -> Answer {
    let (lang, user) = (admin.lang, user_of_path(&admin).await?);
    let (title, happens, button) = if user.is_active {
        let happens = lang.say(
            "Its logins end, its tokens stop working, and everything open on them is cut at once. Balance and tokens stay as they are.",
            "Входы завершатся, токены перестанут действовать, и всё, что по ним открыто, сразу прервётся. Баланс и токены сохранятся.",
        );
        (lang.say("Disable this account?", "Отключить учётную запись?"), happens, lang.say("Disable", "Отключить"))
    } else {
        let happens = lang.say(
            "It can be logged in to again, and its tokens work again, as far as their time is not over.",
            "В неё снова можно будет войти, а токены снова заработают, если их время не вышло.",
        );
        (lang.say("Enable this account?", "Включить учётную запись?"), happens, lang.say("Enable", "Включить"))
    };
    let to = if user.is_active { "no" } else { "yes" };
    let page = Confirm {
        happens: own_account(&admin, &user).into_iter().chain([happens.to_owned()]).collect(),
        action: format!("/console/admin/users/{}/state", user.id),
        hidden: vec![("active", to.to_owned())],
        button,
        is_dangerous: user.is_active,
        ..confirm(&admin, &user, title)
    };
    page.answer()
}

pub async fn change_state(admin: Admin) -> Answer {
    let is_active = wanted(admin.form.text("active"))?;
    let App { db, config, .. } = &*admin.app;
    let change = administration::UserChange { is_active: Some(is_active), ..Default::default() };
    let user = administration::change_user(db, config.hour, &admin.session, admin.id()?, change).await?.later();
    tracing::info!(by = %admin.session.user.id, user_id = %user.id, is_active, "an account was changed");
    response::see_other(&page_of(&user, if is_active { "user-enabled" } else { "user-disabled" }))
}

fn role_page(admin: &Admin, user: &user::Model, to: bool, errors: FieldErrors) -> Confirm {
    let lang = admin.lang;
    let (title, happens, button) = if to {
        let happens = lang.say(
            "An administrator sees and changes everything here: every account, balance and token, and who else administers.",
            "Администратор видит и меняет здесь всё: учётные записи, балансы, токены и права других администраторов.",
        );
        (
            lang.say("Make this user an administrator?", "Сделать администратором?"),
            happens,
            lang.say("Promote", "Назначить"),
        )
    } else {
        let happens = lang.say(
            "The account keeps its tokens and its balance, and administers nothing any more.",
            "Учётная запись сохранит токены и баланс, но управлять больше ничем не сможет.",
        );
        (
            lang.say("Take the rights of this administrator away?", "Снять права администратора?"),
            happens,
            lang.say("Demote", "Снять права"),
        )
    };
    Confirm {
        happens: own_account(admin, user).into_iter().chain([happens.to_owned()]).collect(),
        action: format!("/console/admin/users/{}/role", user.id),
        hidden: vec![("superuser", (if to { "yes" } else { "no" }).to_owned())],
        asks_password_of: Some(admin.session.user.email.clone()),
        button,
        is_dangerous: true,
        errors,
        ..confirm(admin, user, title)
    }
}

pub async fn ask_role(admin: Admin) -> Answer {
    let user = user_of_path(&admin).await?;
    role_page(&admin, &user, !user.is_superuser, FieldErrors::default()).answer()
}

pub async fn change_role(admin: Admin) -> Answer {
    let (to, mut errors) = (wanted(admin.form.text("superuser"))?, FieldErrors::default());
    let user = user_of_path(&admin).await?;
    if !is_confirmed(&admin, &mut errors).await? {
        return role_page(&admin, &user, to, errors).answer();
    }
    let App { db, config, .. } = &*admin.app;
    let change = administration::UserChange { is_superuser: Some(to), ..Default::default() };
    match administration::change_user(db, config.hour, &admin.session, user.id, change).await {
        Ok(changed) => {
            let user = changed.later();
            tracing::info!(by = %admin.session.user.id, user_id = %user.id, is_superuser = to, "an account was changed");
            // Who took their own rights away has no page here any more.
            let has_left = user.id == admin.session.user.id && !to;
            let page = page_of(&user, if to { "promoted" } else { "demoted" });
            response::see_other(if has_left { "/console?done=demoted" } else { &page })
        }
        Err(error @ domain::Error::LastSuperuser) => {
            errors.add("password", words::refusal(admin.lang, &error));
            role_page(&admin, &user, to, errors).answer()
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "console/admin/password_link.html")]
struct PasswordLinkPage {
    lang: Language,
    frame: Frame,
    username: String,
    back: String,
    url: String,
    ends_at: Time,
}

pub async fn ask_password_link(admin: Admin) -> Answer {
    let user = user_of_path(&admin).await?;
    password_link_page(&admin, &user, FieldErrors::default()).answer()
}

/// The link gives the account with all its rights, so that it is drawn for the own
/// password alone.
fn password_link_page(admin: &Admin, user: &user::Model, errors: FieldErrors) -> Confirm {
    let lang = admin.lang;
    let happens = [
        lang.say(
            "The link sets this account's password, once, within 24 hours, for anybody who has it. It is shown only once; hand it to nobody but the user.",
            "Открывший ссылку один раз задаст пароль этой учётной записи, в течение 24 часов. Она показывается один раз; передайте её только самому пользователю.",
        ),
        lang.say("An earlier link of this user ends.", "Прежняя ссылка этого пользователя перестанет действовать."),
    ];
    Confirm {
        happens: happens.map(str::to_owned).to_vec(),
        action: format!("/console/admin/users/{}/password-link", user.id),
        asks_password_of: Some(admin.session.user.email.clone()),
        button: lang.say("Draw a link", "Создать ссылку"),
        errors,
        ..confirm(admin, user, lang.say("Draw a link for a new password?", "Создать ссылку для нового пароля?"))
    }
}

pub async fn draw_password_link(admin: Admin) -> Answer {
    let (user, mut errors) = (user_of_path(&admin).await?, FieldErrors::default());
    if !is_confirmed(&admin, &mut errors).await? {
        return password_link_page(&admin, &user, errors).answer();
    }
    let link = administration::draw_password_link(&admin.app.db, &admin.session, user.id, Utc::now()).await?;
    tracing::info!(by = %admin.session.user.id, user_id = %user.id, "a password link was drawn");
    response::page(&PasswordLinkPage {
        lang: admin.lang,
        frame: admin.frame(NavItem::Users),
        back: format!("/console/admin/users/{}", user.id),
        username: user.username,
        url: password_link(&admin.app.config.control_origin, &link.code),
        ends_at: Time(link.expires_at),
    })
}

pub async fn ask_failures(admin: Admin) -> Answer {
    let (lang, user) = (admin.lang, user_of_path(&admin).await?);
    let happens = lang.say(
        "The account can be tried again at once from wherever. An address that failed too often with many accounts still waits.",
        "В учётную запись сразу можно будет войти откуда угодно. Адрес, с которого слишком часто ошибались с разными учётными записями, по-прежнему ждёт.",
    );
    let page = Confirm {
        happens: vec![happens.to_owned()],
        action: format!("/console/admin/users/{}/login-failures", user.id),
        button: lang.say("Forget them", "Сбросить"),
        ..confirm(&admin, &user, lang.say("Forget the failed logins?", "Сбросить неудачные попытки входа?"))
    };
    page.answer()
}

pub async fn clear_failures(admin: Admin) -> Answer {
    let user = user_of_path(&admin).await?;
    let App { db, login_throttle, .. } = &*admin.app;
    administration::clear_login_failures(db, login_throttle, &admin.session, user.id).await?;
    tracing::info!(by = %admin.session.user.id, user_id = %user.id, "failed logins were forgotten");
    response::see_other(&page_of(&user, "failures-cleared"))
}
