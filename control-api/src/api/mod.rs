//! HTTP in and out: parse, authorise, call the domain, render. One file a resource.

mod admin;
mod audit;
pub mod auth_guard;
mod body;
pub mod bundles;
mod currency;
pub mod login;
pub mod mock_pay;
pub mod openapi;
mod schema;
mod sessions;
mod stats;
mod tag;
mod tokens;
mod users;
mod webhooks;

use poem_openapi::{OpenApi, OpenApiService};

pub use openapi::document;
pub use tokens::access_json;

/// The operations of the API.
pub fn service() -> OpenApiService<impl OpenApi, ()> {
    let apis = (
        login::Auth,
        users::Users,
        tokens::Tokens,
        bundles::Bundles,
        currency::Currency,
        webhooks::Webhooks,
        admin::Admin,
        audit::Audit,
        stats::Stats,
        sessions::Sessions,
    );
    OpenApiService::new(apis, "Zenzefi Gateway", env!("CARGO_PKG_VERSION"))
}
