//! Some of the buyers wait on a WebSocket for the end of their order.

use crate::buyers::Buyer;
use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, Utf8Bytes},
};
use tokio_util::sync::CancellationToken;

/// Sockets that are opened at a time.
const OPENED_AT_A_TIME: usize = 32;
/// How long a socket may take to open.
const OPENING: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The waiting buyers.
#[derive(Debug)]
pub(crate) struct Sample {
    waiting: JoinSet<Option<(usize, Instant)>>,
    stop: CancellationToken,
    buyers: Vec<usize>,
}

#[derive(Debug, Deserialize)]
struct Frame {
    data: Update,
}

#[derive(Debug, Deserialize)]
struct Update {
    status: String,
}

impl Sample {
    /// Connects every `every`-th buyer, up to so many.
    pub(crate) async fn connect(
        notifiers: &[SocketAddr],
        buyers: &[Buyer],
        every: u32,
        at_most: usize,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let chosen: Vec<usize> = (0..buyers.len()).step_by(every as usize).take(at_most).collect();
        let sockets: Vec<(usize, Socket)> = stream::iter(chosen.clone())
            .map(|number| async move {
                let buyer = buyers.get(number).context("no such buyer")?;
                // Buyers who listen are so many apart that their numbers could all have the same remainder.
                let turn = number / every as usize % notifiers.len().max(1);
                let notifier = notifiers.get(turn).context("no notifier is named")?;
                anyhow::Ok((number, open(*notifier, buyer).await?))
            })
            .buffer_unordered(OPENED_AT_A_TIME)
            .try_collect()
            .await?;
        println!(
            "{} WebSockets are greeted after {:.1} s",
            sockets.len(),
            begun.elapsed().as_secs_f64()
        );
        let stop = CancellationToken::new();
        let mut waiting = JoinSet::new();
        for (number, socket) in sockets {
            let stop = stop.clone();
            waiting.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => None,
                    at = end_of_order(socket) => at.map(|at| (number, at)),
                }
            });
        }
        Ok(Self {
            waiting,
            stop,
            buyers: chosen,
        })
    }

    /// The buyers who wait.
    pub(crate) fn buyers(&self) -> &[usize] {
        &self.buyers
    }

    /// When the orders of these buyers ended; waits for them, but not longer than `at_most`.
    pub(crate) async fn ends(mut self, of: &[usize], at_most: Duration) -> HashMap<usize, Instant> {
        let mut ends = HashMap::new();
        let deadline = tokio::time::Instant::now() + at_most;
        while of.iter().any(|buyer| !ends.contains_key(buyer)) {
            match tokio::time::timeout_at(deadline, self.waiting.join_next()).await {
                Ok(Some(Ok(Some((buyer, at))))) => _ = ends.insert(buyer, at),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.stop.cancel();
        while let Some(ended) = self.waiting.join_next().await {
            ends.extend(ended.ok().flatten());
        }
        ends
    }
}

async fn open(notifier: SocketAddr, buyer: &Buyer) -> anyhow::Result<Socket> {
    let address = format!("ws://{notifier}/ws?token={}", buyer.token);
    let opening = async {
        let (mut socket, _response) = tokio_tungstenite::connect_async(address).await?;
        // The first frame says what was missed, which the database has been asked for: before that the buyer does not wait yet,
        // and what is measured would be the opening of sockets.
        socket.next().await.transpose()?;
        Ok::<_, tungstenite::Error>(socket)
    };
    match tokio::time::timeout(OPENING, opening).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => bail!("a WebSocket was refused: {error}"),
        Err(_) => bail!("a WebSocket did not open within {OPENING:?}"),
    }
}

/// The moment at which the order's last state is told; `None` when the socket ends before.
async fn end_of_order(mut socket: Socket) -> Option<Instant> {
    loop {
        // Reading also answers the server's pings.
        if let Message::Text(text) = socket.next().await?.ok()?
            && is_terminal(&text)
        {
            return Some(Instant::now());
        }
    }
}

fn is_terminal(text: &Utf8Bytes) -> bool {
    serde_json::from_str::<Frame>(text).is_ok_and(|frame| {
        matches!(
            frame.data.status.as_str(),
            "CONFIRMED" | "FAILED" | "CANCELLED" | "EXPIRED"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_is_told_from_the_others() {
        let frame = |status| {
            format!(
                r#"{{"type":"order.update","data":{{"orderId":"o","status":"{status}","message":""}},"id":"1"}}"#
            )
        };
        assert!(is_terminal(&frame("CONFIRMED").into()));
        assert!(is_terminal(&frame("FAILED").into()));
        assert!(!is_terminal(&frame("PENDING").into()));
        assert!(!is_terminal(&"hello".into()));
    }
}
