//! Passes WebSockets on to the notifier where there is no ingress that does: the handshake is forwarded, then bytes
//! flow both ways until one side ends. A gateway that ends says so to everyone whose socket passes through it.

use crate::{
    Gateway,
    frames::{self, Frames},
    proxy::{call_span, end_call},
    subject,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use platform::{
    http::{
        REQUEST_ID, handshake,
        problem::{Code, Problem},
    },
    traces::context::TRACEPARENT,
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

/// WebSockets that pass through one gateway.
const MOST: usize = 10_000;
/// How long the notifier may take to answer the handshake.
const ANSWER: Duration = Duration::from_secs(5);
/// What is copied at once.
const COPIED: usize = 8 * 1_024;

/// What the notifier needs of a handshake. The page that it comes from has been looked at here, where the host is still
/// the one that the page knows.
const HANDSHAKE: [HeaderName; 9] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::AUTHORIZATION,
    HeaderName::from_static(REQUEST_ID),
    HeaderName::from_static(TRACEPARENT),
];

/// The way to the notifier's sockets.
#[derive(Debug, Clone)]
pub struct Upgrades {
    client: Client<HttpConnector, Body>,
    notifier: Url,
    places: Arc<Semaphore>,
    passing: TaskTracker,
    stop: CancellationToken,
}

impl Upgrades {
    /// The way to a notifier, until told to stop.
    pub fn new(notifier: &Url, stop: CancellationToken) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        connector.set_nodelay(true);
        // An upgraded connection is never used again, so there is nothing to pool.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self {
            client,
            notifier: notifier.clone(),
            places: Arc::new(Semaphore::new(MOST)),
            passing: TaskTracker::new(),
            stop,
        }
    }

    /// Lasts until everyone whose socket passes through here has been told that it ends.
    pub async fn until_all_are_told(self) {
        self.stop.cancelled().await;
        self.passing.close();
        self.passing.wait().await;
    }
}

/// `GET /ws`
pub(crate) async fn connect(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    if !handshake::origin_may_connect(request.headers(), &gateway.origins) {
        return Problem::new(
            Code::Forbidden,
            "Pages of this origin may not connect; see corsOrigins.",
        )
        .into_response();
    }
    let client = subject::address(&request, &gateway.trusted);
    pass_on(&gateway.upgrades, request, client)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

/// How long one side of a socket may stay after the other has ended.
const FAREWELL: Duration = Duration::from_secs(5);

async fn pass_on(upgrades: &Upgrades, mut request: Request, client: IpAddr) -> Result<Response, Problem> {
    let place = Arc::clone(&upgrades.places)
        .try_acquire_owned()
        .map_err(|_| Problem::busy())?;
    let query = request
        .uri()
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    let base = upgrades.notifier.as_str().trim_end_matches('/');
    let uri: Uri = format!("{base}/ws{query}")
        .parse()
        .map_err(|error| Problem::internal(&error))?;
    let ours = hyper::upgrade::on(&mut request);
    let mut forwarded = Request::new(Body::empty());
    *forwarded.uri_mut() = uri;
    for name in HANDSHAKE {
        if let Some(value) = request.headers().get(&name) {
            forwarded.headers_mut().insert(name, value.clone());
        }
    }
    if let Ok(client) = HeaderValue::from_str(&client.to_string()) {
        forwarded.headers_mut().insert("x-forwarded-for", client);
    }
    // That buyers come by HTTPS has been looked at here. A mesh would otherwise say of this call that it is plain HTTP.
    let https = HeaderValue::from_static("https");
    forwarded.headers_mut().insert("x-forwarded-proto", https);
    let span = call_span(&mut forwarded);
    let answer = tokio::time::timeout(ANSWER, upgrades.client.request(forwarded)).await;
    let answer = match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err("connect"),
        Err(_) => Err("timeout"),
    };
    end_call(span, answer.as_ref().map(Response::status).map_err(|why| *why));
    let mut answer = answer.map_err(|_| Problem::busy())?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut answer);
        let stop = upgrades.stop.clone();
        upgrades.passing.spawn(async move {
            // Lasts as long as the socket; the notifier pings and ends silent ones.
            if let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) {
                join(TokioIo::new(ours), TokioIo::new(theirs), &stop).await;
            }
            drop(place);
        });
    }
    Ok(answer.map(Body::new))
}

/// Copies both ways until both sides have ended, or one has and the other does not follow within [`FAREWELL`]: a client
/// that never closes must not keep a place.
async fn join(
    ours: impl AsyncRead + AsyncWrite,
    theirs: impl AsyncRead + AsyncWrite,
    stop: &CancellationToken,
) {
    let (mut from_client, mut to_client) = tokio::io::split(ours);
    let (mut from_service, mut to_service) = tokio::io::split(theirs);
    let up = async {
        let _broken_off = tokio::io::copy(&mut from_client, &mut to_service).await;
        let _ended_already = to_service.shutdown().await;
    };
    let down = async {
        let _broken_off = tell(&mut from_service, &mut to_client, stop, handshake::SEND_DEADLINE).await;
        let _ended_already = to_client.shutdown().await;
    };
    tokio::pin!(up, down);
    let rest = tokio::select! {
        () = &mut up => tokio::time::timeout(FAREWELL, down).await,
        () = &mut down => tokio::time::timeout(FAREWELL, up).await,
    };
    if rest.is_err() {
        tracing::debug!("one side of a WebSocket did not follow the other");
    }
}

