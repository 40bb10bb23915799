//! A real browser, headless, through its driver.

use anyhow::{Context, Result};
use fantoccini::{Client, ClientBuilder};
use quicksale_tests::ports;
use serde_json::json;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a page may take to show something.
pub(crate) const SHOWN: Duration = Duration::from_secs(30);

/// A browser and its driver; both end with [`close`](Self::close).
pub(crate) struct Browser {
    driver: Child,
    /// Its one window.
    pub(crate) page: Client,
}

impl Browser {
    /// Starts one.
    pub(crate) async fn open() -> Result<Self> {
        let [port] = ports::free()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver is not installed: hack/tools.sh chromium")?;
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
        ];
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let options = json!({"goog:chromeOptions": {"args": arguments}});
        builder.capabilities(options.as_object().cloned().unwrap_or_default());
        let deadline = tokio::time::Instant::now() + SHOWN;
        loop {
            match builder.connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(page) => return Ok(Self { driver, page }),
                Err(error) if tokio::time::Instant::now() > deadline => {
                    return Err(error).context("no browser");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Ends it.
    pub(crate) async fn close(mut self) -> Result<()> {
        let closed = self.page.close().await;
        self.driver.kill()?;
        self.driver.wait()?;
        Ok(closed?)
    }
}
