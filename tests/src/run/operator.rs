//! The operator who sets a new stack up: makes the superuser and buys the first token, through the
//! public interfaces.

use std::path::Path;

use anyhow::{Context, bail};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use testbed::{
    clients::http::Ask,
    processes::programs::{Environment, create_superuser},
};

use super::folder::Secrets;

pub const SUPERUSER_EMAIL: &str = "admin@example.com";
const FIRST_BALANCE: &str = "1000.00";
const FIRST_TOKEN_HOURS: u32 = 24;

/// Reaches a stack at these origins.
pub struct Operator<'a> {
    pub control: &'a str,
    pub edge: &'a str,
    pub http: reqwest::Client,
}

impl Operator<'_> {
    /// The JWT and the user id of the superuser; `None` where there is no such user yet.
    async fn log_in(&self, password: &str) -> anyhow::Result<Option<(String, String)>> {
        let body = json!({ "email": SUPERUSER_EMAIL, "password": password });
        let login = self.http.post(format!("{}/api/v1/auth/login", self.control)).json(&body).try_answer().await?;
        if login.status == 401 {
            return Ok(None);
        }
        let jwt = member(&serde_json::from_slice(&login.body)?, "access_token")?;
        let me = asked(self.http.get(format!("{}/api/v1/users/me", self.control)).bearer_auth(&jwt)).await?;
        Ok(Some((jwt, member(&me, "id")?)))
    }

    async fn is_good(&self, token: &str) -> anyhow::Result<bool> {
        let status = self.http.get(format!("{}/api/v1/proxy/status", self.edge)).header("X-Access-Token", token);
        Ok(status.try_answer().await?.status == 200)
    }

    async fn buy(&self, jwt: &str, user_id: &str) -> anyhow::Result<String> {
        let balance = json!({ "currency_balance": FIRST_BALANCE, "reason": "first balance of a local stack" });
        let user = format!("{}/api/v1/admin/users/{user_id}", self.control);
        asked(self.http.patch(user).bearer_auth(jwt).json(&balance)).await?;
        let wanted = json!({ "duration_hours": FIRST_TOKEN_HOURS, "scope": "full" });
        let purchase = self.http.post(format!("{}/api/v1/tokens/purchase", self.control));
        member(&asked(purchase.bearer_auth(jwt).json(&wanted)).await?, "token")
    }
}

/// Makes the superuser in the first run, and buys a token whenever the last one is no longer good.
pub async fn first_token(
    operator: &Operator<'_>,
    secrets: &mut Secrets,
    logs: &Path,
    environment: &Environment,
) -> anyhow::Result<String> {
    let login = match operator.log_in(&secrets.superuser_password).await? {
        Some(login) => login,
        None => {
            create_superuser(SUPERUSER_EMAIL, &secrets.superuser_password, logs, environment).await?;
            operator.log_in(&secrets.superuser_password).await?.context("the new superuser cannot log in")?
        }
    };
    if let Some(token) = &secrets.token
        && operator.is_good(token).await?
    {
        return Ok(token.clone());
    }
    let token = operator.buy(&login.0, &login.1).await?;
    secrets.token = Some(token.clone());
    Ok(token)
}

/// The JSON of a successful answer.
async fn asked(request: RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.try_answer().await?;
    if !(200..300).contains(&answer.status) {
        bail!("{} {}", answer.status, answer.text());
    }
    Ok(serde_json::from_slice(&answer.body)?)
}

fn member(value: &Value, name: &str) -> anyhow::Result<String> {
    Ok(value[name].as_str().with_context(|| format!("no `{name}` in the answer"))?.to_owned())
}
