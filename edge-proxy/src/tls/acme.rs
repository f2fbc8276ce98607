//! Certificates from an ACME authority (RFC 8555), whose challenges are answered over HTTP (§8.3).
//!
//! Keys stay in a folder: none leaves its machine. What the authority asks may reach any of several
//! edges, so what it is to be answered lies in Redis, where all of them find it. There they take
//! turns too: one orders at a time, and looks first whether the one before has ordered for the same
//! folder. Authorities count orders and failures, so every attempt is written down before it
//! begins, and neither a crash nor a restart makes the next come sooner.

use std::{error::Error, panic::AssertUnwindSafe, path::PathBuf, time::Duration};

use futures_util::FutureExt;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};
use rustls::crypto::ring;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::redis::ACME_TURN_SECONDS;
use uuid::Uuid;

pub use crate::tls::acme_store::Folder;

use crate::{
    clock::Clock,
    redis::Redis,
    telemetry::metrics::Metrics,
    tls::certificates::{Certificates, Certified, Files, Need},
};

/// How long one order may take in all: less than a turn lasts.
const ORDER_WITHIN: Duration = Duration::from_secs(ACME_TURN_SECONDS - 30);
/// How long the authority may take to look at what it was promised, and to issue.
const POLLED: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));
/// How long it is waited at most before a certificate is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// How long it is waited where another edge has the turn, and after a failure at least, of whatever
/// it was.
const TURN_LOOKS_EVERY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(30);
/// Says that an authority has forgotten an account (RFC 8555 §6.7).
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

type Fault = Box<dyn Error + Send + Sync>;

/// An authority, and what it is asked for.
#[derive(Clone, Debug)]
pub struct Acme {
    /// The URL of its directory.
    pub directory: String,
    /// In lower case.
    pub domains: Vec<String>,
    /// Where it writes to when something is wrong.
    pub contact: Option<String>,
    /// Who vouches for the authority's own server, if not the system's roots.
    pub ca_file: Option<PathBuf>,
    pub folder: Folder,
}

/// An account as the folder keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What the authority was told last.
    contact: Option<String>,
    credentials: Value,
}

/// What a look has come to.
enum Looked {
    Ordered,
    /// Another edge did, or does.
    Left,
}

