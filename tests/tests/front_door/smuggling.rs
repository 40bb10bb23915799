//! Requests that hide another: what is the body of a request by one reading must not be a request by another.

use anyhow::{Context, Result, ensure};
use quicksale_tests::world::{Setup, World};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The hidden one, which auth answers with 401.
const HIDDEN: &str = "GET /api/auth/sessions HTTP/1.1\r\nHost: x\r\n\r\n";
/// No body, in chunks.
const NO_CHUNK: &str = "0\r\n\r\n";
/// Requests that a server has read whole.
const REQUESTS: &str = "quicksale_http_request_duration_seconds_count";
/// Of those, the ones to the API and not to `/metrics`.
const API: &str = "/api/";

/// What the gateway makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Not a request: 400, the connection is closed, and no service hears of it.
    Refused,
    /// One request, and the connection is closed: the hidden one is a part of the body, or is never read.
    Alone,
    /// The hidden one is the next request of this client, counted and logged as such.
    Next,
}

impl Reading {
    /// The statuses of the answers, and how many requests a service hears of.
    fn answers(self) -> (&'static [u16], f64) {
        match self {
            Self::Refused => (&[400], 0.0),
            Self::Alone => (&[400], 1.0),
            Self::Next => (&[400, 401], 2.0),
        }
    }
}

/// The ways: the lines that say how long the body is, what stands before the hidden request, and how it is read.
fn ways() -> Vec<(&'static str, String, &'static str, Reading)> {
    use Reading::{Alone, Next, Refused};
    let length = format!("Content-Length: {}", NO_CHUNK.len() + HIDDEN.len());
    let and_length = |line: &str| format!("{line}\r\n{length}");
    vec![
        ("a length alone", length.clone(), NO_CHUNK, Alone),
        (
            "chunks alone",
            "Transfer-Encoding: chunked".into(),
            NO_CHUNK,
            Next,
        ),
        // RFC 9112, 6.3: the coding counts, whatever the length says, and the connection ends with the request.
        (
            "a length and chunks",
            format!("{length}\r\nTransfer-Encoding: chunked"),
            NO_CHUNK,
            Alone,
        ),
        (
            "chunks and a length",
            and_length("Transfer-Encoding: chunked"),
            NO_CHUNK,
            Alone,
        ),
        (
            "a tab before chunks",
            and_length("Transfer-Encoding:\tchunked"),
            NO_CHUNK,
            Alone,
        ),
        (
            "loud chunks",
            and_length("TRANSFER-ENCODING: ChUnKeD"),
            NO_CHUNK,
            Alone,
        ),
        ("two lengths", and_length("Content-Length: 5"), NO_CHUNK, Refused),
        (
            "a list of lengths",
            "Content-Length: 5, 5".into(),
            NO_CHUNK,
            Refused,
        ),
        (
            "a length with a sign",
            "Content-Length: +5".into(),
            NO_CHUNK,
            Refused,
        ),
        ("a length in hex", "Content-Length: 0x5".into(), NO_CHUNK, Refused),
        (
            "an unknown coding",
            and_length("Transfer-Encoding: xchunked"),
            NO_CHUNK,
            Refused,
        ),
        (
            "another coding at last",
            and_length("Transfer-Encoding: chunked, identity"),
            NO_CHUNK,
            Refused,
        ),
        (
            "a blank before the colon",
            and_length("Transfer-Encoding : chunked"),
            NO_CHUNK,
            Refused,
        ),
        (
            "a line that goes on",
            and_length("X: a\r\n Transfer-Encoding: chunked"),
            NO_CHUNK,
            Refused,
        ),
        (
            "a size of too many digits",
            "Transfer-Encoding: chunked".into(),
            "fffffffffffffffff\r\n\r\n",
            Refused,
        ),
        (
            "a size with a sign",
            "Transfer-Encoding: chunked".into(),
            "+0\r\n\r\n",
            Refused,
        ),
    ]
}

/// The statuses of all answers that come on one connection.
async fn answers(gateway: &str, request: &str) -> Result<Vec<u16>> {
    let mut stream = TcpStream::connect(gateway).await?;
    // A server that has refused does not take all of it.
    let _taken = stream.write_all(request.as_bytes()).await;
    let mut all = Vec::new();
    // The first answer may take a while; one that came too many would be right behind it.
    let mut patience = Duration::from_secs(10);
    while let Ok(Ok(read)) = timeout(patience, stream.read_buf(&mut all)).await
        && read > 0
    {
        patience = Duration::from_secs(2);
    }
    let text = String::from_utf8_lossy(&all);
    let statuses = text.split("HTTP/1.1 ").skip(1);
    statuses
        .map(|answer| Ok(answer.get(..3).context("a short answer")?.parse()?))
        .collect()
}

/// What the gateway sends on is written anew, so no service reads it otherwise.
#[tokio::test]
async fn no_request_hides_in_another() -> Result<()> {
    let world = World::start_as(Setup {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Setup::default()
    })
    .await?;
    let gateway = world.shop.url("").trim_start_matches("http://").to_owned();
    let mut wrong = Vec::new();
    for (n, (way, lengths, before, reading)) in ways().into_iter().enumerate() {
        let seen_before = world.metric_sum("auth", REQUESTS, API).await?;
        // Each from a network of its own, so that none meets a limit.
        let request = format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.{n}.1\r\n\
             Content-Type: application/json\r\n{lengths}\r\n\r\n{before}{HIDDEN}"
        );
        let answers = answers(&gateway, &request).await?;
        let seen = world.metric_sum("auth", REQUESTS, API).await? - seen_before;
        println!("{way}: {answers:?}, {seen} at auth");
        if (&answers[..], seen) != reading.answers() {
            wrong.push(way);
        }
    }
    ensure!(wrong.is_empty(), "not as expected: {wrong:?}");
    Ok(())
}
