//! *Open Zenzefi*: hands a token over to a browser, by a code that is good once, for 30 seconds.
//! What the API and the console both do.

use chrono::Utc;
use shared::token::credential::Handover;
use uuid::Uuid;

use crate::{
    app::App,
    domain::{Error, accounts::Session, tokens},
    publish::{self, Delivery},
};

/// Where the browser goes: to the edge, which takes the code, and from there to `next`, a path of
/// Zenzefi.
pub async fn open(app: &App, owner: &Session, id: Uuid, next: Option<&str>) -> Result<String, Error> {
    let App { db, publisher, config, .. } = app;
    let handover = tokens::open(db, config.hour, owner, id, Utc::now()).await?;
    let (handover, delivery) = publish::deliver(db, publisher, handover).await;
    if delivery == Delivery::Pending {
        return Err(Error::RedisUnavailable);
    }
    let code = handover.code();
    publisher.hand_over(&Handover::code_digest(&code), &handover.salt()).await?;
    let mut url = format!("{}/_gateway/enter?code={code}", config.public_origin);
    if let Some(next) = next {
        url.extend(["&next="].into_iter().chain(url::form_urlencoded::byte_serialize(next.as_bytes())));
    }
    Ok(url)
}
