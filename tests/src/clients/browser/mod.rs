//! A headless Chromium that a test drives: what people do in it, and what they see. What they
//! cannot ask it for is in [`devtools`].

mod devtools;
mod parts;

use std::time::Duration;

use anyhow::Context;
use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use serde_json::{Value, json};

use crate::{
    clients::http::{Ask, client},
    eventually,
    processes::{
        folder::Folder,
        process::{Launch, Process, on_free_ports, ready},
    },
};

pub use devtools::{Theme, Traffic};

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
        eventually!(self.shown(selector).await, |shown| shown.contains(text));
    }

    /// Waits until the element shows `prefix` and a number of at least `least`.
    pub async fn counts(&self, selector: &str, prefix: &str, least: u32) {
        let number = |shown: &String| shown.strip_prefix(prefix)?.trim().parse().ok();
        eventually!(self.shown(selector).await, |shown| number(shown) >= Some(least));
    }

    /// Asks for its page again.
    pub async fn reloads(&self) {
        self.client.refresh().await.expect("the page opens again");
    }

    /// The text that an element shows now.
    pub async fn shown(&self, selector: &str) -> String {
        match self.client.find(Locator::Css(selector)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(error) => format!("{error:?}"),
        }
    }

    /// The element, once it is there: what was pressed before may still be loading a page.
    async fn find(&self, selector: &str) -> Element {
        let found = eventually!(self.client.find(Locator::Css(selector)).await, |found| found.is_ok());
        found.expect("it was found")
    }

    pub async fn types(&self, selector: &str, text: &str) {
        self.find(selector).await.send_keys(text).await.expect("the field takes text");
    }

    /// Types in the place of what a field holds.
    pub async fn types_over(&self, selector: &str, text: &str) {
        let field = self.find(selector).await;
        field.clear().await.expect("the field can be cleared");
        field.send_keys(text).await.expect("the field takes text");
    }

    /// Chooses the option of this value.
    pub async fn selects(&self, selector: &str, value: &str) {
        self.find(selector).await.select_by_value(value).await.expect("the option is there");
    }

    pub async fn clicks(&self, selector: &str) {
        self.find(selector).await.click().await.expect("the element can be clicked");
    }

    /// An attribute of an element; `None` where the element has none of this name.
    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.find(selector).await.attr(name).await.expect("an attribute")
    }

    /// What a field holds.
    pub async fn value(&self, selector: &str) -> String {
        self.find(selector).await.prop("value").await.expect("a property").unwrap_or_default()
    }

    /// Waits until the address of the page satisfies the claim; that address.
    pub async fn comes_to(&self, claim: impl Fn(&str) -> bool) -> String {
        eventually!(self.address().await, |address| claim(address))
    }

    /// Runs a script in the page that it shows, as one of that page's own; what it returns.
    pub async fn runs(&self, script: &str, arguments: &[Value]) -> Value {
        self.client.execute(script, arguments.to_vec()).await.expect("the script runs")
    }

    /// The same of a script that gives its result to the function that is its last argument.
    pub async fn awaits(&self, script: &str, arguments: &[Value]) -> Value {
        self.client.execute_async(script, arguments.to_vec()).await.expect("the script runs to its end")
    }

    /// The source of what the page's first frame shows.
    pub async fn first_frame(&self) -> String {
        self.client.enter_frame(0).await.expect("a frame");
        let source = self.client.source().await.expect("a source");
        self.client.enter_parent_frame().await.expect("the page around it");
        source
    }

    /// Sends JSON from the page that it shows, as that page's own scripts do; the status of the
    /// answer.
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

    /// Ends the browser before its driver is killed, so that its own processes go too.
    pub async fn stops(self) {
        self.client.close().await.expect("the browser ends");
    }
}
