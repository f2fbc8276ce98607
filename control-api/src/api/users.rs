//! `/users`: one's own account.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json, types::MaybeUndefined};

use super::{
    Tag,
    body::{Body, body},
    error::{ApiError, FieldError},
    guard::CurrentUser,
    scalar::{FullName, Id, NewPassword, Password, Timestamp},
};
use crate::{App, db::user, domain::accounts};

pub struct Users;

/// An account, as its owner sees it.
#[derive(Object)]
pub struct User {
    id: Id,
    email: String,
    username: String,
    #[oai(nullable)]
    full_name: Option<String>,
    is_active: bool,
    is_superuser: bool,
    referral_code: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<user::Model> for User {
    fn from(user: user::Model) -> Self {
        Self {
            id: Id(user.id),
            email: user.email,
            username: user.username,
            full_name: user.full_name,
            is_active: user.is_active,
            is_superuser: user.is_superuser,
            referral_code: user.referral_code,
            created_at: Timestamp(user.created_at),
            updated_at: Timestamp(user.updated_at),
        }
    }
}

body! {
    /// What is absent stays as it is.
    pub struct ChangeProfile {
        #[oai(nullable)]
        pub full_name: MaybeUndefined<FullName>,
        pub password: Option<NewPassword>,
        /// Needed for a new password.
        pub current_password: Option<Password>,
    }
}

impl ChangeProfile {
    fn into_change(self) -> Result<accounts::ProfileChange, Vec<FieldError>> {
        let full_name = match self.full_name {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(name) => Some(Some(name.0)),
        };
        let password = match (self.password, self.current_password) {
            (Some(new), Some(current)) => Some(accounts::PasswordChange { current: current.0, new: new.0 }),
            (Some(_), None) => {
                return Err(vec![FieldError::new("current_password", "is required to set a password")]);
            }
            (None, _) => None,
        };
        Ok(accounts::ProfileChange { full_name, password })
    }
}

#[OpenApi(prefix_path = "/api/v1/users", tag = "Tag::Users")]
impl Users {
    /// The account of whoever calls
    #[oai(path = "/me", method = "get", operation_id = "get_me")]
    async fn me(&self, user: CurrentUser) -> Result<Json<User>, ApiError> {
        Ok(Json(user.0.user.into()))
    }

    /// Changes the account of whoever calls
    ///
    /// A new password ends every login, this one included.
    #[oai(path = "/me", method = "patch", operation_id = "change_me")]
    async fn change_me(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        body: Body<ChangeProfile>,
    ) -> Result<Json<User>, ApiError> {
        let change = body.0.into_change().map_err(ApiError::invalid)?;
        let user = accounts::change_profile(&app.db, &app.passwords, &user.0, change).await?;
        Ok(Json(user.into()))
    }
}
