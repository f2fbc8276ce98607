//! What a browser is told and asked past its pages, by the Chrome DevTools Protocol and
//! ChromeDriver's logs: how large its window is, which theme and language it prefers, whether it
//! runs scripts, what its network log holds. Pictures are kept under the build folder.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use fantoccini::wd::WebDriverCompatibleCommand;
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use super::Browser;
use crate::processes::process::build_folder;

/// Below this width a window is a phone's.
const PHONE_BELOW: u32 = 600;
/// Scripts of ours in a page wait for it to be drawn twice: what was to move has moved by then.
const LAYOUT_SHIFT: &str = "const done = arguments[0];
    let shifted = 0;
    const add = (entries) => entries.forEach((entry) => { if (!entry.hadRecentInput) shifted += entry.value; });
    const observer = new PerformanceObserver((list) => add(list.getEntries()));
    observer.observe({ type: 'layout-shift', buffered: true });
    requestAnimationFrame(() => requestAnimationFrame(() => { add(observer.takeRecords()); done(shifted); }));";

/// Which colours a person prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

impl Theme {
    /// As `prefers-color-scheme` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// What its pages have asked for over the network, and got.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Every address, WebSockets too.
    pub requested: Vec<String>,
    /// The status and address of each page, and of each frame's.
    pub documents: Vec<(u64, String)>,
    /// As transferred, heads and all; a whole number, which the protocol has as one that may have a
    /// point in it.
    pub bytes: f64,
}

impl Browser {
    /// Makes the window so large; one as narrow as a phone is a phone's.
    pub async fn resizes_to(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE_BELOW });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
    }

    /// Prefers a theme from now on, as its system does.
    pub async fn prefers(&self, theme: Theme) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme.name() }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features })).await;
    }

    /// Asks for pages in this language from now on.
    pub async fn speaks(&self, tag: &str) {
        let version = self.devtools("Browser.getVersion", &json!({})).await;
        let agent = json!({ "userAgent": version["userAgent"], "acceptLanguage": tag });
        self.devtools("Emulation.setUserAgentOverride", &agent).await;
    }

    /// Runs no script of a page from now on.
    pub async fn runs_no_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true })).await;
    }

    /// Loads everything anew that it had kept.
    pub async fn forgets_what_it_loaded(&self) {
        self.devtools("Network.clearBrowserCache", &json!({})).await;
    }

    /// Is nobody to any server.
    pub async fn forgets_cookies(&self) {
        self.devtools("Network.clearBrowserCookies", &json!({})).await;
    }

    /// Holds a cookie as if the server at this address had set it.
    pub async fn holds_cookie(&self, address: &str, name: &str, value: &str) {
        let cookie = json!({ "url": address, "name": name, "value": value, "httpOnly": true });
        let set = self.devtools("Network.setCookie", &cookie).await;
        assert_eq!(set["success"], true, "no cookie `{name}` at {address}");
    }

    /// The value of a cookie that it would send to this address.
    pub async fn cookie(&self, address: &str, name: &str) -> Option<String> {
        let kept = self.devtools("Network.getCookies", &json!({ "urls": [address] })).await;
        let cookie = kept["cookies"].as_array()?.iter().find(|cookie| cookie["name"] == name)?;
        cookie["value"].as_str().map(str::to_owned)
    }

    /// How much of what the page shows has moved by itself so far: the sum of its layout shifts.
    pub async fn layout_shift(&self) -> f64 {
        self.awaits(LAYOUT_SHIFT, &[]).await.as_f64().expect("a number")
    }

    /// Keeps a picture of the whole page as `screenshots/<name>.png` in the build folder.
    pub async fn keeps_screenshot(&self, name: &str) {
        let size = self.devtools("Page.getLayoutMetrics", &json!({})).await["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let whole = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip, "optimizeForSpeed": true });
        let picture = self.devtools("Page.captureScreenshot", &whole).await;
        let picture = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("a picture in base64");
        let folder = build_folder().expect("a build folder").join("screenshots");
        fs::create_dir_all(&folder).expect("a folder for pictures");
        fs::write(folder.join(format!("{name}.png")), picture).expect("the picture is written");
    }

    /// What its pages have asked for since this or [`Browser::requested`] was last called, as its
    /// own network log has it.
    pub async fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for entry in self.log("performance").await {
            let message = entry["message"].as_str().expect("a message");
            let event: Value = serde_json::from_str(message).expect("an event");
            let params = &event["message"]["params"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match event["message"]["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => traffic.requested.push(text(&params["request"]["url"])),
                "Network.webSocketCreated" => traffic.requested.push(text(&params["url"])),
                "Network.responseReceived" if params["type"] == "Document" => {
                    let response = &params["response"];
                    traffic.documents.push((response["status"].as_u64().unwrap_or_default(), text(&response["url"])));
                }
                "Network.loadingFinished" => {
                    traffic.bytes += params["encodedDataLength"].as_f64().unwrap_or_default();
                }
                _ => {}
            }
        }
        traffic
    }

    /// Every address that its pages have asked for since this or [`Browser::traffic`] was last
    /// called, WebSockets too.
    pub async fn requested(&self) -> Vec<String> {
        self.traffic().await.requested
    }

    /// The errors and warnings that its pages have shown in the console since this was last called.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let complaints =
            entries.iter().filter(|entry| ["SEVERE", "WARNING"].map(Value::from).contains(&entry["level"]));
        complaints.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What was added to one of its logs since it was last read.
    async fn log(&self, name: &str) -> Vec<Value> {
        let log = Command { path: "se/log", body: json!({ "type": name }) };
        let entries = self.client.issue_cmd(log).await.expect("a log");
        entries.as_array().cloned().expect("entries")
    }

    /// What DevTools answers to one of its commands.
    pub(super) async fn devtools(&self, command: &str, params: &Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        let answer = self.client.issue_cmd(Command { path: "goog/cdp/execute", body }).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

/// A command that ChromeDriver knows beyond WebDriver.
#[derive(Debug)]
struct Command {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Command {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
