//! A page as a screen reader has it: what is out of scripts' reach, as in a closed shadow root, is
//! in it too.

use serde_json::{Value, json};

use super::Browser;
use crate::eventually;

/// A part of a page.
#[derive(Debug)]
struct Part {
    role: String,
    name: String,
    node: Value,
}

impl Part {
    fn is(&self, role: &str, name: &str) -> bool {
        self.role == role && self.name.contains(name)
    }
}

impl Browser {
    /// Waits until the part of that role is called so.
    pub async fn reads_out(&self, role: &str, name: &str) {
        eventually!(self.parts().await, |parts| parts.iter().any(|part| part.is(role, name)));
    }

    /// Whether any part of that role is called so now.
    pub async fn has_part(&self, role: &str, name: &str) -> bool {
        self.parts().await.iter().any(|part| part.is(role, name))
    }

    /// Presses the part of that role and name.
    pub async fn presses(&self, role: &str, name: &str) {
        let parts = self.parts().await;
        let part = parts.iter().find(|part| part.is(role, name)).expect("the part is there");
        let object = self.devtools("DOM.resolveNode", &json!({ "backendNodeId": part.node })).await;
        let press =
            json!({ "objectId": object["object"]["objectId"], "functionDeclaration": "function () { this.click(); }" });
        self.devtools("Runtime.callFunctionOn", &press).await;
    }

    async fn parts(&self) -> Vec<Part> {
        self.devtools("Accessibility.enable", &json!({})).await;
        let tree = self.devtools("Accessibility.getFullAXTree", &json!({})).await;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let part = |node: &Value| Part {
            role: text(&node["role"]),
            name: text(&node["name"]),
            node: node["backendDOMNodeId"].clone(),
        };
        nodes.iter().map(part).collect()
    }
}
