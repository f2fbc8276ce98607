//! Selling several tokens at once for less, and what superusers do with what is on offer.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Error,
    accounts::Session,
    audit::{self, Action, Resource},
    idempotency::Idempotent,
    ledger::{self, Details, Movement, Subject},
    referrals,
    tokens::{self, Issued},
};
use crate::{
    config::prices::{self, BundlePrice, Prices},
    db::{
        self, access_token,
        bundle::{self, Change, NewBundle},
        outbox,
    },
    domain::unpublished::Unpublished,
};

/// A bundle at today's price.
pub struct Offer {
    pub bundle: bundle::Model,
    pub price: BundlePrice,
}

/// What a purchase of a bundle gave.
pub struct Bought {
    pub receipt: Receipt,
    pub tokens: Vec<Issued>,
}

/// What a purchase of a bundle gave, without the texts of the tokens.
#[derive(Serialize, Deserialize)]
pub struct Receipt {
    pub bundle_name: String,
    /// In ZNC.
    pub cost: Decimal,
    pub new_balance: Decimal,
    tokens: Vec<access_token::Model>,
}

/// What is on offer, or was as well, the cheapest first.
pub async fn list(db: &db::Pool, prices: &Prices, active_only: bool) -> Result<Vec<Offer>, Error> {
    let bundles = bundle::list(db, active_only).await?;
    let offers = bundles.into_iter().map(|bundle| offer(prices, bundle));
    let mut offers = offers.collect::<Result<Vec<_>, _>>()?;
    offers.sort_by_key(|offer| offer.price.total);
    Ok(offers)
}

/// A bundle that is sold.
pub async fn get(db: &impl db::Connection, prices: &Prices, id: Uuid) -> Result<Offer, Error> {
    let bundle = bundle::find(db, id).await?.filter(|bundle| bundle.is_active);
    offer(prices, bundle.ok_or(Error::BundleNotFound)?)
}

/// Sells a bundle: the price leaves the balance and all its tokens exist, or neither. Each token
/// costs its share.
pub async fn purchase(
    db: &db::Pool,
    prices: &Prices,
    buyer: &Session,
    id: Uuid,
    once: Option<&Idempotent<'_>>,
) -> Result<Unpublished<Bought>, Error> {
    let user_id = buyer.user.id;
    let tx = db::begin(db).await?;
    if let Some(once) = once
        && let Some(bought) = recall(&tx, user_id, once).await?
    {
        let token_ids = bought.tokens.iter().map(|issued| issued.token.id).collect();
        return Ok(Unpublished::new(bought, token_ids));
    }
    let Offer { bundle, price } = get(&tx, prices, id).await?;
    let costs = prices::shares(price.total, price.token_count);
    let details = Details::BundlePurchase { name: bundle.name.clone(), token_count: costs.len() };
    let movement = Movement { amount: price.total, details, about: Subject::Bundle(id) };
    let new_balance = ledger::charge(&tx, user_id, &movement).await?;
    let mut issued = Vec::with_capacity(costs.len());
    for cost in costs {
        let hours = bundle.duration_hours;
        issued.push(tokens::issue(&tx, Uuid::now_v7(), user_id, hours, &bundle.scope, cost).await?);
    }
    let token_ids: Vec<Uuid> = issued.iter().map(|issued| issued.token.id).collect();
    referrals::promise(&tx, &buyer.user, price.total, &token_ids).await?;
    outbox::push(&tx, &token_ids).await?;
    let details = json!({
        "bundle_name": bundle.name,
        "token_ids": token_ids,
        "cost_znc": price.total,
        "new_balance": new_balance,
    });
    audit::record(&tx, buyer.by(), Action::Purchase, Resource::Bundle(id), details).await?;
    let tokens = issued.iter().map(|issued| issued.token.clone()).collect();
    let receipt = Receipt { bundle_name: bundle.name, cost: price.total, new_balance, tokens };
    if let Some(once) = once {
        once.keep(&tx, user_id, &receipt).await?;
        for Issued { token, text } in &issued {
            once.keep_text(&tx, user_id, token.id, text).await?;
        }
    }
    tx.commit().await?;
    Ok(Unpublished::new(Bought { receipt, tokens: issued }, token_ids))
}

