//! Where whoever logged in begins: what they can spend, and their tokens to open.

use askama::Template;
use shared::language::Language;

use super::{
    frame::{Frame, Here},
    reply::{self, Answer},
    visit::Member,
};

#[derive(Template)]
#[template(path = "console/home.html")]
struct HomePage {
    lang: Language,
    frame: Frame,
}

pub async fn show(member: Member) -> Answer {
    reply::page(&HomePage { lang: member.lang, frame: member.frame(Here::Home) })
}
