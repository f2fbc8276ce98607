//! `/bundles`: several tokens at once for less.

use std::sync::Arc;

use chrono::Utc;
use poem::{Request, web::Data};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::MaybeUndefined,
};
use serde_json::json;

use super::{
    auth_guard::{CurrentUser, Superuser},
    body::{Body, body},
    tag::Tag,
    tokens::IssuedToken,
};
use crate::{
    app::App,
    db::bundle::{Change, NewBundle},
    domain::{
        bundles::{self, Offer},
        idempotency::Idempotent,
    },
    http::error::ApiError,
    input::{BundleName, Description, Flag, Id, IdempotencyKey, Percent, Scope, SoldHours, Timestamp, TokenCount, Znc},
    publish,
};

/// Where they are listed, and the same as some clients write it.
const PATH: &str = "/api/v1/bundles/";
pub const PATH_WITHOUT_SLASH: &str = "/api/v1/bundles";

pub struct Bundles;

/// Several tokens that are sold at once, at today's price.
#[derive(Object)]
struct Bundle {
    id: Id,
    name: String,
    #[oai(nullable)]
    description: Option<String>,
    token_count: TokenCount,
    /// Of each token.
    duration_hours: i32,
    scope: String,
    discount_percent: Percent,
    /// What its tokens cost one by one.
    base_price: Znc,
    total_price: Znc,
    savings: Znc,
    /// Rounded: what the single tokens cost may differ by a cent.
    price_per_token: Znc,
    is_active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Offer> for Bundle {
    fn from(Offer { bundle, price }: Offer) -> Self {
        Self {
            id: Id(bundle.id),
            name: bundle.name,
            description: bundle.description,
            token_count: TokenCount(bundle.token_count),
            duration_hours: bundle.duration_hours,
            scope: bundle.scope,
            discount_percent: Percent(bundle.discount_percent),
            base_price: Znc(price.base),
            total_price: Znc(price.total),
            savings: Znc(price.savings),
            price_per_token: Znc(price.per_token),
            is_active: bundle.is_active,
            created_at: Timestamp(bundle.created_at),
            updated_at: Timestamp(bundle.updated_at),
        }
    }
}

#[derive(Object)]
struct BundleList {
    items: Vec<Bundle>,
}

body! {
    pub struct CreateBundle {
        pub name: BundleName,
        pub description: Option<Description>,
        pub token_count: TokenCount,
        pub duration_hours: SoldHours,
        /// `full` if absent.
        pub scope: Option<Scope>,
        pub discount_percent: Percent,
    }
}

body! {
    /// What is absent stays as it is.
    pub struct ChangeBundle {
        pub name: Option<BundleName>,
        #[oai(nullable)]
        pub description: MaybeUndefined<Description>,
        pub token_count: Option<TokenCount>,
        pub duration_hours: Option<SoldHours>,
        pub scope: Option<Scope>,
        pub discount_percent: Option<Percent>,
        pub is_active: Option<Flag>,
    }
}

impl From<CreateBundle> for NewBundle {
    fn from(new: CreateBundle) -> Self {
        Self {
            name: new.name.0,
            description: new.description.map(|description| description.0),
            token_count: new.token_count.0,
            duration_hours: new.duration_hours.0,
            scope: new.scope.map_or(shared::token::scope::Scope::Full, |scope| scope.0).as_str().to_owned(),
            discount_percent: new.discount_percent.0,
        }
    }
}

impl From<ChangeBundle> for Change {
    fn from(change: ChangeBundle) -> Self {
        Self {
            name: change.name.map(|name| name.0),
            description: match change.description {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(description) => Some(Some(description.0)),
            },
            token_count: change.token_count.map(|count| count.0),
            duration_hours: change.duration_hours.map(|hours| hours.0),
            scope: change.scope.map(|scope| scope.0.as_str().to_owned()),
            discount_percent: change.discount_percent.map(|percent| percent.0),
            is_active: change.is_active.map(|flag| flag.0),
        }
    }
}

/// The tokens of a bundle, with their texts, which are shown only now.
#[derive(Object)]
struct BoughtBundle {
    bundle_name: String,
    tokens_generated: u64,
    cost_znc: Znc,
    new_balance: Znc,
    tokens: Vec<IssuedToken>,
}

/// Gives the list's path the slash that it was written without.
pub fn with_slash(mut request: Request) -> Request {
    if request.uri().path() == PATH_WITHOUT_SLASH {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        *request.uri_mut() = format!("{PATH}{query}").parse().expect("a path and the query of a URI are a URI");
    }
    request
}

#[derive(ApiResponse)]
enum Created {
    /// The bundle.
    #[oai(status = 201)]
    Created(Json<Bundle>),
}

#[derive(ApiResponse)]
enum Deleted {
    /// It is sold no longer.
    #[oai(status = 204)]
    Deleted,
}

#[OpenApi(prefix_path = PATH, tag = "Tag::Bundles")]
impl Bundles {
    /// What is on offer, the cheapest first
    #[oai(path = "/", method = "get", operation_id = "list_bundles")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        /// Whether to hide what is sold no longer; true if absent
        active_only: Query<Option<Flag>>,
    ) -> Result<Json<BundleList>, ApiError> {
        let active_only = active_only.0.is_none_or(|only| only.0);
        let offers = bundles::list(&app.db, &app.prices, active_only).await?;
        Ok(Json(BundleList { items: offers.into_iter().map(Bundle::from).collect() }))
    }

