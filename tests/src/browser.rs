//! A headless Chromium that a test drives, with pictures kept under the build folder.

use std::{fs, time::Duration};

use anyhow::Context;
use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::{
    client::{Ask, client},
    eventually,
    folder::Folder,
    process::{Launch, Process, build_folder, on_free_ports, ready},
};

/// Without the last few, Chromium calls home at every start.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser of one test's own: no cookie, no cache but its own.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    _driver: Process,
    _folder: Folder,
}

impl Browser {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One that takes any certificate for good.
    pub async fn start_trusting() -> Self {
        Self::start_with(&["--ignore-certificate-errors"]).await
    }

    /// One whose person reads this language best.
    pub async fn start_reading(language: &str) -> Self {
        Self::start_with(&[&format!("--lang={language}"), &format!("--accept-lang={language}")]).await
    }

    async fn start_with(flags: &[&str]) -> Self {
        match Self::try_start(flags).await {
            Ok(browser) => browser,
            Err(error) => panic!("no browser: {error:?}"),
        }
    }

    async fn try_start(more_flags: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::temporary()?;
        let started = on_free_ports(async |[port]| {
            let driver =
                Launch::new("chromedriver", "chromedriver", folder.path()).arg(format!("--port={port}")).spawn();
            let driver = driver.context("install Debian's packages chromium and chromium-driver")?;
            let status = client().build()?.get(format!("http://127.0.0.1:{port}/status"));
            let answers = async || {
                let status = status.try_clone().expect("a request without a body");
                status.try_answer().await.map(drop).map_err(|error| error.to_string())
            };
            ready(&driver, Duration::from_secs(30), answers).await?;
            Ok((driver, port))
        });
        let (driver, port) = started.await?;
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let own = [profile.as_str(), "--window-size=1280,1100"];
        let flags: Vec<&str> = FLAGS.into_iter().chain(own).chain(more_flags.iter().copied()).collect();
        let options = json!({
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
        });
        let capabilities = options.as_object().cloned().context("an object")?;
        let driver_url = format!("http://127.0.0.1:{port}");
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&driver_url)
            .await?;
        Ok(Self { client, _driver: driver, _folder: folder })
    }

    pub async fn opens(&self, address: &str) {
        self.client.goto(address).await.expect("the page opens");
    }

    /// Waits until the element shows this text.
    pub async fn shows(&self, selector: &str, text: &str) {
        eventually!(self.text(selector).await, |shown| shown.contains(text));
    }

    /// Waits until the element shows `prefix` and a number of at least `least`.
    pub async fn counts(&self, selector: &str, prefix: &str, least: u32) {
        let number = |shown: &String| shown.strip_prefix(prefix)?.trim().parse().ok();
        eventually!(self.text(selector).await, |shown| number(shown) >= Some(least));
    }

    /// Waits until the part of that role, which may be out of scripts' reach, is called so by a screen reader.
    pub async fn speaks(&self, role: &str, name: &str) {
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
        let object = self.devtools("DOM.resolveNode", json!({ "backendNodeId": part.node })).await;
        let press =
            json!({ "objectId": object["object"]["objectId"], "functionDeclaration": "function () { this.click(); }" });
        self.devtools("Runtime.callFunctionOn", press).await;
    }

    /// What a screen reader finds on the page.
    async fn parts(&self) -> Vec<Part> {
        self.devtools("Accessibility.enable", json!({})).await;
        let tree = self.devtools("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let part = |node: &Value| Part {
            role: text(&node["role"]),
            name: text(&node["name"]),
            node: node["backendDOMNodeId"].clone(),
        };
        nodes.iter().map(part).collect()
    }

    /// Shows its pages as wide as this, to somebody who likes them dark or light.
    pub async fn looks(&self, width: u32, theme: &str) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let theme = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", theme).await;
    }

    /// What a script in the page gives.
    pub async fn evaluates(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("the script runs")
    }

    /// Asks for its page again.
    pub async fn reloads(&self) {
        self.client.refresh().await.expect("the page opens again");
    }

    /// What Chromium's own tools answer.
    async fn devtools(&self, command: &'static str, params: Value) -> Value {
        self.client.issue_cmd(Devtools(command, params)).await.expect("an answer of the browser's tools")
    }

    /// The value of an element's attribute.
    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let element = self.client.find(Locator::Css(selector)).await.expect("the element is there");
        element.attr(name).await.expect("an attribute or none")
    }

    async fn text(&self, selector: &str) -> String {
        match self.client.find(Locator::Css(selector)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(error) => format!("{error:?}"),
        }
    }

    pub async fn types(&self, selector: &str, text: &str) {
        let field = self.client.find(Locator::Css(selector)).await.expect("the field is there");
        field.send_keys(text).await.expect("the field takes text");
    }

    pub async fn clicks(&self, selector: &str) {
        let element = self.client.find(Locator::Css(selector)).await.expect("the element is there");
        element.click().await.expect("the element can be clicked");
    }

    /// Sends JSON from the page that it shows, as that page's own scripts do; the status of the answer.
    pub async fn posts(&self, path: &str, body: &Value) -> u64 {
        let script = "const [path, body, done] = arguments;
            const headers = { 'content-type': 'application/json' };
            fetch(path, { method: 'POST', headers, body: JSON.stringify(body) }).then((answer) => done(answer.status));";
        let status = self.client.execute_async(script, vec![path.into(), body.clone()]).await.expect("an answer");
        status.as_u64().expect("a status")
    }

    pub async fn address(&self) -> String {
        self.client.current_url().await.expect("an address").to_string()
    }

    /// Every address that its pages have asked for since this was last called, WebSockets too, as its own network log has them.
    pub async fn requested(&self) -> Vec<String> {
        let entries = self.log("performance").await;
        let addresses = entries.iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let (method, params) = (event["message"]["method"].as_str()?, &event["message"]["params"]);
            let address = match method {
                "Network.requestWillBeSent" => &params["request"]["url"],
                "Network.webSocketCreated" => &params["url"],
                _ => return None,
            };
            address.as_str().map(str::to_owned)
        });
        addresses.collect()
    }

    /// The errors and warnings that its pages have shown in the console since this was last called.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let complaints =
            entries.iter().filter(|entry| ["SEVERE", "WARNING"].map(Value::from).contains(&entry["level"]));
        complaints.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What was added to one of its logs since it was last read.
    async fn log(&self, name: &'static str) -> Vec<Value> {
        let entries = self.client.issue_cmd(ReadLog(name)).await.expect("a log");
        entries.as_array().cloned().expect("entries")
    }

    /// Keeps a picture of the page as `screenshots/<name>.png` in the build folder.
    pub async fn keeps_screenshot(&self, name: &str) {
        let picture = self.client.screenshot().await.expect("a picture");
        let folder = build_folder().expect("a build folder").join("screenshots");
        fs::create_dir_all(&folder).expect("a folder for pictures");
        fs::write(folder.join(format!("{name}.png")), picture).expect("the picture is written");
    }

    /// Ends the browser before its driver is killed, so that its own processes go too.
    pub async fn stops(self) {
        self.client.close().await.expect("the browser ends");
    }
}

/// A part of a page as a screen reader has it.
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

/// ChromeDriver's way to Chromium's own tools.
#[derive(Debug)]
struct Devtools(&'static str, Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/goog/cdp/execute", session_id.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}

/// ChromeDriver's command that gives what a log has got since the last time.
#[derive(Debug)]
struct ReadLog(&'static str);

impl WebDriverCompatibleCommand for ReadLog {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/se/log", session_id.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": self.0 }).to_string()))
    }
}
