//! The groups of operations in the document of the API.

use poem_openapi::Tags;

#[derive(Tags)]
pub enum Tag {
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
