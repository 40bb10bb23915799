//! The line between a browser and a server, which can fail in the ways in which lines do.

use anyhow::Result;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// How long a part of an answer takes on a slow line.
const SLOW: Duration = Duration::from_secs(2);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Each part of an answer takes its time.
    Slow,
    /// What is asked arrives, and the connection breaks before anything is heard of it.
    Deaf,
    /// Nobody gets through, and all connections are gone.
    Cut,
}

/// A line to a server on this machine. It ends when it is dropped.
pub(crate) struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    carrying: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, now) = watch::channel(State::Whole);
        let carrying = tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                if *now.borrow() != State::Cut {
                    tokio::spawn(carry(browser, server, now.clone()));
                }
            }
        });
        Ok(Self {
            address,
            state,
            carrying,
        })
    }

    /// The address of a path, by way of this line.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    pub(crate) fn slow_down(&self) {
        self.state.send_replace(State::Slow);
    }

    pub(crate) fn deafen(&self) {
        self.state.send_replace(State::Deaf);
    }

    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// Carries one connection, until one end closes it or the line fails.
async fn carry(browser: TcpStream, server: SocketAddr, state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ((mut asks, hears), (answers, mut is_asked)) = (browser.into_split(), server.into_split());
    let mut cut = state.clone();
    tokio::select! {
        // What was asked before the line failed may be on its way still: that is for `listen` to say.
        _asked = copy(&mut asks, &mut is_asked) => {}
        () = listen(answers, hears, state) => {}
        _cut = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn listen(mut answers: OwnedReadHalf, mut hears: OwnedWriteHalf, state: watch::Receiver<State>) {
    let mut part = vec![0; 16 * 1024];
    loop {
        match answers.read(&mut part).await {
            Ok(read @ 1..) if *state.borrow() != State::Deaf => {
                let is_slow = *state.borrow() == State::Slow;
                if is_slow {
                    tokio::time::sleep(SLOW).await;
                }
                if hears.write_all(&part[..read]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
