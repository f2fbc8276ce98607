//! Everything that the public listener answers: the API, the console, and the pages beside them.

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response};

use crate::{
    api::{self, bundles, mock_pay, openapi},
    app::App,
    console,
    server::{documents, middleware},
};

/// The routes, behind the layer that surrounds every request.
pub fn endpoint(app: Arc<App>) -> impl Endpoint<Output = Response> + 'static {
    let service = api::service();
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
