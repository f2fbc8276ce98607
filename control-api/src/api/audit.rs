//! What superusers see of the past: the audit log, and whether the ledger adds up.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use serde_json::Value;

use super::{auth_guard::Superuser, tag::Tag};
use crate::{
    app::App,
    db::{audit_log, transaction::Difference},
    domain::ledger,
    http::error::ApiError,
    input::{Id, Limit, Name, Offset, Timestamp, Znc},
};

pub struct Audit;

/// A line of the audit log.
#[derive(Object)]
struct AuditLine {
    id: Id,
    /// Who did it; null where nobody is known.
    #[oai(nullable)]
    user_id: Option<Id>,
    action: String,
    resource_type: String,
    #[oai(nullable)]
    resource_id: Option<Id>,
    /// What changed, old and new.
    details: Value,
    #[oai(nullable)]
    ip_address: Option<String>,
    #[oai(nullable)]
    user_agent: Option<String>,
    #[oai(nullable)]
    request_id: Option<String>,
    created_at: Timestamp,
    #[oai(nullable)]
    user_email: Option<String>,
    #[oai(nullable)]
    user_username: Option<String>,
}

impl From<audit_log::Line> for AuditLine {
    fn from(line: audit_log::Line) -> Self {
        Self {
            id: Id(line.id),
            user_id: line.user_id.map(Id),
            action: line.action,
            resource_type: line.resource_type,
            resource_id: line.resource_id.map(Id),
            details: line.details,
            ip_address: line.ip_address,
            user_agent: line.user_agent,
            request_id: line.request_id,
            created_at: Timestamp(line.created_at),
            user_email: line.user_email,
            user_username: line.user_username,
        }
    }
}

#[derive(Object)]
struct AuditPage {
    items: Vec<AuditLine>,
    /// 10 000 stands for that many or more.
    total: u64,
    limit: u64,
    offset: u64,
}

/// A user whose balance is not what the ledger says.
#[derive(Object)]
struct LedgerDifference {
    user_id: Id,
    balance: Znc,
    ledger: String,
    lines: i64,
}

impl From<Difference> for LedgerDifference {
    fn from(difference: Difference) -> Self {
        Self {
            user_id: Id(difference.user_id),
            balance: Znc(difference.balance),
            ledger: difference.ledger.to_string(),
            lines: difference.lines,
        }
    }
}

#[derive(Object)]
struct LedgerVerified {
    /// Whether every user's balance is what the ledger says.
    ok: bool,
    users: u64,
    differing: u64,
    /// The first 100 of those.
    differences: Vec<LedgerDifference>,
}

#[OpenApi(prefix_path = "/api/v1/admin", tag = "Tag::Admin")]
impl Audit {
    /// Who did what, newest first
    #[oai(path = "/audit-logs", method = "get", operation_id = "list_audit_logs")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn audit_logs(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
        limit: Query<Option<Limit>>,
        offset: Query<Option<Offset>>,
        user_id: Query<Option<Id>>,
        action: Query<Option<Name>>,
        resource_type: Query<Option<Name>>,
    ) -> Result<Json<AuditPage>, ApiError> {
        let (limit, offset) = (limit.0.unwrap_or_default().0, offset.0.unwrap_or_default().0);
        let filter = audit_log::Filter {
            user_id: user_id.0.map(|id| id.0),
            action: action.0.map(|name| name.0),
            resource_type: resource_type.0.map(|name| name.0),
            ..Default::default()
        };
        let (lines, total) = audit_log::list(&app.db, &filter, limit, offset).await?;
        Ok(Json(AuditPage { items: lines.into_iter().map(AuditLine::from).collect(), total, limit, offset }))
    }

    /// Adds every user's ledger up anew and names those whose balance is another
    #[oai(path = "/ledger/verify", method = "get", operation_id = "verify_ledger")]
    async fn verify_ledger(
        &self,
        app: Data<&Arc<App>>,
        _superuser: Superuser,
    ) -> Result<Json<LedgerVerified>, ApiError> {
        let ledger::Verified { users, differing, differences } = ledger::verify(&app.db).await?;
        let differences = differences.into_iter().map(LedgerDifference::from).collect();
        Ok(Json(LedgerVerified { ok: differing == 0, users, differing, differences }))
    }
}
