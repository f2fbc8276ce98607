//! A headless Chromium that a test drives, with pictures kept under the build folder.

use std::{fs, time::Duration};

use anyhow::Context;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

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
        match Self::try_start().await {
            Ok(browser) => browser,
            Err(error) => panic!("no browser: {error:?}"),
        }
    }

    async fn try_start() -> anyhow::Result<Self> {
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
        let flags: Vec<&str> = FLAGS.into_iter().chain([profile.as_str(), "--window-size=1280,900"]).collect();
        let options = json!({ "goog:chromeOptions": { "args": flags } });
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

    pub async fn address(&self) -> String {
        self.client.current_url().await.expect("an address").to_string()
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
