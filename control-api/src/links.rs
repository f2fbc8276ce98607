//! Addresses that the API and the console both draw.

use shared::token::credential::Credential;

/// The path of the page on which a person sets a password.
pub const SET_PASSWORD: &str = "/set-password";

/// The address of the page for this code.
pub fn password_link(control_origin: &str, code: &Credential) -> String {
    format!("{control_origin}{SET_PASSWORD}?code={}", code.expose())
}
