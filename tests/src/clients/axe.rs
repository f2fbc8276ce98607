//! axe-core, which finds what keeps people out who read a page by another sense than most. It is
//! run in the page that a browser shows, from outside: the page's policy has no say in it, and the
//! page knows nothing of it.

use std::fs;

use serde_json::{Value, json};

use crate::{
    clients::browser::{Browser, Theme},
    processes::process::build_folder,
};

/// Where `deploy/install-tools.sh test` puts it, below the build folder.
const SCRIPT: &str = "tools/axe-core/axe.min.js";
const RUN: &str = "const [options, done] = arguments;
    axe.run(document, { resultTypes: ['violations'], ...options }).then((found) => done(found.violations), (error) => done(String(error)));";
/// The impacts that are not taken, as axe names them.
const GRAVE: [&str; 2] = ["serious", "critical"];

/// The rules that are about colours.
const COLOURS: [&str; 2] = ["color-contrast", "link-in-text-block"];

/// The script, read once.
#[derive(Debug)]
pub struct Axe {
    script: String,
}

impl Axe {
    pub fn installed() -> Self {
        let path = build_folder().expect("a build folder").join(SCRIPT);
        let script = fs::read_to_string(&path);
        let script = script.unwrap_or_else(|error| {
            panic!("{}: {error}; deploy/install-tools.sh test installs it", path.display());
        });
        Self { script }
    }

    /// Brings the script into the page that is shown, until another is.
    pub async fn enters(&self, browser: &Browser) {
        browser.runs(&self.script, &[]).await;
    }

    /// What it finds grave in the page as it looks now in this theme: the rule, and where it is
    /// broken. What is no matter of colours is looked at by day alone.
    pub async fn finds(&self, browser: &Browser, theme: Theme) -> Vec<String> {
        let options = match theme {
            Theme::Light => json!({}),
            Theme::Dark => json!({ "runOnly": COLOURS }),
        };
        let found = browser.awaits(RUN, &[options]).await;
        let violations = found.as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
        let is_grave = |violation: &&Value| GRAVE.map(Value::from).contains(&violation["impact"]);
        violations.iter().filter(is_grave).flat_map(lines).collect()
    }
}

/// A line for each place where a rule is broken.
fn lines(violation: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (rule, impact) = (text(&violation["id"]), text(&violation["impact"]));
    let nodes = violation["nodes"].as_array().into_iter().flatten();
    let line = |node: &Value| {
        let why = text(&node["failureSummary"]).replace('\n', " ");
        format!("{rule} ({impact}) at {}: {why} {}", node["target"], text(&node["html"]))
    };
    nodes.map(line).collect()
}