/// Copies what the notifier sends until it ends; or until told to stop, which is said between two of its frames. The rest of one may then take
/// so long.
async fn tell(
    service: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    stop: &CancellationToken,
    rest_of_a_frame: Duration,
) -> std::io::Result<()> {
    let (mut frames, mut buffer) = (Frames::new(), vec![0; COPIED]);
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(rest_of_a_frame).await;
    };
    tokio::pin!(too_late);
    loop {
        let read = tokio::select! {
            biased;
            () = stop.cancelled(), if frames.is_between() => break,
            () = &mut too_late => return Err(std::io::ErrorKind::TimedOut.into()),
            read = service.read(&mut buffer) => read?,
        };
        if read == 0 {
            return Ok(());
        }
        let bytes = &buffer[..read];
        frames.pass(bytes);
        send(client, bytes).await?;
    }
    let (code, reason) = handshake::RESTART;
    match frames::close(code, reason) {
        Some(goodbye) => send(client, &goodbye).await,
        None => Ok(()),
    }
}

async fn send(client: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    let sent = async {
        client.write_all(bytes).await?;
        client.flush().await
    };
    tokio::time::timeout(handshake::SEND_DEADLINE, sent)
        .await
        .map_err(|_late| std::io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    /// What a client writes about itself is not for the notifier, which believes the gateway.
    #[tokio::test]
    async fn the_notifier_gets_a_handshake_and_nothing_that_a_client_adds() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let notifier = Url::parse(&format!("http://{address}")).unwrap();
        let upgrades = Upgrades::new(&notifier, CancellationToken::new());
        let mut request = Request::builder().uri("/ws?ticket=t&lastEventId=7");
        for name in HANDSHAKE {
            request = request.header(name, "wanted");
        }
        for name in [
            "cookie",
            "origin",
            "forwarded",
            "x-real-ip",
            "x-forwarded-proto",
            "x-user",
        ] {
            request = request.header(name, "made-up");
        }
        let request = request
            .header("x-forwarded-for", "made-up")
            .body(Body::empty())
            .unwrap();
        let client = IpAddr::from([203, 0, 113, 5]);
        let notifier = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        };
        let (head, answer) = tokio::join!(notifier, pass_on(&upgrades, request, client));
        assert_eq!(answer.unwrap().status(), StatusCode::UNAUTHORIZED);
        assert!(
            head.starts_with("get /ws?ticket=t&lasteventid=7 http/1.1"),
            "{head}"
        );
        let mut names: Vec<_> = head
            .lines()
            .skip(1)
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect();
        names.sort();
        let mut wanted: Vec<_> = HANDSHAKE.map(|name| name.to_string()).into();
        wanted.extend(["host", "x-forwarded-for", "x-forwarded-proto"].map(str::to_owned));
        wanted.sort();
        assert_eq!(names, wanted);
        assert!(head.contains("x-forwarded-for: 203.0.113.5\r\n"), "{head}");
        assert!(!head.contains("made-up"), "{head}");
    }

    /// Part of a frame has passed when the process is asked to stop: the rest of it comes first.
    #[tokio::test]
    async fn goodbye_is_said_between_two_frames() {
        let stop = CancellationToken::new();
        let ((mut client, ours), (mut notifier, theirs)) = (tokio::io::duplex(64), tokio::io::duplex(64));
        let passing = join(ours, theirs, &stop);
        let conversation = async {
            notifier.write_all(&[0x81, 4, b'a', b'b']).await.unwrap();
            let mut first = [0; 4];
            client.read_exact(&mut first).await.unwrap();
            stop.cancel();
            notifier.write_all(b"cd").await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            drop(client);
            rest
        };
        let ((), rest) = tokio::join!(passing, conversation);
        assert_eq!(rest[..2], *b"cd");
        assert_eq!(
            rest[2..],
            frames::close(1012, "restarting; connect again").unwrap()
        );
    }

    #[tokio::test]
    async fn a_frame_that_never_ends_holds_up_no_process_that_is_to_end() {
        let stop = CancellationToken::new();
        let ((mut ours, mut client), (mut notifier, mut theirs)) =
            (tokio::io::duplex(64), tokio::io::duplex(64));
        let passing = tell(&mut theirs, &mut ours, &stop, Duration::from_millis(20));
        let conversation = async {
            notifier.write_all(&[0x81, 4, b'a']).await.unwrap();
            client.read_exact(&mut [0; 3]).await.unwrap();
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(passing, conversation);
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        drop(ours);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
}
