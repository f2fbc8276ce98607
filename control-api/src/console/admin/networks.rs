//! From where a user's tokens may be used.

use askama::Template;
use serde_json::Value;
use shared::web::language::Language;

use super::{common::user_of_path, user::page_of};
use crate::{
    app::App,
    console::{
        form::FieldErrors,
        layout::{Frame, NavItem},
        request::Admin,
        response::{self, Answer},
    },
    db::user,
    domain::administration,
    input::{Networks, Scalar},
};

#[derive(Template)]
#[template(path = "console/admin/networks.html")]
struct NetworksPage {
    lang: Language,
    frame: Frame,
    username: String,
    back: String,
    allowed: String,
    denied: String,
    errors: FieldErrors,
}

fn page(admin: &Admin, user: &user::Model, allowed: String, denied: String, errors: FieldErrors) -> NetworksPage {
    NetworksPage {
        lang: admin.lang,
        frame: admin.frame(NavItem::Users),
        username: user.username.clone(),
        back: format!("/console/admin/users/{}", user.id),
        allowed,
        denied,
        errors,
    }
}

pub async fn show(admin: Admin) -> Answer {
    let user = user_of_path(&admin).await?;
    let (allowed, denied) = (user.allowed_networks.join("\n"), user.denied_networks.join("\n"));
    response::page(&page(&admin, &user, allowed, denied, FieldErrors::default()))
}

/// Networks, one a line or with commas or spaces between them.
fn read(text: &str) -> Option<Networks> {
    let texts = text.split(|char: char| char.is_whitespace() || char == ',').filter(|text| !text.is_empty());
    Networks::read(Value::from(texts.collect::<Vec<_>>())).ok()
}

pub async fn change(admin: Admin) -> Answer {
    let (lang, user) = (admin.lang, user_of_path(&admin).await?);
    let [allowed_text, denied_text] = ["allowed", "denied"].map(|name| admin.form.raw(name));
    let mut errors = FieldErrors::default();
    let mut list = |name: &'static str, text: &str| {
        let networks = read(text);
        if networks.is_none() {
            let sentence = lang.say(
                "At most 64 addresses or networks such as 10.0.0.0/8, one a line.",
                "Не больше 64 адресов или сетей вида 10.0.0.0/8, по одной в строке.",
            );
            errors.add(name, sentence);
        }
        networks
    };
    let (allowed, denied) = (list("allowed", allowed_text), list("denied", denied_text));
    let (Some(allowed), Some(denied)) = (allowed, denied) else {
        return response::refused(&page(&admin, &user, allowed_text.to_owned(), denied_text.to_owned(), errors));
    };
    let App { db, config, .. } = &*admin.app;
    let change = administration::UserChange {
        allowed_networks: Some(allowed.0),
        denied_networks: Some(denied.0),
        ..Default::default()
    };
    let user = administration::change_user(db, config.hour, &admin.session, user.id, change).await?.later();
    tracing::info!(by = %admin.session.user.id, user_id = %user.id, "an account was changed");
    response::see_other(&page_of(&user, "networks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_stand_one_a_line_or_with_commas_between_them() {
        let texts = |text: &str| read(text).map(|networks| networks.0.texts());
        assert_eq!(texts("10.0.0.0/8\r\n 192.0.2.1, 2001:db8::1\r\n\r\n"), texts("10.0.0.0/8 192.0.2.1 2001:db8::1"));
        assert_eq!(texts(" \r\n"), Some(Vec::new()));
        assert_eq!(texts("10.0.0.0/8;192.0.2.1"), None);
    }
}
