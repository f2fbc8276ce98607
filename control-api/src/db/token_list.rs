//! The table `access_tokens` once more, as those who administer look for tokens: by the beginning
//! of the text, by user, by state.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Value, prelude::Uuid};
use shared::token::state::State;

use super::{Connection, Error, access_token::Owned, as_bigint, count_listed, sql};
use crate::config::TokenHour;

/// Which tokens are looked for.
#[derive(Default)]
pub struct Filter {
    pub user_id: Option<Uuid>,
    /// How what is shown of the text begins.
    pub prefix: Option<String>,
    /// How they stand at the time of the look.
    pub state: Option<State>,
}

const OWNED: &str = "SELECT t.*, u.email AS user_email, u.username AS user_username, u.is_active AS user_is_active,
        u.allowed_networks AS user_allowed_networks, u.denied_networks AS user_denied_networks
    FROM access_tokens t JOIN users u ON u.id = t.user_id";

/// When a token's time is over; parameter $3 is the seconds of an hour.
const ENDS: &str = "(t.activated_at + t.duration_hours * make_interval(secs => $3))";

/// The condition of a state, at the time of parameter $4.
fn condition(state: Option<State>) -> String {
    match state {
        // Of a type that is known, though they say nothing.
        None => "$3::float8 IS NOT NULL AND $4::timestamptz IS NOT NULL".to_owned(),
        Some(State::Revoked) => format!("t.revoked_at IS NOT NULL AND {}", condition(None)),
        Some(State::Expired) => format!("t.revoked_at IS NULL AND {ENDS} <= $4"),
        Some(State::Suspended) => {
            format!("t.revoked_at IS NULL AND NOT u.is_active AND (t.activated_at IS NULL OR {ENDS} > $4)")
        }
        Some(State::Ready) => {
            format!("t.revoked_at IS NULL AND u.is_active AND t.activated_at IS NULL AND {}", condition(None))
        }
        Some(State::Active) => format!("t.revoked_at IS NULL AND u.is_active AND {ENDS} > $4"),
    }
}

/// A page of tokens, newest first, and how many there are in all.
pub async fn list(
    db: &impl Connection,
    hour: TokenHour,
    filter: &Filter,
    now: DateTime<Utc>,
    limit: u64,
    offset: u64,
) -> Result<(Vec<Owned>, u64), Error> {
    let listed = format!(
        "($1::uuid IS NULL OR t.user_id = $1) AND ($2::text IS NULL OR starts_with(t.token_prefix, $2)) AND {}",
        condition(filter.state)
    );
    let of =
        || -> [Value; 4] { [filter.user_id.into(), filter.prefix.clone().into(), hour.seconds().into(), now.into()] };
    let counted = format!("access_tokens t JOIN users u ON u.id = t.user_id WHERE {listed}");
    let total = count_listed(db, &counted, of()).await?;
    let query = format!("{OWNED} WHERE {listed} ORDER BY t.id DESC LIMIT $5 OFFSET $6");
    let [user_id, prefix, seconds, now] = of();
    let values = [user_id, prefix, seconds, now, as_bigint(limit).into(), as_bigint(offset).into()];
    Ok((Owned::find_by_statement(sql(&query, values)).all(db).await?, total))
}
