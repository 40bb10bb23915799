//! What it costs to log in with a password, of which most is the hash that makes guessing slow.
//!
//! Auth is asked past the gateway, which lets five logins a minute through from one address: each account comes from an address of its own here, as
//! the gateway would name it. So auth's own bound is the one that is left, as many hashes at once as there are cores.

use crate::{
    options::Options,
    processes::{self, Watched},
    wire::Wire,
};
use anyhow::ensure;
use hdrhistogram::Histogram;
use std::{
    fmt::Write,
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Accounts, each of which logs in again and again.
const ACCOUNTS: u32 = 16;
/// For so long.
const SECONDS: Duration = Duration::from_secs(10);

/// Registers accounts, has them log in, and tells how it went.
pub(crate) async fn measure(options: &Options, run: &str, watched: &[Watched]) -> anyhow::Result<String> {
    let mut accounts = Vec::new();
    for number in 0..ACCOUNTS {
        let mut wire = Wire::connect(options.auth).await?;
        let registration = serde_json::json!({
            "email": email(run, number), "password": password(run), "firstName": "Load", "lastName": "Bench",
        });
        let request = request("register", number, &registration);
        let answer = wire.ask(request.as_bytes()).await?;
        ensure!(answer.status == 201, "an account was refused: {}", answer.status);
        accounts.push(wire);
    }
    let before = processes::usage(watched)?;
    let begun = Instant::now();
    let mut coming = JoinSet::new();
    for (number, mut wire) in (0..ACCOUNTS).zip(accounts) {
        let login = serde_json::json!({"email": email(run, number), "password": password(run)});
        let request = request("login", number, &login);
        coming.spawn(async move {
            let mut answers = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
            while begun.elapsed() < SECONDS {
                let asked = Instant::now();
                let answer = wire.ask(request.as_bytes()).await?;
                ensure!(answer.status == 200, "a login was answered {}", answer.status);
                answers.saturating_record(u64::try_from(asked.elapsed().as_micros())?.max(1));
            }
            anyhow::Ok(answers)
        });
    }
    let mut all = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3)?;
    while let Some(answers) = coming.join_next().await {
        all.add(answers??)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = processes::usage(watched)?;
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1_000.0;
    let mut line = format!(
        "login: {:.0} a second, {ACCOUNTS} at a time, p50 {:.0} ms, p99 {:.0} ms; CPU s for each:",
        all.len() as f64 / seconds,
        ms(0.5),
        ms(0.99)
    );
    for (name, usage) in &after {
        let spent = usage.cpu_seconds - before.get(name).copied().unwrap_or_default().cpu_seconds;
        let _infallible = write!(line, " {name} {:.4}", spent / all.len() as f64);
    }
    Ok(line)
}

fn email(run: &str, number: u32) -> String {
    format!("bench-{run}-{number}@example.com")
}

fn password(run: &str) -> String {
    format!("a password of run {run}")
}

fn request(what: &str, number: u32, body: &serde_json::Value) -> String {
    let (from, body) = (Ipv4Addr::from(0x0a00_0001 + number), body.to_string());
    format!(
        "POST /api/auth/{what} HTTP/1.1\r\nhost: quicksale\r\nx-forwarded-for: {from}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
