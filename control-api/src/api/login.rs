//! `/auth`: registering, logging in and out.

use std::sync::Arc;

use chrono::Utc;
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use super::{
    auth_guard::CurrentUser,
    body::{Body, body},
    tag::Tag,
    users::User,
};
use crate::{
    app::App,
    domain::{accounts, audit::Origin},
    http::error::ApiError,
    input::{Email, Flag, FullName, NewPassword, Password, ReferralCode, Username},
};

pub struct Auth;

body! {
    pub struct Register {
        pub email: Email,
        pub username: Username,
        pub password: NewPassword,
        pub full_name: Option<FullName>,
    }
}

body! {
    pub struct Login {
        pub email: Email,
        pub password: Password,
    }
}

#[derive(Object)]
struct LoggedIn {
    access_token: String,
    /// Always `bearer`.
    token_type: String,
    /// In seconds.
    expires_in: u64,
}

#[derive(Object)]
struct LoggedOut {
    /// Always true.
    logged_out: bool,
}

#[derive(ApiResponse)]
enum Registered {
    /// The new account.
    #[oai(status = 201)]
    Created(Json<User>),
}

#[OpenApi(prefix_path = "/api/v1/auth", tag = "Tag::Auth")]
impl Auth {
    /// Opens an account
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        app: Data<&Arc<App>>,
        origin: Data<&Origin>,
        /// The referral code of the user who recommended this
        #[oai(name = "ref")]
        referral_code: Query<Option<ReferralCode>>,
        body: Body<Register>,
    ) -> Result<Registered, ApiError> {
        app.limits.registration(origin.ip_address).await.map_err(ApiError::too_many_registrations)?;
        let registration = accounts::Registration {
            email: body.0.email.0,
            username: body.0.username.0,
            password: body.0.password.0,
            full_name: body.0.full_name.map(|name| name.0),
        };
        let code = referral_code.0.map(|code| code.0);
        let user = accounts::register(&app.db, &app.passwords, &registration, code.as_deref(), origin.0).await?;
        Ok(Registered::Created(Json(user.into())))
    }

    /// Gives a JWT for an e-mail and a password
    ///
    /// After too many failures the caller has to wait, for longer each time.
    #[oai(path = "/login", method = "post", operation_id = "login")]
    async fn login(
        &self,
        app: Data<&Arc<App>>,
        origin: Data<&Origin>,
        body: Body<Login>,
    ) -> Result<Json<LoggedIn>, ApiError> {
        let Login { email, password } = body.0;
        let App { db, passwords, login_throttle, keys, .. } = &***app;
        let login = accounts::Login { email: email.0, password: password.0, origin: origin.0.clone() };
        let user = accounts::log_in(db, passwords, login_throttle, login).await?;
        let access_token = keys.issue(&user, Utc::now());
        let expires_in = keys.lifetime().as_secs();
        Ok(Json(LoggedIn { access_token, token_type: "bearer".to_owned(), expires_in }))
    }

    /// Ends the JWT that it is called with, or every JWT of the user
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(
        &self,
        app: Data<&Arc<App>>,
        user: CurrentUser,
        /// Whether to end every JWT of the user
        all: Query<Option<Flag>>,
    ) -> Result<Json<LoggedOut>, ApiError> {
        if all.0.is_some_and(|all| all.0) {
            accounts::log_out_everywhere(&app.db, &user.0).await?;
        } else {
            accounts::log_out(&app.db, &user.0, user.0.expires_at).await?;
        }
        Ok(Json(LoggedOut { logged_out: true }))
    }
}
