//! One connection that speaks just enough HTTP/1.1, so that the load generator costs little beside what it measures.

use anyhow::{Context, bail};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long any answer may take; later than that an order's outcome is unknown.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is read.
const LARGEST_ANSWER: usize = 1 << 20;

/// An open connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// Whether an earlier request of the same key has got it before.
    pub replayed: bool,
    /// Whether the connection is of no use any more.
    pub closes: bool,
    /// The body.
    pub body: &'a [u8],
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    replayed: bool,
    closes: bool,
    /// Bytes of the head.
    length: usize,
    /// Bytes of the body.
    body: usize,
}

impl Wire {
    /// Connects.
    pub async fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = tokio::time::timeout(DEADLINE, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(4_096),
        })
    }

    /// Sends a request and reads its answer. After an error the connection is of no use.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        let asking = async {
            self.stream.write_all(request).await?;
            self.read.clear();
            loop {
                if let Some(head) = head(&self.read)?
                    && self.read.len() >= head.length + head.body
                {
                    return Ok(head);
                }
                if self.read.len() > LARGEST_ANSWER {
                    bail!("the answer is longer than {LARGEST_ANSWER} bytes");
                }
                if self.stream.read_buf(&mut self.read).await? == 0 {
                    bail!("the connection was closed before the answer was whole");
                }
            }
        };
        let head = tokio::time::timeout(DEADLINE, asking)
            .await
            .context("no answer in time")??;
        Ok(Answer {
            status: head.status,
            replayed: head.replayed,
            closes: head.closes,
            body: self
                .read
                .get(head.length..head.length + head.body)
                .unwrap_or_default(),
        })
    }
}

/// The head of an answer, once all of it is there.
fn head(read: &[u8]) -> anyhow::Result<Option<Head>> {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(read.get(..end).unwrap_or_default()).context("the head is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status: u16 = status.context("no status")?.parse()?;
    let (mut body, mut replayed, mut closes) = (None, false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = Some(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("idempotency-replayed") {
            replayed = true;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let has_none = matches!(status, 204 | 304);
    Ok(Some(Head {
        status,
        replayed,
        closes,
        length: end + 4,
        body: if has_none {
            0
        } else {
            body.context("the answer does not say how long it is")?
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_its_head_is_there() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nidempotency-replayed: true\r\n\r\n{}";
        for cut in 0..text.len() - 2 {
            assert_eq!(head(&text[..cut]).unwrap(), None, "{cut}");
        }
        let whole = head(text).unwrap().unwrap();
        assert_eq!((whole.status, whole.body, whole.replayed), (201, 2, true));
        assert_eq!(whole.length + whole.body, text.len());
        assert!(!whole.closes);
        let last = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert!(head(last).unwrap().unwrap().closes);
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "of no length");
        assert_eq!(
            head(b"HTTP/1.1 304 Not Modified\r\n\r\n").unwrap().unwrap().body,
            0
        );
    }
}