/// What came of this purchase if it was made before.
async fn recall(tx: &db::Tx, user_id: Uuid, once: &Idempotent<'_>) -> Result<Option<Bought>, Error> {
    let Some(receipt) = once.recall::<Receipt>(tx, user_id).await? else { return Ok(None) };
    let mut tokens = Vec::with_capacity(receipt.tokens.len());
    for token in &receipt.tokens {
        let text = once.recall_text(tx, user_id, token.id).await?;
        tokens.push(Issued { token: token.clone(), text });
    }
    Ok(Some(Bought { receipt, tokens }))
}

/// Puts a bundle on offer.
pub async fn create(db: &db::Pool, prices: &Prices, admin: &Session, new: NewBundle) -> Result<Offer, Error> {
    let tx = db::begin(db).await?;
    let bundle = bundle::insert(&tx, new).await.map_err(taken)?;
    let details = Value::Object(facts(&bundle));
    audit::record(&tx, admin.by(), Action::CreateBundle, Resource::Bundle(bundle.id), details).await?;
    tx.commit().await?;
    offer(prices, bundle)
}

/// Changes a bundle, sold or not. What was bought before stays as it was.
pub async fn change(db: &db::Pool, prices: &Prices, admin: &Session, id: Uuid, change: Change) -> Result<Offer, Error> {
    offer(prices, write(db, admin, id, Action::ChangeBundle, change).await?)
}

/// Takes a bundle off the offer. Doing it again changes nothing.
pub async fn delete(db: &db::Pool, admin: &Session, id: Uuid) -> Result<(), Error> {
    let change = Change { is_active: Some(false), ..Default::default() };
    write(db, admin, id, Action::DeleteBundle, change).await.map(drop)
}

async fn write(
    db: &db::Pool,
    admin: &Session,
    id: Uuid,
    action: Action,
    change: Change,
) -> Result<bundle::Model, Error> {
    let tx = db::begin(db).await?;
    let before = bundle::find_for_update(&tx, id).await?.ok_or(Error::BundleNotFound)?;
    let after = bundle::update(&tx, id, change).await.map_err(taken)?;
    let mut old = facts(&before);
    let details: Map<String, Value> = facts(&after)
        .into_iter()
        .filter_map(|(name, new)| {
            let old = old.remove(&name).filter(|old| *old != new)?;
            Some((name, json!({ "old": old, "new": new })))
        })
        .collect();
    if !details.is_empty() {
        audit::record(&tx, admin.by(), action, Resource::Bundle(id), Value::Object(details)).await?;
    }
    tx.commit().await?;
    Ok(after)
}

/// What a superuser can say of a bundle.
fn facts(bundle: &bundle::Model) -> Map<String, Value> {
    let facts = [
        ("name", json!(bundle.name)),
        ("description", json!(bundle.description)),
        ("token_count", json!(bundle.token_count)),
        ("duration_hours", json!(bundle.duration_hours)),
        ("scope", json!(bundle.scope)),
        ("discount_percent", json!(bundle.discount_percent)),
        ("is_active", json!(bundle.is_active)),
    ];
    facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
}

fn offer(prices: &Prices, bundle: bundle::Model) -> Result<Offer, Error> {
    let count = usize::try_from(bundle.token_count).unwrap_or_default();
    let price = prices.of_bundle(count, bundle.duration_hours.into(), bundle.discount_percent);
    Ok(Offer { price: price.ok_or(Error::InvalidDuration)?, bundle })
}

/// A name that another bundle has, as a fact.
fn taken(error: db::Error) -> Error {
    if db::violates(&error, "bundles_name_key") { Error::BundleNameTaken } else { Error::Database(error) }
}
