//! The page on which a payment of the mock provider is paid or canceled, for development. What is
//! pressed there goes the way of every notice: signed, read and verified.

use std::sync::Arc;

use chrono::Utc;
use poem::{Endpoint, FromRequest, Request, Response, endpoint::make, get, http::StatusCode};
use uuid::Uuid;

use crate::{
    app::App,
    db::payment,
    domain::{
        self,
        audit::Origin,
        payments::{self, Payments},
    },
    http::page,
    input::znc,
    payments::{Decision, Mock, Notice, Provider},
};

/// Its path, for those who list what paths know.
pub const TEMPLATE: &str = "/mock-pay/{id}";
/// The same as poem writes it.
pub const ROUTE: &str = "/mock-pay/:id";

pub fn endpoint(app: Arc<App>) -> impl Endpoint {
    let posted = Arc::clone(&app);
    get(make(move |request: Request| {
        let app = Arc::clone(&app);
        async move { show(&app, &request).await }
    }))
    .post(make(move |request: Request| {
        let app = Arc::clone(&posted);
        async move { decide(&app, request).await }
    }))
}

async fn show(app: &App, request: &Request) -> Response {
    match find(app, request).await {
        Ok(Some((_, _, payment))) if payment.is_pending() => form(&payment),
        Ok(Some((_, _, payment))) => ended(&payment),
        Ok(None) => unknown(),
        Err(error) => failed(&error),
    }
}

async fn decide(app: &App, request: Request) -> Response {
    let (request, mut body) = request.split();
    let (payments, mock, payment) = match find(app, &request).await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown(),
        Err(error) => return failed(&error),
    };
    let origin = request.data::<Origin>().cloned().unwrap_or_default();
    let bytes = Vec::<u8>::from_request(&request, &mut body).await.unwrap_or_default();
    let pressed = url::form_urlencoded::parse(&bytes).find(|(key, _)| key == "decision").map(|(_, value)| value);
    let decision = match pressed.as_deref() {
        Some("pay") => Decision::Pay,
        Some("cancel") => Decision::Cancel,
        _ => return page(StatusCode::BAD_REQUEST, "<p>The form could not be read.</p>"),
    };
    let now = Utc::now();
    let (body, signature) = mock.notice(&payment, decision, now);
    let notice = Notice { body: &body, signature: Some(&signature), sender: origin.ip_address };
    if let Err(error) = payments::take_notice(&app.db, payments, &notice, &origin, now).await {
        return failed(&error);
    }
    match payment::find(&app.db, payment.id).await {
        Ok(Some(payment)) => ended(&payment),
        Ok(None) => unknown(),
        Err(error) => failed(&error.into()),
    }
}

/// The payment that the path names, if it is to be paid here.
async fn find<'a>(
    app: &'a App,
    request: &Request,
) -> Result<Option<(&'a Payments, &'a Mock, payment::Model)>, domain::Error> {
    let id = request.path_params::<Uuid>().ok();
    let payments = app.payments.as_deref();
    let (Some(id), Some(payments @ Payments { provider: Provider::Mock(mock), .. })) = (id, payments) else {
        return Ok(None);
    };
    let payment = payment::find(&app.db, id).await?.filter(|payment| payment.confirmation_url.is_some());
    Ok(payment.map(|payment| (payments, mock, payment)))
}

fn form(payment: &payment::Model) -> Response {
    let content = format!(
        r#"<p>{} ZNC for {} RUB. Nobody is asked for money here.</p>
<form method="post">
<button name="decision" value="pay">Pay</button>
<button name="decision" value="cancel">Cancel</button>
</form>"#,
        znc(payment.amount_znc),
        znc(payment.amount_rub)
    );
    page(StatusCode::OK, &content)
}

fn ended(payment: &payment::Model) -> Response {
    let back = payment.return_url.as_deref().unwrap_or_default();
    // A redirect from here to another origin is what form-action forbids.
    let content = format!(
        r#"<p>The payment is {}.</p>
<p><a href="{}">Back</a></p>"#,
        payment.status,
        escaped(back)
    );
    page(StatusCode::OK, &content)
}

fn unknown() -> Response {
    page(StatusCode::NOT_FOUND, "<p>There is no such payment.</p>")
}

fn failed(error: &domain::Error) -> Response {
    tracing::error!(%error, "the mock payment page failed");
    page(StatusCode::SERVICE_UNAVAILABLE, "<p>This does not work just now. Try again in a moment.</p>")
}

/// A text as an attribute of HTML holds it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

fn page(status: StatusCode, content: &str) -> Response {
    page::small(status, "Mock payment", content)
}
