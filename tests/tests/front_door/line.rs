//! The line between a browser and a server, which can fail in the ways in which lines do.

use anyhow::Result;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// How long a slow request takes.
const SLOW: Duration = Duration::from_secs(2);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// What is asked arrives, and the connection breaks before anything is heard of it.
    Deaf,
    /// Nobody gets through, and all connections are gone.
    Cut,
}

/// What is otherwise than everything else.
#[derive(Debug, Default)]
struct Exceptions {
    /// A file that the server does not have, as an old process does not have a new one's.
    missing: String,
    /// How often it is still asked for in vain.
    times: u32,
    /// How requests begin that take their time.
    slow: String,
}

/// A line to a server on this machine. It ends when it is dropped.
pub(crate) struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    exceptions: Arc<Mutex<Exceptions>>,
    carrying: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, now) = watch::channel(State::Whole);
        let exceptions = Arc::new(Mutex::new(Exceptions::default()));
        let known = Arc::clone(&exceptions);
        let carrying = tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                if *now.borrow() != State::Cut {
                    tokio::spawn(carry(browser, server, now.clone(), Arc::clone(&known)));
                }
            }
        });
        Ok(Self {
            address,
            state,
            exceptions,
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

    /// Has requests that begin like this take their time.
    pub(crate) fn slow_down(&self, asked: &str) {
        asked.clone_into(&mut self.exceptions().slow);
    }

    pub(crate) fn deafen(&self) {
        self.state.send_replace(State::Deaf);
    }

    /// Has the server not have a file, so many times.
    pub(crate) fn miss(&self, path: &str, times: u32) {
        let mut exceptions = self.exceptions();
        path.clone_into(&mut exceptions.missing);
        exceptions.times = times;
    }

    /// How often a file is still to be asked for in vain.
    pub(crate) fn misses(&self) -> u32 {
        self.exceptions().times
    }

    fn exceptions(&self) -> MutexGuard<'_, Exceptions> {
        self.exceptions.lock().unwrap_or_else(PoisonError::into_inner)
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
async fn carry(
    browser: TcpStream,
    server: SocketAddr,
    state: watch::Receiver<State>,
    exceptions: Arc<Mutex<Exceptions>>,
) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ((asks, hears), (answers, is_asked)) = (browser.into_split(), server.into_split());
    let mut cut = state.clone();
    tokio::select! {
        // What was asked before the line failed may be on its way still: that is for `listen` to say.
        () = ask(asks, is_asked, exceptions) => {}
        () = listen(answers, hears, state) => {}
        _cut = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Browsers send the head of a request at once.
async fn ask(mut asks: OwnedReadHalf, mut is_asked: OwnedWriteHalf, exceptions: Arc<Mutex<Exceptions>>) {
    let mut part = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = asks.read(&mut part).await {
        let mut asked = part[..read].to_vec();
        let is_slow = {
            let mut exceptions = exceptions.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = format!("GET {} ", exceptions.missing);
            if exceptions.times > 0 && asked.starts_with(wanted.as_bytes()) {
                exceptions.times -= 1;
                // Another path of the same length, which the server does not know.
                asked[5] = b'~';
            }
            !exceptions.slow.is_empty() && asked.starts_with(exceptions.slow.as_bytes())
        };
        if is_slow {
            tokio::time::sleep(SLOW).await;
        }
        if is_asked.write_all(&asked).await.is_err() {
            return;
        }
    }
}

async fn listen(mut answers: OwnedReadHalf, mut hears: OwnedWriteHalf, state: watch::Receiver<State>) {
    let mut part = vec![0; 16 * 1024];
    loop {
        match answers.read(&mut part).await {
            Ok(read @ 1..) if *state.borrow() == State::Whole => {
                if hears.write_all(&part[..read]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
