//! Sessions: one token on one device. The edges count them; an administrator can end one.

use serde_json::json;
use shared::redis::replies::CutReason;
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Resource},
};
use crate::{
    db::{self, access_token, outbox, session},
    domain::unpublished::Unpublished,
};

/// Ends a session: what its device has open on the token is cut, and the token is free for another.
/// Doing it again changes nothing, nor does ending one that has ended: its device may have begun
/// another since. The token that it was on.
pub async fn end(db: &db::Pool, admin: &Session, id: Uuid) -> Result<Unpublished<Uuid>, Error> {
    let holder = session::find(db, id).await?.ok_or(Error::SessionNotFound)?;
    let tx = db::begin(db).await?;
    access_token::find_for_update(&tx, holder.token_id).await?;
    if session::end(&tx, id).await? {
        let device = Some(holder.device_id.as_str());
        access_token::cut(&tx, holder.token_id, CutReason::EndedByAdministrator, device).await?;
        outbox::push(&tx, &[holder.token_id]).await?;
        let details = json!({ "token_id": holder.token_id, "device_id": holder.device_id });
        audit::record(&tx, admin.by(), Action::EndSession, Resource::Session(id), details).await?;
    }
    tx.commit().await?;
    Ok(Unpublished::new(holder.token_id, vec![holder.token_id]))
}
