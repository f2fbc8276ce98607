//! The dashboard's counts and sums.

use serde_json::json;
use testbed::clients::http::Ask;

use crate::harness::Control;

#[tokio::test]
async fn the_dashboard_counts_users_and_tokens_and_sums_what_moved_by_the_day() {
    let control = Control::start().await;
    let [alice, bob] = [control.user("alice").with_credits("100").await, control.user("bob").with_credits("100").await];
    let [refunded, used] = [alice.buys(24).await, alice.buys(1).await];
    alice.buys(12).await;
    bob.buys(1).await;
    alice.delete(&format!("/tokens/{}", refunded.id)).answer().await.expect(200);
    control.query(&format!("UPDATE access_tokens SET activated_at = now() WHERE id = '{}'", used.id)).await;
    control.admin.changes(&bob, &json!({ "is_active": false })).await.expect(200);
    let admin = &control.admin;
    let stats = admin.get("/admin/stats?days=7").answer().await.expect(200);
    assert_eq!(stats["users"], json!({ "total": 3, "active": 2, "superusers": 1 }));
    let tokens = json!({ "ready": 1, "active": 1, "expired": 0, "revoked": 1, "suspended": 1 });
    assert_eq!((&stats["tokens"], &stats["live_sessions"]), (&tokens, &json!(0)));
    let totals =
        json!({ "revenue": "12.00", "purchases": "30.00", "refunds": "18.00", "deposits": "0.00", "tokens_sold": 4 });
    assert_eq!(stats["totals"], totals);
    let days = stats["days"].as_array().expect("days");
    let today = control.query("SELECT (now() AT TIME ZONE 'UTC')::date").await;
    assert_eq!((days.len(), &days[0]["day"], &days[0]["adjustments"]), (7, &json!(today), &json!("200.00")));
    for days in ["0", "367", "many"] {
        let refused = admin.get(&format!("/admin/stats?days={days}")).answer().await;
        assert_eq!(refused.status, 422, "{days}");
    }
    assert_eq!(alice.get("/admin/stats").answer().await.status, 403);
}
