//! What hostile clients do, each over and over until the attack is ended. They come from many networks, as a proxy that is
//! believed would say, and are bounded in number.

use anyhow::{Context, Result};
use futures::FutureExt;
use platform::tokens::Role;
use quicksale_tests::{
    shop::{Answer, Shop},
    world::World,
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections that do nothing.
pub(crate) const IDLE: usize = 5_000;
/// Connections of each kind that are slow, or never come to an end.
const SLOW: usize = 200;
/// Logins in all, from so many networks, so many at once.
pub(crate) const LOGINS: usize = 10_000;
const NETWORKS: usize = 40;
const LOGINS_AT_ONCE: usize = 50;
/// Sockets with frames that are too long, and buyers of baskets that are too large, at once.
const BOMBERS: usize = 16;
const GREEDY: usize = 16;
/// Between two tries of one attacker who is refused or cut off. The crowd keeps its pace whatever is made of it: at one
/// that follows the answers, a quicker server would only have more of them to bear.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two bytes of whoever is slow.
const DRIP: Duration = Duration::from_millis(250);
/// Between two guesses of one at passwords.
const GUESSING: Duration = Duration::from_millis(100);
/// Before a connection that was closed is opened anew by whoever does nothing with it: that is 500 a second, if all are.
const AWAY: Duration = Duration::from_secs(10);
/// How long an attacker holds on to one connection.
const HOLD: Duration = Duration::from_secs(30);

/// The attackers, who go with the value.
pub(crate) struct Attack {
    tally: Arc<Tally>,
    running: JoinSet<()>,
}

/// What they attack, and how often they have done what.
pub(crate) struct Tally {
    shop: Arc<Shop>,
    gateway: String,
    notifier: String,
    sku: String,
    guesses: AtomicUsize,
    /// Idle connections that were opened.
    pub(crate) idle: AtomicUsize,
    /// Heads and bodies that came byte by byte, and heads without an end.
    pub(crate) slow: AtomicUsize,
    /// Logins that were refused as they should be: a wrong password, too many tries, or no time for it now.
    pub(crate) logins: AtomicUsize,
    /// Frames that were too long.
    pub(crate) frames: AtomicUsize,
    /// Baskets over the limit that were refused.
    pub(crate) baskets: AtomicUsize,
    /// What was let in and should not have been.
    pub(crate) let_in: AtomicUsize,
}

impl Attack {
    /// Begins. `sku` has a limit of two for each buyer.
    pub(crate) fn begin(world: &World, sku: &str) -> Self {
        let tally = Arc::new(Tally {
            shop: Arc::clone(&world.shop),
            gateway: world.shop.url("").trim_start_matches("http://").to_owned(),
            notifier: world.config.upstreams.notifier.authority().to_owned(),
            sku: sku.to_owned(),
            guesses: AtomicUsize::default(),
            idle: AtomicUsize::default(),
            slow: AtomicUsize::default(),
            logins: AtomicUsize::default(),
            frames: AtomicUsize::default(),
            baskets: AtomicUsize::default(),
            let_in: AtomicUsize::default(),
        });
        let mut running = JoinSet::new();
        let mut send = |how_many: usize, kind: Kind| {
            for n in 0..how_many {
                running.spawn(again_and_again(Arc::clone(&tally), kind, n));
            }
        };
        send(IDLE, Kind::Idle);
        for kind in [Kind::SlowHead, Kind::SlowBody, Kind::LongHead] {
            send(SLOW, kind);
        }
        send(LOGINS_AT_ONCE, Kind::Login);
        send(BOMBERS, Kind::Frame);
        send(GREEDY, Kind::Basket);
        Self { tally, running }
    }

    /// Ends it, and tells what was done.
    pub(crate) async fn end(mut self) -> Arc<Tally> {
        self.running.shutdown().await;
        self.tally
    }

    /// What was done so far.
    pub(crate) fn so_far(&self) -> &Tally {
        &self.tally
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Idle,
    SlowHead,
    SlowBody,
    LongHead,
    Login,
    Frame,
    Basket,
}

async fn again_and_again(tally: Arc<Tally>, kind: Kind, n: usize) {
    // Not all at the same moment.
    sleep(AWAY * u32::try_from(n % 100).unwrap_or(0) / 100).await;
    loop {
        let once = match kind {
            Kind::Idle => idle(&tally).boxed(),
            Kind::SlowHead => slow(&tally, b"GET /api/sale HTTP/1.1\r\nHost: x\r\nX: ".to_vec()).boxed(),
            Kind::SlowBody => slow(&tally, slow_body()).boxed(),
            Kind::LongHead => long_head(&tally).boxed(),
            Kind::Login => login(&tally).boxed(),
            Kind::Frame => frame(&tally, n).boxed(),
            Kind::Basket => basket(&tally, n).boxed(),
        };
        // To be refused, or cut off, is what an attacker expects.
        let _refused = once.await;
        sleep(match kind {
            Kind::Idle => AWAY,
            Kind::Login => GUESSING,
            _ => PAUSE,
        })
        .await;
    }
}

/// Nearly all of the largest body that is taken, so that much is held while the rest comes byte by byte.
fn slow_body() -> Vec<u8> {
    let mut begin = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n{"
        .to_vec();
    begin.resize(begin.len() + 65_000, b' ');
    begin
}

/// A connection that says nothing, until it is closed.
async fn idle(tally: &Tally) -> Result<()> {
    let mut stream = TcpStream::connect(&tally.gateway).await?;
    tally.idle.fetch_add(1, Ordering::Relaxed);
    timeout(HOLD, stream.read(&mut [0; 64])).await??;
    Ok(())
}

/// A request that comes byte by byte.
async fn slow(tally: &Tally, begin: Vec<u8>) -> Result<()> {
    let mut stream = TcpStream::connect(&tally.gateway).await?;
    stream.write_all(&begin).await?;
    tally.slow.fetch_add(1, Ordering::Relaxed);
    loop {
        stream.write_all(b"x").await?;
        // Closed, or answered.
        if timeout(DRIP, stream.read(&mut [0; 512])).await.is_ok() {
            return Ok(());
        }
    }
}

/// A head that does not end.
async fn long_head(tally: &Tally) -> Result<()> {
    let mut stream = TcpStream::connect(&tally.gateway).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await?;
    tally.slow.fetch_add(1, Ordering::Relaxed);
    let long = vec![b'x'; 64 * 1024];
    timeout(HOLD, async {
        for _ in 0..16 {
            stream.write_all(&long).await?;
        }
        stream.read(&mut [0; 512]).await
    })
    .await??;
    Ok(())
}

/// A guess at a password, from one network after the other, until so many were answered.
async fn login(tally: &Tally) -> Result<()> {
    if tally.logins.load(Ordering::Relaxed) >= LOGINS {
        sleep(HOLD).await;
        return Ok(());
    }
    let n = tally.guesses.fetch_add(1, Ordering::Relaxed);
    let network = n % NETWORKS;
    let request = tally
        .shop
        .http
        .post(tally.shop.url("/api/auth/login"))
        .header(
            "x-forwarded-for",
            format!("198.18.{}.{}", network / 250, network % 250),
        )
        .json(&json!({"email": format!("victim-{}@example.com", n % 100), "password": "a guess at it"}));
    let answer = Answer::of(request.send().await?).await?;
    let counter = match answer.status {
        401 | 429 | 503 => &tally.logins,
        _ => &tally.let_in,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// A WebSocket with the head of a frame of 16 MiB, which the library would take if nobody forbade it, and as much of it as
/// is taken.
async fn frame(tally: &Tally, n: usize) -> Result<()> {
    let token = tally.shop.token(&format!("bomber-{n}"), Role::Buyer)?;
    let mut stream = TcpStream::connect(&tally.notifier).await?;
    let handshake = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(handshake.as_bytes()).await?;
    let mut answer = [0; 1024];
    let read = timeout(HOLD, stream.read(&mut answer)).await??;
    answer[..read]
        .starts_with(b"HTTP/1.1 101")
        .then_some(())
        .context("refused")?;
    let mut bomb = vec![0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    bomb.resize(64 * 1024, b'x');
    tally.frames.fetch_add(1, Ordering::Relaxed);
    timeout(HOLD, async {
        loop {
            stream.write_all(&bomb).await?;
        }
    })
    .await?
}

/// An order of more than one may have, or of more lines than there may be.
async fn basket(tally: &Tally, n: usize) -> Result<()> {
    let lines = 1 + (n % 2) * 500;
    let items: Vec<_> = (0..lines)
        .map(|_| json!({"sku": tally.sku, "quantity": 1_000}))
        .collect();
    let user = uuid::Uuid::new_v4().to_string();
    let token = tally.shop.token(&user, Role::Buyer)?;
    let answer = tally.shop.place(&token, &user, json!(items)).await?;
    let counter = match answer.status {
        400 | 409 | 422 => &tally.baskets,
        201 => &tally.let_in,
        // Who is too many for now has not been judged.
        _ => return Ok(()),
    };
    counter.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