/// Gets a certificate from this authority where there is none, and another when two thirds of its
/// time are over. Never returns.
pub async fn keep(acme: &Acme, certificates: &Certificates, redis: &Redis, clock: &Clock, metrics: &Metrics) {
    let orders = &metrics.acme_orders;
    if let Err(error) = acme.folder.remove_leftovers() {
        tracing::warn!(%error, "ACME_FOLDER: cannot remove leftovers of earlier crashes");
    }
    loop {
        // Without Redis nothing can be ordered, and the time is not known.
        redis.wait_until_connected().await;
        let Some(now) = clock.now_seconds() else {
            tokio::time::sleep(TURN_LOOKS_EVERY).await;
            continue;
        };
        let lasts = acme.lasts(now);
        let rest = lasts.max(acme.pause_after_failures(now));
        if !rest.is_zero() {
            if lasts.is_zero() {
                let remembered = acme.folder.attempts.display();
                tracing::warn!(?rest, %remembered, "ACME orders are paused after failures; delete the file named here to retry at the next start");
            }
            tokio::time::sleep(rest.min(LOOK_EVERY)).await;
            continue;
        }
        // Whatever an authority says ends no more than the order.
        let ordered = AssertUnwindSafe(acme.order_in_turn(redis, now)).catch_unwind().await;
        match ordered.unwrap_or_else(|_| Err("the order panicked".into())) {
            Ok(Looked::Ordered) => {
                orders.with_label_values(&["issued"]).inc();
                certificates.reload();
            }
            Ok(Looked::Left) => tokio::time::sleep(TURN_LOOKS_EVERY).await,
            Err(error) => {
                orders.with_label_values(&["failed"]).inc();
                tracing::error!(
                    error = chain(&*error),
                    authority = acme.directory,
                    "the ACME order failed; retrying in 30 s"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Acme {
    /// The certificate and its key.
    fn files(&self) -> Files {
        in_one_file(self.folder.certificate.clone(), Need::Awaited)
    }

    /// That, and those that were issued for other names: until one for all names is issued, most
    /// have one of these.
    pub fn files_with_fallbacks(&self) -> Vec<Files> {
        let others = self.folder.other_certificates();
        let fallbacks = others.into_iter().map(|path| in_one_file(path, Need::Fallback));
        std::iter::once(self.files()).chain(fallbacks).collect()
    }

    /// How long no order is needed.
    fn lasts(&self, now: i64) -> Duration {
        Certified::of_files(&self.files()).map_or(Duration::ZERO, |certified| certified.lasts(&self.domains, now))
    }

    /// How long no order may be tried. Where that cannot be read, it will not be written either,
    /// and nothing is tried.
    fn pause_after_failures(&self, now: i64) -> Duration {
        self.folder.attempts().unwrap_or_default().rest(now)
    }

    async fn order_in_turn(&self, redis: &Redis, now: i64) -> Result<Looked, Fault> {
        let turn = Uuid::new_v4();
        if !redis.take_acme_turn(turn).await? {
            return Ok(Looked::Left);
        }
        let looked = if self.lasts(now).max(self.pause_after_failures(now)).is_zero() {
            self.attempt(redis, now).await.map(|()| Looked::Ordered)
        } else {
            Ok(Looked::Left)
        };
        if let Err(error) = redis.end_acme_turn(turn).await {
            tracing::warn!(%error, "cannot end the ACME turn; other edges wait until it expires");
        }
        looked
    }

    async fn attempt(&self, redis: &Redis, now: i64) -> Result<(), Fault> {
        self.folder.keep_attempts(self.folder.attempts()?.and_another(now))?;
        let ordered = tokio::time::timeout(ORDER_WITHIN, self.order(redis, now)).await;
        ordered.unwrap_or_else(|_| Err(format!("not done within {ORDER_WITHIN:?}").into()))?;
        Ok(self.folder.forget_attempts()?)
    }

    async fn order(&self, redis: &Redis, now: i64) -> Result<(), Fault> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = match account.new_order(&NewOrder::new(&names)).await {
            Err(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT) => {
                self.folder.forget_account()?;
                return Err(format!("{problem}; the next order makes another account").into());
            }
            ordered => ordered?,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(ChallengeType::Http01);
            let mut challenge = challenge.ok_or("the authority offers no challenge over HTTP")?;
            redis.put_challenge(&challenge.token, challenge.key_authorization().as_str()).await?;
            challenge.set_ready().await?;
        }
        let status = order.poll_ready(&POLLED).await?;
        if status != OrderStatus::Ready {
            return Err(why_not(&mut order, status).await);
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&POLLED).await?;
        let pem = format!("{key}{chain}");
        if Certified::of_pem(pem.as_bytes(), pem.as_bytes())?.lasts(&self.domains, now).is_zero() {
            // To keep it would be to order the next at once, and so on.
            return Err("the certificate is not for these names now; is the clock of Redis right?".into());
        }
        Ok(self.folder.keep_certificate(&pem)?)
    }

    /// The account that is kept in the folder, with the contact that is wanted now, or a new one.
    async fn account(&self) -> Result<Account, Fault> {
        let contact = self.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let Some(kept) = self.folder.account()? else {
            let asked = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) = self.client()?.create(&asked, self.directory.clone(), None).await?;
            self.keep_account(serde_json::to_value(&credentials)?)?;
            return Ok(account);
        };
        let unreadable = |_| "ACME_FOLDER: its account cannot be read";
        let Kept { contact: told, credentials } = serde_json::from_slice(&kept).map_err(unreadable)?;
        let account = serde_json::from_value(credentials.clone()).map_err(unreadable)?;
        let account = self.client()?.from_credentials(account).await?;
        if told != self.contact {
            match account.update_contacts(&contact).await {
                Ok(()) => self.keep_account(credentials)?,
                // No reason to be without a certificate.
                Err(error) => tracing::warn!(%error, "ACME_CONTACT could not be told; it is with the next order"),
            }
        }
        Ok(account)
    }

    fn keep_account(&self, credentials: Value) -> Result<(), Fault> {
        let kept = Kept { contact: self.contact.clone(), credentials };
        Ok(self.folder.keep_account(&serde_json::to_vec(&kept)?)?)
    }

    fn client(&self) -> Result<AccountBuilder, instant_acme::Error> {
        // The first one that is chosen stays, and serves as well.
        let _ = ring::default_provider().install_default();
        match &self.ca_file {
            Some(path) => Account::builder_with_root(path),
            None => Account::builder(),
        }
    }
}

fn in_one_file(path: PathBuf, need: Need) -> Files {
    Files { certificates: path.clone(), key: path, need }
}

/// What the authority found wrong with an order: it says so of each challenge.
async fn why_not(order: &mut instant_acme::Order, status: OrderStatus) -> Fault {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            found.extend(state.challenges.iter().filter_map(|challenge| Some(challenge.error.as_ref()?.to_string())));
        }
    }
    format!("the order is {status:?}: {}", found.join("; ")).into()
}

/// An error with its causes: what a client of HTTP says alone is that there was one.
fn chain(error: &(dyn Error + 'static)) -> String {
    let errors = std::iter::successors(Some(error), |&error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
