//! The OpenAPI document and the answers agree, whatever is sent: Schemathesis draws requests from
//! the document, good ones and bad ones, and sequences of them.

use std::process::Stdio;
use testbed::people::User;

use serde_json::json;
use testbed::{clients::http::Ask, processes::process::build_folder};
use tokio::process::Command;

use crate::harness::{Control, MOCK_PAYMENTS};

/// Beside those that ask whether a request that fits the schema is done: a balance may be too low,
/// a name taken.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,missing_required_header,unsupported_method,allow_header_conformance,ignored_auth";
const CASES_EACH: &str = "15";
/// Calls after which the caller may be somebody else, or nobody: they are made by
/// themselves.
const ENDING: [&str; 3] = ["logout", "change_me", "change_user"];

/// Runs it, as `person` or without a login, on all calls but `ENDING`, or on those alone.
async fn provoke(control: &Control, person: Option<&User>, ending: bool) {
    let program = build_folder().expect("a build folder").join("tools/schemathesis/bin/schemathesis");
    let mut command = Command::new(&program);
    command.args(["run", &control.url("/openapi.json"), "--checks", CHECKS, "--max-examples", CASES_EACH]);
    command.args(["--workers", "1", "--seed", "1", "--continue-on-failure", "--no-color"]);
    for id in ENDING {
        command.args([if ending { "--include-operation-id" } else { "--exclude-operation-id" }, id]);
    }
    if let Some(person) = person {
        command.args(["--header", &format!("Authorization: Bearer {}", person.jwt)]);
    }
    let run = command.current_dir(control.folder.path()).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let run =
        run.unwrap_or_else(|error| panic!("{}: {error}; deploy/install-tools.sh test installs it", program.display()));
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(said.contains(phase), "no {phase}:\n{said}");
    }
}

#[tokio::test]
async fn answers_without_a_login_are_as_documented() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    provoke(&control, None, false).await;
    provoke(&control, None, true).await;
}

#[tokio::test]
async fn answers_to_a_user_are_as_documented() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let alice = control.user("alice").with_credits("1000000").await;
    provoke(&control, Some(&alice), false).await;
    assert_ne!(control.query("SELECT count(*) FROM access_tokens").await, "0", "no good request was among them");
    provoke(&control, Some(&alice), true).await;
    control.plane.runs(&["ledger", "verify"]).await.expect("the ledger adds up");
}

#[tokio::test]
async fn answers_to_an_admin_are_as_documented() {
    let control = Control::start_with(MOCK_PAYMENTS).await;
    let admin = &control.admin;
    control.admin.changes(admin, &json!({ "currency_balance": "1000000" })).await.expect(200);
    provoke(&control, Some(admin), false).await;
    let listed = admin.get("/admin/tokens?active_only=false").answer().await.expect(200);
    assert_ne!(listed["total"], 0, "no good request was among them");
    provoke(&control, Some(admin), true).await;
    control.plane.runs(&["ledger", "verify"]).await.expect("the ledger adds up");
}
