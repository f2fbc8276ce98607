//! HTTP in and out: parse, authorise, call the domain, render. One file a resource.

mod admin;
mod audit;
pub mod auth_guard;
mod body;
mod bundles;
mod currency;
pub mod error;
pub mod login;
mod mock_pay;
pub mod openapi;
mod schema;
mod sessions;
mod stats;
mod tokens;
mod users;
mod webhooks;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response};
use poem_openapi::{OpenApi, OpenApiService, Tags};

pub use auth_guard::Recognised;
pub use error::ApiError;
pub use openapi::document;
pub use tokens::access_json;

use crate::{
    App, console,
    server::{documents, middleware},
};

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

/// Everything that the public listener answers.
pub fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let service = service();
    let document = openapi::complete(&service.spec());
    let methods = middleware::Methods::of(&document)
        .with(bundles::PATH_WITHOUT_SLASH, "GET, POST")
        .with(mock_pay::TEMPLATE, "GET, HEAD, POST")
        .with_all(console::FORMS)
        .with_all(console::ADMIN_FORMS);
    let swagger_page = service.swagger_ui_html().replace(&service.spec(), &document);
    let route = console::routes(&app, documents::routes(swagger_page, document))
        .at(mock_pay::ROUTE, mock_pay::endpoint(Arc::clone(&app)))
        .nest_no_strip("/api", service);
    let route = route.data(Arc::clone(&app)).before(async |request| Ok(bundles::with_slash(request)));
    middleware::Layer::new(route, app, methods)
}
