//! WebSockets: who may open how many, from where, and what may be said over them.

use anyhow::{Context, Result, ensure};
use futures::SinkExt;
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    shop::{Answer, RESTART, Socket, close_code, next_update},
    world::{PAGE, Setup, World, eventually},
};
use reqwest::Method;
use std::sync::Arc;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// Opens a WebSocket at the notifier itself, as an ingress does.
async fn open(world: &World, query: &str, origin: Option<&str>) -> Result<std::result::Result<Socket, u16>> {
    let notifier = &world.config.upstreams.notifier;
    let address = format!("127.0.0.1:{}", notifier.port().context("no port")?);
    handshake(&address, query, origin).await
}

async fn handshake(
    address: &str,
    query: &str,
    origin: Option<&str>,
) -> Result<std::result::Result<Socket, u16>> {
    let stream = TcpStream::connect(address).await?;
    let mut request = format!("ws://{address}/ws?{query}").into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse()?);
    }
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => Ok(Err(refused.status().as_u16())),
        Err(error) => Err(error.into()),
    }
}

async fn closed_with(socket: &mut Socket) -> Result<Option<u16>> {
    Ok(tokio::time::timeout(SETTLED, close_code(socket)).await?)
}

#[tokio::test]
async fn a_user_has_ten_sockets_and_the_oldest_makes_room() -> Result<()> {
    let world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("TOLD", 5, None).await?;
    let query = format!("token={}", shop.token("ada", Role::Buyer)?);
    let mut sockets = Vec::new();
    for _ in 0..11 {
        sockets.push(open(&world, &query, None).await?.ok().context("refused")?);
    }
    assert_eq!(closed_with(&mut sockets[0]).await?, Some(4409));
    eventually(SETTLED, "ten are open", async || {
        Ok(world.metric("notifier", "quicksale_sockets").await? == 10.0)
    })
    .await?;
    shop.order("ada", "k", "TOLD", 1).await?.expect(201)?;
    assert_eq!(
        next_update(&mut sockets[10]).await?["data"]["status"],
        "CONFIRMED"
    );
    // So often in a minute and not more, whatever becomes of the sockets.
    let mut refused = None;
    for _ in 0..60 {
        match open(&world, &query, None).await? {
            Ok(socket) => sockets.push(socket),
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    assert_eq!((refused, sockets.len()), (Some(429), 60));
    let other = format!("token={}", shop.token("bob", Role::Buyer)?);
    assert!(open(&world, &other, None).await?.is_ok());
    Ok(())
}

/// A browser that hears 1012 connects again at once; one that hears nothing may take it for a broken network.
#[tokio::test]
async fn a_process_that_ends_says_goodbye_to_every_socket() -> Result<()> {
    let world = World::start().await?;
    let mut sockets = Vec::new();
    for n in 0..500 {
        let query = format!("token={}", world.shop.token(&format!("buyer-{n}"), Role::Buyer)?);
        sockets.push(open(&world, &query, None).await?.ok().context("refused")?);
    }
    world.terminate("notifier").await?;
    let codes = futures::future::join_all(sockets.iter_mut().map(closed_with)).await;
    for code in codes {
        ensure!(code? == Some(RESTART), "somebody was left without a word");
    }
    Ok(())
}

/// Where there is no ingress the sockets pass through the gateways, and the notifier knows nothing of one that ends.
#[tokio::test]
async fn a_gateway_that_ends_says_goodbye_to_the_sockets_that_pass_through_it() -> Result<()> {
    let world = World::start().await?;
    let mut sockets = Vec::new();
    for n in 0..100 {
        let token = world.shop.token(&format!("buyer-{n}"), Role::Buyer)?;
        sockets.push(world.shop.socket(&token).await?);
    }
    world.terminate("gateway").await?;
    let codes = futures::future::join_all(sockets.iter_mut().map(closed_with)).await;
    for code in codes {
        ensure!(code? == Some(RESTART), "somebody was left without a word");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_talks_is_shown_out_before_it_has_said_much() -> Result<()> {
    let world = World::start().await?;
    let query = format!("token={}", world.shop.token("ada", Role::Buyer)?);
    for (message, code) in [
        (Message::Text("hello".into()), 1008),
        (Message::Binary(vec![1].into()), 1003),
    ] {
        let mut socket = open(&world, &query, None).await?.ok().context("refused")?;
        socket.send(Message::Text("ping".into())).await?;
        socket.send(message).await?;
        assert_eq!(closed_with(&mut socket).await?, Some(code));
    }
    // A frame that says of itself that it is long is not waited for.
    let mut bomb = open(&world, &query, None).await?.ok().context("refused")?;
    let mut head = vec![0x82, 0xff];
    head.extend(16_777_215_u64.to_be_bytes());
    head.extend([0; 4]);
    bomb.get_mut().write_all(&head).await?;
    closed_with(&mut bomb).await?;
    eventually(SETTLED, "nobody is left", async || {
        Ok(world.metric("notifier", "quicksale_sockets").await? == 0.0)
    })
    .await
}

#[tokio::test]
async fn a_ticket_opens_one_socket_once() -> Result<()> {
    let world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("TOLD", 5, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    shop.send(Method::POST, "/api/ws-ticket", None, None)
        .await?
        .expect_problem(401, "unauthenticated")?;
    let issued = shop
        .send(Method::POST, "/api/ws-ticket", Some(&ada), None)
        .await?;
    assert_eq!(issued.expect(201)?.json["expiresIn"], 30);
    assert_eq!(issued.headers["cache-control"], "no-store");
    let ticket = issued.json["ticket"].as_str().context("no ticket")?;
    let query = format!("ticket={ticket}");
    // Through the gateway, as a browser without an ingress.
    let gateway = shop.url("").trim_start_matches("http://").to_owned();
    let mut socket = handshake(&gateway, &query, Some(PAGE))
        .await?
        .ok()
        .context("refused")?;
    shop.order("ada", "k", "TOLD", 1).await?.expect(201)?;
    assert_eq!(next_update(&mut socket).await?["data"]["status"], "CONFIRMED");
    for address in [gateway.as_str(), world.config.upstreams.notifier.authority()] {
        for query in [
            query.as_str(),
            "ticket=made-up",
            &format!("ticket={}", "0".repeat(64)),
            "ticket=",
        ] {
            let refused = handshake(address, query, None).await?;
            assert_eq!(refused.err(), Some(401), "{query}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_ticket_is_over_after_thirty_seconds() -> Result<()> {
    let world = World::start().await?;
    let ada = world.shop.token("ada", Role::Buyer)?;
    let tickets = world.database.collection::<Document>("ws_tickets");
    let before = DateTime::now().timestamp_millis();
    for (aged_by, opens) in [(15_000, true), (30_000, false)] {
        let issued = world
            .shop
            .send(Method::POST, "/api/ws-ticket", Some(&ada), None)
            .await?;
        let ticket = issued.expect(201)?.json["ticket"].as_str().context("no ticket")?;
        let kept = tickets.find_one(doc! {}).await?.context("no ticket is kept")?;
        let end = kept.get_datetime("expiresAt")?.timestamp_millis();
        let good_for = 30_000..30_000 + i64::try_from(SETTLED.as_millis())?;
        ensure!(good_for.contains(&(end - before)), "good for {} ms", end - before);
        // As if it had been issued so long ago.
        let aged = doc! {"$set": {"expiresAt": DateTime::from_millis(end - aged_by)}};
        ensure!(tickets.update_one(doc! {}, aged).await?.matched_count == 1);
        let opened = open(&world, &format!("ticket={ticket}"), None).await?;
        ensure!(
            opened.as_ref().err().copied() == (!opens).then_some(401),
            "after {aged_by} ms: {:?}",
            opened.err()
        );
        tickets.delete_many(doc! {}).await?;
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_other_sites_open_no_socket() -> Result<()> {
    let world = World::start().await?;
    let query = format!("token={}", world.shop.token("ada", Role::Buyer)?);
    let gateway = world.shop.url("").trim_start_matches("http://").to_owned();
    let notifier = world.config.upstreams.notifier.authority().to_owned();
    for address in [gateway, notifier] {
        for (origin, may) in [
            (None, true),
            (Some(PAGE.to_owned()), true),
            (Some(format!("http://{address}")), true),
            (Some("https://elsewhere.example.com".to_owned()), false),
        ] {
            let opened = handshake(&address, &query, origin.as_deref()).await?;
            assert_eq!(opened.err(), (!may).then_some(403), "{address} {origin:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_seen_last_is_named_by_an_id_or_refused() -> Result<()> {
    let world = World::start().await?;
    let token = world.shop.token("ada", Role::Buyer)?;
    let url = format!(
        "{}ws?token={token}&lastEventId=zzz",
        world.config.upstreams.notifier
    );
    let answer = Answer::of(world.shop.http.get(url).send().await?).await?;
    answer.expect_problem(400, "invalid_request")?;
    assert_eq!(answer.json["errors"][0]["field"], "lastEventId");
    let id = uuid::Uuid::now_v7();
    assert!(
        open(&world, &format!("token={token}&lastEventId={id}"), None)
            .await?
            .is_ok()
    );
    Ok(())
}

/// However many accounts somebody has, and whatever else they say of where they are.
#[tokio::test]
async fn a_network_has_so_many_handshakes_whoever_they_are_for() -> Result<()> {
    let world = World::start_as(Setup {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Setup::default()
    })
    .await?;
    let ask = async |n: usize, from: &str| -> Result<u16> {
        let url = format!("{}ws?ticket={n:064}", world.config.upstreams.notifier);
        let request = world.shop.http.get(url).header("x-forwarded-for", from);
        let request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        Ok(request.send().await?.status().as_u16())
    };
    let mut refused = None;
    for n in 0..=2 * 600 {
        // A client writes what it likes before what the proxy adds.
        let status = ask(n, &format!("192.0.2.{}, 2001:db8::{n:x}", n % 250)).await?;
        if status == 429 {
            refused = Some(n);
            break;
        }
        assert_eq!(status, 401, "a ticket that nobody was given");
    }
    // A minute may have turned meanwhile.
    let refused = refused.context("1,200 were let in")?;
    assert!(refused >= 600, "{refused}");
    assert_eq!(
        ask(0, "2001:db8:0:1::1").await?,
        401,
        "the next network has its own"
    );
    Ok(())
}
