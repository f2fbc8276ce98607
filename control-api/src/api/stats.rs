//! Counts and sums for the console's dashboard.

use std::sync::Arc;

use chrono::{Days as Span, Utc};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{auth_guard::Superuser, tag::Tag};
use crate::{
    app::App,
    db::{session, stats},
    http::error::ApiError,
    input::{Days, SignedZnc, Znc},
};

pub struct Stats;

/// 50 000 stands for that many or more.
#[derive(Object)]
struct UserStats {
    total: u64,
    active: u64,
    /// Active ones.
    superusers: u64,
}

/// Tokens by state; 50 000 stands for that many or more.
#[derive(Object)]
struct TokenStats {
    ready: u64,
    active: u64,
    expired: u64,
    revoked: u64,
    suspended: u64,
}

/// What moved on one day (UTC).
#[derive(Object)]
struct DayStats {
    /// As `2026-01-31`.
    day: String,
    /// What was sold less what was given back.
    revenue: SignedZnc,
    purchases: Znc,
    refunds: Znc,
    /// Top-ups.
    deposits: Znc,
    referral_bonuses: Znc,
    adjustments: SignedZnc,
    tokens_sold: i64,
}

impl From<stats::Day> for DayStats {
    fn from(day: stats::Day) -> Self {
        Self {
            day: day.day.to_string(),
            revenue: SignedZnc(day.purchases - day.refunds),
            purchases: Znc(day.purchases),
            refunds: Znc(day.refunds),
            deposits: Znc(day.deposits),
            referral_bonuses: Znc(day.referral_bonuses),
            adjustments: SignedZnc(day.adjustments),
            tokens_sold: day.tokens_sold,
        }
    }
}

#[derive(Object)]
struct Dashboard {
    users: UserStats,
    tokens: TokenStats,
    /// Sessions that have not ended.
    live_sessions: i64,
    /// The sums of `days`.
    totals: DayTotals,
    /// The newest first, today among them.
    days: Vec<DayStats>,
}

#[derive(Object)]
struct DayTotals {
    revenue: SignedZnc,
    purchases: Znc,
    refunds: Znc,
    deposits: Znc,
    tokens_sold: i64,
}

impl DayTotals {
    fn of(days: &[stats::Day]) -> Self {
        let sum = |amount: fn(&stats::Day) -> rust_decimal::Decimal| days.iter().map(amount).sum();
        let (purchases, refunds) = (sum(|day| day.purchases), sum(|day| day.refunds));
        Self {
            revenue: SignedZnc(purchases - refunds),
            purchases: Znc(purchases),
            refunds: Znc(refunds),
            deposits: Znc(sum(|day| day.deposits)),
            tokens_sold: days.iter().map(|day| day.tokens_sold).sum(),
        }
    }
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Admin")]
impl Stats {
    /// How things stand, and what moved in the last days
    #[oai(path = "/stats", method = "get", operation_id = "get_stats")]
    async fn stats(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
        /// How many days, 30 if absent
        days: Query<Option<Days>>,
    ) -> Result<Json<Dashboard>, ApiError> {
        let (db, now) = (&app.db, Utc::now());
        let today = now.date_naive();
        let first = today - Span::new(days.0.unwrap_or_default().0 - 1);
        let users = stats::users(db).await?;
        let tokens = stats::tokens(db, app.config.hour, now).await?;
        let days = stats::days(db, first, today).await?;
        Ok(Json(Dashboard {
            users: UserStats { total: users.total, active: users.active, superusers: users.superusers },
            tokens: TokenStats {
                ready: tokens.ready,
                active: tokens.active,
                expired: tokens.expired,
                revoked: tokens.revoked,
                suspended: tokens.suspended,
            },
            live_sessions: session::count_open(db).await?,
            totals: DayTotals::of(&days),
            days: days.into_iter().map(DayStats::from).collect(),
        }))
    }
}
