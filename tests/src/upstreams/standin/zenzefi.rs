//! The JSON paths that a restricted scope opens, and one that it does not, with data as a
//! certificate server might have it.

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{self, Answer};

/// Answers a path, given as its segments; `None` where Zenzefi has nothing there.
pub fn answer(segments: &[&str]) -> Option<Answer> {
    let value = match *segments {
        ["users", "currentUser"] => json!({
            "userName": "workshop", "firstName": "Walter", "lastName": "Werkstatt", "organisation": "Garage 17",
            "roles": ["ROLE_USER"], "isAuthenticatedAgainstBackend": true
        }),
        ["configurations", "certificatesColumnOrder"] => {
            json!(["serialNo", "certificateType", "ecu", "issuer", "validTo"])
        }
        ["configurations", "certificatesColumnVisibility"] => {
            json!({ "serialNo": true, "certificateType": true, "ecu": true, "issuer": false, "validTo": true })
        }
        ["certificates", ref rest @ ..] => return certificates(rest),
        _ => return None,
    };
    Some(answer::json(StatusCode::OK, &value))
}

fn certificates(rest: &[&str]) -> Option<Answer> {
    let value = match *rest {
        ["filter"] => json!({ "items": all(), "total": all().len(), "page": 0, "pageSize": 20 }),
        ["details", id, ..] => match all().into_iter().find(|certificate| certificate["id"] == id) {
            Some(certificate) => certificate,
            None => certificate(id, "0000", "UNKNOWN", "ECU-00", false),
        },
        ["export", id, ..] => return Some(exported(id)),
        ["import", ..] => json!({ "imported": 1, "failed": 0, "messages": [] }),
        ["remove"] => json!({ "removed": 1, "remaining": all().len() - 1 }),
        // Beside `remove`, but another thing: a matcher by prefix would let it through.
        ["removeAll"] => json!({ "removed": all().len(), "remaining": 0 }),
        ["restore"] => json!({ "restored": 1, "remaining": all().len() }),
        ["activeForTesting"] => active().into(),
        ["activeForTesting", "enhanced"] => json!({ "items": active(), "checkedAt": "2026-11-01T08:00:00Z" }),
        ["activeForTesting", change @ ("activate" | "deactivate"), id, ..] => {
            json!({ "id": id, "active": change == "activate" })
        }
        ["activeForTesting", "options", id, ..] => json!({ "id": id, "options": ["FLASH", "CODING", "DIAGNOSIS"] }),
        ["activeForTesting", "usecases", id, ..] => {
            json!({ "id": id, "useCases": [{ "name": "Variant coding", "rank": 1 }] })
        }
        ["update", "cancel"] => json!({ "cancelled": true }),
        ["update", "metrics"] => {
            json!({ "downloaded": 12, "pending": 3, "failed": 0, "lastRun": "2026-11-01T06:30:00Z" })
        }
        ["update", ..] => json!({ "started": true, "session": "b4c0" }),
        ["checkSystemIntegrityReport"] => json!({ "status": "OK", "checked": 4, "errors": [] }),
        ["checkSystemIntegrityLog"] => {
            json!({ "lines": ["2026-11-01T06:30:00Z integrity check started", "4 certificates good"] })
        }
        ["checkSystemIntegrityLogExistance"] => json!({ "exists": true }),
        _ => return None,
    };
    Some(answer::json(StatusCode::OK, &value))
}

fn all() -> Vec<Value> {
    vec![
        certificate("c-1001", "4A3F00C1", "DIAGNOSTIC_AUTHENTICATION", "ECU-17", true),
        certificate("c-1002", "4A3F00C2", "ENHANCED_RIGHTS", "ECU-17", true),
        certificate("c-1003", "4A3F00D9", "TIME", "ECU-42", false),
        certificate("c-1004", "4A3F00E0", "VARIANT_CODING", "ECU-08", false),
    ]
}

fn active() -> Vec<Value> {
    all().into_iter().filter(|certificate| certificate["activeForTesting"] == true).collect()
}

fn certificate(id: &str, serial: &str, kind: &str, ecu: &str, active: bool) -> Value {
    json!({
        "id": id, "serialNo": serial, "certificateType": kind, "ecu": ecu, "issuer": "Zenzefi Test CA 3",
        "validFrom": "2026-01-01T00:00:00Z", "validTo": "2027-12-31T23:59:59Z", "activeForTesting": active
    })
}

fn exported(id: &str) -> Answer {
    let body = format!("-----BEGIN CERTIFICATE-----\nnot a real one: {id}\n-----END CERTIFICATE-----\n");
    let mut answer = answer::ok("application/x-pem-file", body);
    answer
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"certificate.pem\""));
    answer
}