    /// One bundle that is on offer
    #[oai(path = "/:id", method = "get", operation_id = "get_bundle")]
    async fn get(&self, app: Data<&Arc<App>>, id: Path<Id>) -> Result<Json<Bundle>, ApiError> {
        Ok(Json(bundles::get(&app.db, &app.prices, id.0.0).await?.into()))
    }

    /// Buys a bundle: all its tokens, or none
    ///
    /// They work on every edge by the time this answers, as long as Redis is up. Each is given back
    /// for its share of the price.
    #[oai(path = "/:id/purchase", method = "post", operation_id = "purchase_bundle")]
    async fn purchase(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        id: Path<Id>,
        /// Makes repeating the call safe: the same key is the same purchase, for 24 hours
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<IdempotencyKey>>,
    ) -> Result<Json<BoughtBundle>, ApiError> {
        let App { db, prices, publisher, config, sealer, .. } = &***app;
        let id = id.0.0;
        let request = json!({ "id": id });
        let once = key.0.as_ref().map(|key| Idempotent { sealer, endpoint: "bundles/purchase", key: &key.0, request });
        let bought = bundles::purchase(db, prices, &user.0, id, once.as_ref()).await?;
        let (bought, _) = publish::deliver(db, publisher, bought).await;
        let now = Utc::now();
        Ok(Json(BoughtBundle {
            bundle_name: bought.receipt.bundle_name,
            tokens_generated: bought.tokens.len() as u64,
            cost_znc: Znc(bought.receipt.cost),
            new_balance: Znc(bought.receipt.new_balance),
            tokens: bought.tokens.iter().map(|issued| IssuedToken::new(issued, config.hour, now)).collect(),
        }))
    }

    /// Puts a bundle on offer
    #[oai(path = "/", method = "post", operation_id = "create_bundle")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        body: Body<CreateBundle>,
    ) -> Result<Created, ApiError> {
        let offer = bundles::create(&app.db, &app.prices, &superuser.0, body.0.into()).await?;
        Ok(Created::Created(Json(offer.into())))
    }

    /// Changes a bundle, on offer or not
    ///
    /// What was bought before stays as it was.
    #[oai(path = "/:id", method = "patch", operation_id = "change_bundle")]
    async fn change(
        &self,
        app: Data<&Arc<App>>,
        superuser: Superuser,
        id: Path<Id>,
        body: Body<ChangeBundle>,
    ) -> Result<Json<Bundle>, ApiError> {
        let offer = bundles::change(&app.db, &app.prices, &superuser.0, id.0.0, body.0.into()).await?;
        Ok(Json(offer.into()))
    }

    /// Takes a bundle off the offer
    #[oai(path = "/:id", method = "delete", operation_id = "delete_bundle")]
    async fn delete(&self, app: Data<&Arc<App>>, superuser: Superuser, id: Path<Id>) -> Result<Deleted, ApiError> {
        bundles::delete(&app.db, &superuser.0, id.0.0).await?;
        Ok(Deleted::Deleted)
    }
}
