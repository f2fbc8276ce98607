//! `/users`: one's own account.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, payload::Json, types::MaybeUndefined};

use super::{
    auth_guard::CurrentUser,
    body::{Body, body},
    tag::Tag,
};
use crate::{
    app::App,
    db::{referral, user},
    domain::accounts,
    http::error::{ApiError, FieldError},
    input::{FullName, Id, NewPassword, Password, Timestamp, Znc},
};

/// How many of those whom they brought a person sees; the list does not page.
const REFERRED_MAX: u64 = 1_000;

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

/// What came of everybody whom an account brought.
#[derive(Object)]
struct Referrals {
    referral_code: String,
    /// Who registers by it was brought by this account.
    referral_link: String,
    total_referrals: i64,
    /// How many of them made a first purchase that brings a bonus.
    qualifying_referrals: i64,
    total_bonus_earned: Znc,
    /// What is still to come as what they bought is used.
    pending_bonus: Znc,
    /// The newest 1000.
    referred_users: Vec<ReferredUser>,
}

#[derive(Object)]
struct ReferredUser {
    id: Id,
    username: String,
    created_at: Timestamp,
    has_made_qualifying_purchase: bool,
}

impl From<referral::Referred> for ReferredUser {
    fn from(user: referral::Referred) -> Self {
        Self {
            id: Id(user.id),
            username: user.username,
            created_at: Timestamp(user.created_at),
            has_made_qualifying_purchase: user.has_made_qualifying_purchase,
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
    /// The caller's account
    #[oai(path = "/me", method = "get", operation_id = "get_me")]
    async fn me(&self, user: CurrentUser) -> Result<Json<User>, ApiError> {
        Ok(Json(user.0.user.into()))
    }

    /// The users whom the caller recommended, and their bonuses
    #[oai(path = "/me/referrals", method = "get", operation_id = "get_my_referrals")]
    async fn referrals(&self, app: Data<&Arc<App>>, user: CurrentUser) -> Result<Json<Referrals>, ApiError> {
        let user = user.0.user;
        let totals = referral::totals(&app.db, user.id).await?;
        let referred = referral::list(&app.db, user.id, REFERRED_MAX).await?;
        Ok(Json(Referrals {
            referral_link: format!("{}/register?ref={}", app.config.control_origin, user.referral_code),
            referral_code: user.referral_code,
            total_referrals: totals.referred,
            qualifying_referrals: totals.qualifying,
            total_bonus_earned: Znc(totals.earned),
            pending_bonus: Znc(totals.pending),
            referred_users: referred.into_iter().map(ReferredUser::from).collect(),
        }))
    }

    /// Changes the caller's account
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
