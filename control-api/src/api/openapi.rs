//! The OpenAPI document: what the derive macros give, with what they cannot know put right.

use serde_json::{Map, Value, json};

/// Refusals that only some operations can answer. All others follow from an operation's shape.
const PARTICULAR: [(&str, &[&str]); 14] = [
    ("register", &["429"]),
    ("login", &["401", "429"]),
    ("purchase_token", &["402", "409"]),
    ("restrict_token", &["404"]),
    ("refund_token", &["404", "409"]),
    ("extend_token", &["402", "404"]),
    ("rotate_token", &["404"]),
    ("open_token", &["404"]),
    ("release_device", &["404"]),
    ("try_access", &["404"]),
    ("get_bundle", &["404"]),
    ("purchase_bundle", &["402", "404", "409"]),
    ("mock_purchase", &["404", "409"]),
    ("notify_payment", &["401", "409"]),
];

/// The same for what superusers call.
const PARTICULAR_TO_ADMINS: [(&str, &[&str]); 9] = [
    ("change_user", &["404", "409"]),
    ("draw_password_link", &["404"]),
    ("clear_login_failures", &["404"]),
    ("restrict_any_token", &["404"]),
    ("revoke_token", &["404"]),
    ("end_session", &["404"]),
    ("create_bundle", &["409"]),
    ("change_bundle", &["404", "409"]),
    ("delete_bundle", &["404"]),
];

/// The document of this build, as `/openapi.json` serves it.
pub fn document() -> String {
    complete(&super::service().spec())
}

/// Puts a generated document right: each operation lists the statuses that it can answer and no
/// others, and unsigned numbers say that they are.
pub fn complete(generated: &str) -> String {
    let mut document: Value = serde_json::from_str(generated).expect("the generated document is JSON");
    if let Some(paths) = document["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            keep_possible_responses(operation);
        }
    }
    bound_unsigned(&mut document);
    serde_json::to_string_pretty(&document).expect("a JSON value renders")
}

fn keep_possible_responses(operation: &mut Value) {
    let has = |key: &str| operation[key].as_array().is_some_and(|items| !items.is_empty());
    let (guarded, has_parameters, has_body) = (has("security"), has("parameters"), !operation["requestBody"].is_null());
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let particular = PARTICULAR.iter().chain(&PARTICULAR_TO_ADMINS).find(|(operation, _)| *operation == id);
    let particular = particular.map_or(&[][..], |(_, statuses)| statuses);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    responses.retain(|status, _| match status.as_str() {
        // The layer around all operations looks at addresses, headers and a body whatever the
        // operation wants of them.
        "400" | "403" | "408" | "413" => true,
        "401" | "429" if guarded => true,
        "415" => has_body,
        "422" => has_body || has_parameters,
        "405" => false,
        "401" | "402" | "404" | "409" | "429" => particular.contains(&status.as_str()),
        _ => true,
    });
}

/// Schemas of unsigned integers come without their lower bound.
fn bound_unsigned(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let unsigned =
                fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint"));
            if unsigned && !fields.contains_key("minimum") {
                fields.insert("minimum".to_owned(), json!(0));
            }
            fields.values_mut().for_each(bound_unsigned);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_unsigned),
        _ => {}
    }
}
