//! Clients that are slow, greedy or many, on real sockets.

use super::*;
use axum::extract::ws::{Message, WebSocketUpgrade};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::timeout,
};

/// Long enough for a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

async fn serve(router: Router, bounds: Bounds) -> Running {
    let server = Server::bind("test", [127, 0, 0, 1].into(), 0, router)
        .await
        .unwrap()
        .within(bounds);
    let (address, stop) = (server.address().unwrap(), CancellationToken::new());
    let server = tokio::spawn(server.run(stop.clone()));
    Running {
        address,
        stop,
        server,
    }
}

fn hello() -> Router {
    Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
    )
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// All that comes until the server closes; a connection that is reset is closed as well.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..read]);
        }
    };
    timeout(SOON, reading)
        .await
        .expect("the server keeps the connection");
    String::from_utf8_lossy(&all).into_owned()
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut chunk = [0; 4096];
    let read = timeout(SOON, stream.read(&mut chunk))
        .await
        .expect("no answer")
        .unwrap();
    String::from_utf8_lossy(&chunk[..read]).into_owned()
}

fn impatient() -> Bounds {
    Bounds {
        head: Duration::from_millis(300),
        ..Bounds::default()
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let running = serve(hello(), impatient()).await;
    let mut nothing = running.connect().await;
    assert_eq!(rest(&mut nothing).await, "");
    let mut slow = running.send("GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
    // A byte now and then does not help.
    let dripping = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if slow.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    timeout(SOON, dripping)
        .await
        .expect("the slow head is still being read");
    // The second head of a connection has the same deadline.
    let mut second = running.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
    second.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(rest(&mut second).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_a_head_may_take_and_not_for_ever() {
    let bounds = Bounds {
        idle: Duration::from_millis(1_500),
        ..impatient()
    };
    let running = serve(hello(), bounds).await;
    let mut stream = running.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    answer(&mut stream).await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(600), stream.read(&mut byte)).await;
    assert!(early.is_err(), "closed while it was idle: {early:?}");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn whoever_does_not_read_the_answer_holds_it_for_a_while_only() {
    let large = Router::new().route("/", get(|| async { "x".repeat(32 << 20) }));
    let bounds = Bounds {
        write: Duration::from_millis(300),
        ..Bounds::default()
    };
    let running = serve(large, bounds).await;
    let mut stream = running.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    // The server ends only once no connection is left.
    running.stop.cancel();
    timeout(SOON, running.server)
        .await
        .expect("the answer is still held")
        .unwrap();
    drop(stream);
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn heads_without_an_end_cost_no_memory() {
    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nX: ";
    static LONG: [u8; 400_000] = [b'x'; 400_000];
    let running = serve(hello(), Bounds::default()).await;
    let before = resident_kib();
    let mut streams = Vec::new();
    for _ in 0..640 {
        let mut stream = running.connect().await;
        let sent = async {
            stream.write_all(HEAD).await?;
            stream.write_all(&LONG).await
        };
        // The server stops reading long before the end.
        let _sent_or_refused = timeout(SOON, sent)
            .await
            .expect("the head is neither read nor refused");
        streams.push(stream);
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for 640 heads");
    let mut refused = running
        .send(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES)))
        .await;
    assert!(rest(&mut refused).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_peer_has_its_share_and_gets_it_back() {
    let bounds = Bounds {
        from_one_peer: Some(2),
        ..Bounds::default()
    };
    let running = serve(hello(), bounds).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = running.send(request).await;
    let mut second = running.send(request).await;
    for stream in [&mut first, &mut second] {
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = running.connect().await;
    let _closed_already = third.write_all(request.as_bytes()).await;
    assert_eq!(rest(&mut third).await, "");
    drop(first);
    let served = async {
        loop {
            let mut next = running.connect().await;
            let mut chunk = [0; 4096];
            if next.write_all(request.as_bytes()).await.is_ok()
                && let Ok(1..) = next.read(&mut chunk).await
            {
                return;
            }
        }
    };
    timeout(SOON, served)
        .await
        .expect("the place of a closed connection is lost");
}

/// Whoever is slow, in the head, in the body or between two requests, keeps nobody out.
#[tokio::test]
async fn when_all_places_are_taken_the_slowest_client_makes_room() {
    let bounds = Bounds {
        in_all: 3,
        ..Bounds::default()
    };
    let router = hello().route(
        "/all",
        axum::routing::post(|body: axum::body::Bytes| async move { body.len().to_string() }),
    );
    let running = serve(router, bounds).await;
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut slow = [
        running.send("GET / HTTP/1.1\r\n").await,
        running
            .send("POST /all HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            .await,
        running.send("").await,
    ];
    for _ in 0..20 {
        let mut honest = running.send(request).await;
        assert!(rest(&mut honest).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(rest(&mut slow[0]).await, "", "it was not closed");
    // The one that waits for less long than others has its turn.
    let mut body = running
        .send("POST /all HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\na")
        .await;
    let mut honest = running.send(request).await;
    assert!(rest(&mut honest).await.starts_with("HTTP/1.1 200"));
    body.write_all(b"b").await.unwrap();
    let answered = rest(&mut body).await;
    assert!(
        answered.starts_with("HTTP/1.1 200") && answered.ends_with('2'),
        "{answered}"
    );
}

/// Whoever comes next finds a place, and need not wait until somebody has gone.
#[tokio::test]
async fn a_place_is_free_before_somebody_comes_for_it() {
    let bounds = Bounds {
        in_all: 16,
        ..Bounds::default()
    };
    let running = serve(hello(), bounds).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(running.connect().await);
    }
    assert_eq!(rest(&mut idle[0]).await, "", "the last place is taken");
    for stream in &mut idle[1..] {
        let kept = timeout(Duration::from_millis(10), stream.read(&mut [0])).await;
        assert!(kept.is_err(), "one place was enough: {kept:?}");
    }
}

/// A request that has come in is not given up for another.
#[tokio::test]
async fn beyond_all_places_connections_wait_for_those_that_are_served() {
    let bounds = Bounds {
        in_all: 1,
        ..Bounds::default()
    };
    let begun = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::new(tokio::sync::Notify::new());
    let (told, awaited) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = move |_body: axum::body::Bytes| {
        let (told, awaited) = (Arc::clone(&told), Arc::clone(&awaited));
        async move {
            told.notify_one();
            awaited.notified().await;
            "done"
        }
    };
    let running = serve(hello().route("/slow", axum::routing::post(slow)), bounds).await;
    let mut served = running
        .send("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab")
        .await;
    timeout(SOON, begun.notified()).await.expect("it is not served");
    let mut waiting = running
        .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), waiting.read(&mut byte)).await;
    assert!(early.is_err(), "there was a place: {early:?}");
    go_on.notify_one();
    assert!(rest(&mut served).await.ends_with("done"));
    assert!(rest(&mut waiting).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_web_socket_outlives_the_deadlines_of_requests() {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message @ Message::Text(_))) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        })
    };
    let bounds = Bounds {
        head: Duration::from_millis(200),
        idle: Duration::from_millis(200),
        in_all: 1,
        ..Bounds::default()
    };
    let running = serve(Router::new().route("/", get(echo)), bounds).await;
    let mut socket = running
        .send(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert!(answer(&mut socket).await.starts_with("HTTP/1.1 101"));
    // The one place is free again, and a frame that comes in two parts is awaited.
    socket.write_all(&[0x81, 0x82, 0, 0]).await.unwrap();
    let mut other = running
        .send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(rest(&mut other).await.starts_with("HTTP/1.1 200"));
    let mut byte = [0];
    let early = timeout(Duration::from_millis(800), socket.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    socket.write_all(&[0, 0, b'h', b'i']).await.unwrap();
    let mut echoed = [0; 4];
    timeout(SOON, socket.read_exact(&mut echoed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echoed, b"\x81\x02hi");
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::new(tokio::sync::Notify::new());
    let (told, awaited) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = move || {
        let (told, awaited) = (Arc::clone(&told), Arc::clone(&awaited));
        async move {
            told.notify_one();
            awaited.notified().await;
            "done"
        }
    };
    let running = serve(hello().route("/slow", get(slow)), Bounds::default()).await;
    let mut idle = running.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer(&mut idle).await.ends_with("127.0.0.1"));
    let mut stream = running.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    begun.notified().await;
    running.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    go_on.notify_one();
    let answered = rest(&mut stream).await;
    assert!(answered.ends_with("done"), "{answered}");
    for header in [
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "frame-ancestors 'none'",
    ] {
        assert!(answered.contains(header), "{answered}");
    }
    timeout(SOON, running.server)
        .await
        .expect("the server does not end")
        .unwrap();
}
