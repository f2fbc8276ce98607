//! HTTP in and out: parse, authorise, call the domain, render. One file a resource.

mod admin;
mod audit;
mod auth;
mod body;
mod bundles;
mod currency;
mod document;
mod error;
mod guard;
mod layer;
mod mock_pay;
pub mod ops;
mod pages;
mod scalar;
mod sessions;
mod stats;
mod tokens;
mod users;
mod webhooks;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response};
use poem_openapi::{OpenApi, OpenApiService, Tags};

pub use document::document;
pub use error::ApiError;
pub use guard::Recognised;
pub use scalar::{BundleName, Description, Networks, Percent, Reason, Scope, Search, SoldHours, TokenCount, Znc};
pub use scalar::{
    Email, FullName, Method, NewPassword, Password, ReferralCode, RequestPath, Scalar, TopUp, Username, znc,
};
pub use tokens::access_json;

use crate::{App, console};

#[derive(Tags)]
enum Tag {
    /// Registering, logging in and out
    Auth,
    /// One's own account
    Users,
    /// Access tokens
    Tokens,
    /// Several tokens at once for less
    Bundles,
    /// Credits
    Currency,
    /// What superusers do
    Admin,
}

fn service() -> OpenApiService<impl OpenApi, ()> {
    let apis = (
        auth::Auth,
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

/// Everything that the public listener answers.
pub fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let service = service();
    let document = document::complete(&service.spec());
    let methods = layer::Methods::of(&document)
        .with(bundles::PATH_WITHOUT_SLASH, "GET, POST")
        .with(mock_pay::TEMPLATE, "GET, HEAD, POST")
        .with_all(console::FORMS)
        .with_all(console::ADMIN_FORMS);
    let swagger_page = service.swagger_ui_html().replace(&service.spec(), &document);
    let route = console::routes(&app, pages::routes(swagger_page, document))
        .at(mock_pay::ROUTE, mock_pay::endpoint(Arc::clone(&app)))
        .nest_no_strip("/api", service);
    let route = route.data(Arc::clone(&app)).before(async |request| Ok(bundles::with_slash(request)));
    layer::Layer::new(route, app, methods)
}
