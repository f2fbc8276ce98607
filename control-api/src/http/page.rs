//! A small page for those who stand before no console.

use poem::{
    Response,
    http::{StatusCode, header},
};

/// What a page with a form may do: nothing but be styled, and send it here.
const FORM_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A small page of its own, without scripts: `title` and `content` are HTML.
pub fn small(status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 4rem auto; padding: 0 1rem }}
input, button {{ display: block; font: inherit; width: 100%; box-sizing: border-box; margin: .5rem 0; padding: .5rem }}
</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
"#
    );
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, FORM_POLICY)
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-store")
        .body(html)
}
