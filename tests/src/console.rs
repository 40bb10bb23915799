//! A console of one sale, as a process of its own.

use crate::{
    ports,
    shop::Answer,
    world::{World, eventually},
};
use anyhow::{Context, Result};
use reqwest::{Method, header};
use sale::SaleId;
use serde_json::{Value, json};
use std::{
    process::{Child, Stdio},
    time::Duration,
};
use tokio::sync::Mutex;

/// How long it may take to be ready.
const STARTING: Duration = Duration::from_secs(60);
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether administrators may change something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switches {
    /// They may.
    Allow,
    /// They may only look.
    Withhold,
}

/// A running console, and somebody who is logged in or not.
pub struct Console {
    /// Its process, where it is the test's own.
    process: Option<Child>,
    http: reqwest::Client,
    /// Where it is.
    base: String,
    /// Path of the sale in its API.
    pub sale: String,
    cookie: Mutex<Option<String>>,
}

impl Console {
    /// Starts one and waits until it is ready.
    pub async fn of(world: &World, switches: Switches) -> Result<Self> {
        let [port, admin_port] = ports::free()?;
        let mut command = world.command("console")?;
        command
            .args([
                "--port",
                &port.to_string(),
                "--admin-port",
                &admin_port.to_string(),
            ])
            .args(["--bind", "127.0.0.1", "--cookies", "http"])
            .args(["--metrics-targets", &world.metrics_targets()])
            .args([
                "--switches",
                if switches == Switches::Allow {
                    "allow"
                } else {
                    "withhold"
                },
            ])
            .stdin(Stdio::null());
        let process = command.spawn().context("the console cannot be started")?;
        let http = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let console = Self {
            process: Some(process),
            http,
            base: format!("http://127.0.0.1:{port}"),
            sale: path(&world.config.sale),
            cookie: Mutex::default(),
        };
        let ready = format!("http://127.0.0.1:{admin_port}/readyz");
        let is_ready = async || {
            let asked = console.http.get(&ready).send().await;
            Ok(asked.is_ok_and(|answer| answer.status().is_success()))
        };
        eventually(STARTING, "the console is ready", is_ready)
            .await
            .with_context(|| world.log_of("console").unwrap_or_default())?;
        Ok(console)
    }

    /// One that answers at a port on loopback to the name `host`, and shows a sale.
    pub fn at(host: &str, port: u16, sale: &SaleId) -> Result<Self> {
        let address = ([127, 0, 0, 1], port).into();
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .resolve(host, address);
        Ok(Self {
            process: None,
            http: http.build()?,
            base: format!("http://{host}:{port}"),
            sale: path(sale),
            cookie: Mutex::default(),
        })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Tries to log in, and keeps the cookie where that goes well.
    pub async fn log_in(&self, email: &str, password: &str) -> Result<Answer> {
        let login = json!({"email": email, "password": password});
        let sent = self.http.post(self.url("/api/login")).json(&login).send().await?;
        if let Some(cookie) = sent.headers().get(header::SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            *self.cookie.lock().await = Some(pair.to_owned());
        }
        Answer::of(sent).await
    }

    /// Goes on as whoever has this session.
    pub async fn take_over(&self, session: &str) {
        *self.cookie.lock().await = Some(format!("quicksale-console={session}"));
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    /// Reads a path of the sale.
    pub async fn look(&self, path: &str) -> Result<Value> {
        let answer = self.get(&format!("{}{path}", self.sale)).await?;
        Ok(answer.expect(200)?.json.clone())
    }

    /// Does something to the sale.
    pub async fn act(&self, path: &str, body: Value) -> Result<Answer> {
        self.send(Method::POST, &format!("{}{path}", self.sale), Some(body))
            .await
    }

    /// Sends a request with the cookie, if there is one.
    pub async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(cookie) = self.cookie.lock().await.as_deref() {
            request = request.header(header::COOKIE, cookie);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await?).await
    }
}

fn path(sale: &SaleId) -> String {
    format!("/api/sales/{}/{}", sale.namespace, sale.name)
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process
            && let Err(error) = process.kill().and_then(|()| process.wait())
        {
            eprintln!("the console did not end: {error}");
        }
    }
}
