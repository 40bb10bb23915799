//! Accounts as an attacker, a forgetful buyer and a platform team meet them, on real backends.
//!
//! Requests go to auth itself, as the gateway sends them: the client's address is the value of `X-Forwarded-For`.

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use jiff::Timestamp;
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::{KeyPair, Role, Signer, Verifier, key_set};
use quicksale_tests::{
    shop::Answer,
    world::{ADMIN_EMAIL, ADMIN_PASSWORD, Setup, World, eventually},
};
use reqwest::Method;
use sale::UserId;
use sale::guesses::{FREE, FROM_ALL_ADDRESSES_AT_ONCE};
use serde_json::{Value, json};
use std::time::Duration;

/// Where honest people are.
const HOME: &str = "198.51.100.7";
/// Where nobody has been before.
const ELSEWHERE: &str = "192.0.2.99";
/// How long a process may take to notice.
const SOON: Duration = Duration::from_secs(15);
/// A password that nobody would guess.
const PASSWORD: &str = "seven green bicycles";

/// Sends a request to one auth process, as from an address.
async fn at(
    world: &World,
    (process, from): (&str, &str),
    (method, path): (Method, &str),
    token: Option<&str>,
    body: Option<Value>,
) -> Result<Answer> {
    let url = world.url_of(process, path);
    let mut request = world
        .shop
        .http
        .request(method, url)
        .header("x-forwarded-for", from);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::of(request.send().await?).await
}

async fn post(world: &World, from: &str, path: &str, body: Value) -> Result<Answer> {
    at(world, ("auth", from), (Method::POST, path), None, Some(body)).await
}

async fn login(world: &World, from: &str, email: &str, password: &str) -> Result<Answer> {
    let body = json!({"email": email, "password": password});
    post(world, from, "/api/auth/login", body).await
}

async fn refresh(world: &World, process: &str, token: &Value) -> Result<Answer> {
    let body = json!({"refreshToken": token});
    at(
        world,
        (process, HOME),
        (Method::POST, "/api/auth/refresh"),
        None,
        Some(body),
    )
    .await
}

/// Registers somebody at home.
async fn register(world: &World, name: &str) -> Result<(String, Answer)> {
    let email = format!("{name}.{}@example.com", uuid::Uuid::new_v4().simple());
    let body = json!({"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "L"});
    let registered = post(world, HOME, "/api/auth/register", body).await?;
    registered.expect(201)?;
    Ok((email, registered))
}

fn text<'a>(answer: &'a Answer, key: &str) -> Result<&'a str> {
    answer.json[key]
        .as_str()
        .with_context(|| format!("no {key} in {}", answer.text))
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// As if a refresh token had been spent a while ago.
async fn age_spent_tokens(world: &World) -> Result<()> {
    let ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 31_000);
    let sessions = world.accounts().collection::<Document>("logins");
    let done = sessions
        .update_many(
            doc! {"spent.0": {"$exists": true}},
            doc! {"$set": {"spent.0.at": ago}},
        )
        .await?;
    ensure!(done.matched_count > 0, "no token was spent");
    Ok(())
}

#[tokio::test]
async fn one_address_has_few_guesses_whatever_tokens_it_brings() -> Result<()> {
    let world = World::start().await?;
    let (email, _) = register(&world, "ada").await?;
    let nobody = format!("nobody.{}@example.com", uuid::Uuid::new_v4().simple());
    for victim in [&email, &nobody] {
        // A hundred at once, from all over one /64, each with the token of another user.
        let tokens: Vec<String> = (0..100)
            .map(|n| world.shop.token(&format!("u{n}"), platform::tokens::Role::Buyer))
            .collect::<Result<_>>()?;
        let guesses = tokens.iter().enumerate().map(|(n, token)| {
            let world = &world;
            async move {
                let from = format!("2001:db8:1:2:{n:x}::{n:x}");
                let body = json!({"email": victim, "password": format!("guess number {n}")});
                let to = (Method::POST, "/api/auth/login");
                at(world, ("auth", &from), to, Some(token), Some(body)).await
            }
        });
        let answers: Vec<Answer> = join_all(guesses).await.into_iter().collect::<Result<_>>()?;
        // A guess that the database was too slow for is counted, and nobody has looked at it.
        let (looked_at, refused, unanswered) =
            (count(&answers, 401), count(&answers, 429), count(&answers, 503));
        let told = format!("at {victim}: {looked_at} looked at, {refused} refused, {unanswered} unanswered");
        ensure!(looked_at <= FREE as usize, "{told}");
        ensure!(looked_at + unanswered >= FREE as usize, "{told}");
        ensure!(looked_at + refused + unanswered == 100, "{told}");
        for refused in answers.iter().filter(|answer| answer.status == 429) {
            refused.expect_problem(429, "rate_limited")?;
            let wait: u64 = refused.headers["retry-after"].to_str()?.parse()?;
            // Rounded up, and the one that set the wait may have come a moment later.
            assert!((1..=31).contains(&wait), "{wait}");
        }
    }
    // The right password is as good as a wrong one there, and the owner gets in at home.
    login(&world, "2001:db8:1:2::ffff", &email, PASSWORD)
        .await?
        .expect_problem(429, "rate_limited")?;
    login(&world, HOME, &email, PASSWORD).await?.expect(200)?;
    // IPv4 written as IPv6 is IPv4.
    for n in 0..FREE {
        let from = if n % 2 == 0 {
            "203.0.113.5"
        } else {
            "::ffff:203.0.113.5"
        };
        login(&world, from, &email, "wrong wrong").await?.expect(401)?;
    }
    for from in ["203.0.113.5", "::ffff:203.0.113.5"] {
        login(&world, from, &email, "wrong wrong").await?.expect(429)?;
    }
    Ok(())
}

/// Sales of one platform have the same accounts, and a crowd of sales is no crowd of guesses.
#[tokio::test]
async fn guesses_at_two_sales_count_together() -> Result<()> {
    let first = World::start().await?;
    let second = World::start_as(Setup {
        accounts: Some(first.config.data.accounts_database.clone()),
        ..Setup::default()
    })
    .await?;
    let (email, _) = register(&first, "ada").await?;
    let from = "203.0.113.5";
    for n in 0..FREE {
        let sale = if n % 2 == 0 { &first } else { &second };
        login(sale, from, &email, "wrong wrong").await?.expect(401)?;
    }
    for sale in [&first, &second] {
        login(sale, from, &email, PASSWORD).await?.expect(429)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_right_password_makes_an_address_start_over() -> Result<()> {
    let world = World::start().await?;
    let (email, _) = register(&world, "ada").await?;
    for _ in 0..2 {
        for _ in 1..FREE {
            login(&world, HOME, &email, "wrong wrong").await?.expect(401)?;
        }
        login(&world, HOME, &email, PASSWORD).await?.expect(200)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_attacker_everywhere_does_not_lock_the_owner_out_at_home() -> Result<()> {
    let world = World::start().await?;
    let (email, _) = register(&world, "ada").await?;
    let mut answers = Vec::new();
    for chunk in 0..7 {
        let guesses = (0..10).map(|n| {
            let (world, email) = (&world, &email);
            async move { login(world, &format!("203.0.{chunk}.{n}"), email, "wrong wrong").await }
        });
        for answer in join_all(guesses).await {
            answers.push(answer?);
        }
    }
    let (looked_at, at_once) = (count(&answers, 401), FROM_ALL_ADDRESSES_AT_ONCE as usize);
    // One more becomes free every 72 s.
    assert!((at_once..=at_once + 2).contains(&looked_at), "{looked_at}");
    assert_eq!(count(&answers, 429), answers.len() - looked_at);
    login(&world, ELSEWHERE, &email, PASSWORD)
        .await?
        .expect_problem(429, "rate_limited")?;
    login(&world, HOME, &email, PASSWORD).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_repeated_refresh_has_the_same_answer_from_every_replica() -> Result<()> {
    let mut world = World::start().await?;
    world.second("auth-2").await?;
    let (_, first) = register(&world, "ada").await?;
    let first = &first.json["refreshToken"];
    let answers = join_all((0..8).map(|n| {
        let (world, process) = (&world, if n % 2 == 0 { "auth" } else { "auth-2" });
        async move { refresh(world, process, first).await }
    }))
    .await;
    let mut bodies = Vec::new();
    for answer in answers {
        bodies.push(answer?.expect(200)?.text.clone());
    }
    // The answer is lost, and the process that gave it dies.
    world.kill_and_restart("auth")?;
    let again = refresh(&world, "auth-2", first).await?;
    assert_eq!(again.expect(200)?.headers["cache-control"], "no-store");
    bodies.push(again.text.clone());
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let second = refresh(&world, "auth-2", &again.json["refreshToken"]).await?;
    second.expect(200)?;
    // Whoever comes later with what was spent has stolen it.
    age_spent_tokens(&world).await?;
    refresh(&world, "auth-2", first)
        .await?
        .expect_problem(401, "unauthenticated")?;
    refresh(&world, "auth-2", &second.json["refreshToken"])
        .await?
        .expect_problem(401, "unauthenticated")?;
    Ok(())
}

#[tokio::test]
async fn sessions_are_seen_and_ended() -> Result<()> {
    let world = World::start().await?;
    let (email, registered) = register(&world, "ada").await?;
    let token = text(&registered, "accessToken")?;
    let logged_in = login(&world, HOME, &email, PASSWORD).await?;
    let (eve, eves) = register(&world, "eve").await?;
    let eves = text(&eves, "accessToken")?;
    let list = async |token: &str| {
        let list = at(
            &world,
            ("auth", HOME),
            (Method::GET, "/api/auth/sessions"),
            Some(token),
            None,
        )
        .await?;
        Ok::<_, anyhow::Error>(
            list.expect(200)?.json["items"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        )
    };
    let sessions = list(token).await?;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(sessions[0]["from"], "198.51.100.0/24");

    // By its id, and only one's own.
    let path = format!(
        "/api/auth/sessions/{}",
        sessions[0]["_id"].as_str().context("no _id")?
    );
    let end =
        async |token: &str| at(&world, ("auth", HOME), (Method::DELETE, &path), Some(token), None).await;
    end(eves).await?.expect_problem(404, "not_found")?;
    end(token).await?.expect(204)?;
    end(token).await?.expect_problem(404, "not_found")?;
    refresh(&world, "auth", &logged_in.json["refreshToken"])
        .await?
        .expect(401)?;

    // By its refresh token alone.
    let body = json!({"refreshToken": registered.json["refreshToken"]});
    post(&world, HOME, "/api/auth/logout", body).await?.expect(204)?;
    refresh(&world, "auth", &registered.json["refreshToken"])
        .await?
        .expect(401)?;
    assert!(list(token).await?.is_empty());

    // All of them, at once, and nobody else's; more than twenty there never are.
    let mut refresh_tokens = Vec::new();
    for _ in 0..21 {
        let logged_in = login(&world, HOME, &email, PASSWORD).await?;
        refresh_tokens.push(logged_in.expect(200)?.json["refreshToken"].clone());
    }
    assert_eq!(list(token).await?.len(), 20);
    refresh(&world, "auth", &refresh_tokens[0]).await?.expect(401)?;
    refresh(&world, "auth", &refresh_tokens[1]).await?.expect(200)?;
    at(
        &world,
        ("auth", HOME),
        (Method::POST, "/api/auth/logout-all"),
        Some(token),
        None,
    )
    .await?
    .expect(204)?;
    for token in &refresh_tokens[2..] {
        refresh(&world, "auth", token).await?.expect(401)?;
    }
    assert_eq!(list(eves).await?.len(), 1);

    // Ninety days after its login, a session is over.
    let logged_in = login(&world, HOME, &eve, PASSWORD).await?;
    let past = DateTime::from_millis(DateTime::now().timestamp_millis() - 1_000);
    let all = world.accounts().collection::<Document>("logins");
    all.update_many(doc! {}, doc! {"$set": {"endsAt": past}}).await?;
    refresh(&world, "auth", &logged_in.json["refreshToken"])
        .await?
        .expect(401)?;
    Ok(())
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_and_a_deleted_account_all() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 5, None).await?;
    let (email, registered) = register(&world, "ada").await?;
    let token = text(&registered, "accessToken")?;
    let change = async |current: &str, new: &str| {
        let body = json!({"currentPassword": current, "newPassword": new});
        let to = (Method::POST, "/api/auth/password");
        at(&world, ("auth", HOME), to, Some(token), Some(body)).await
    };
    change("wrong wrong", "eight red tricycles")
        .await?
        .expect_problem(403, "forbidden")?;
    let weak = change(PASSWORD, "password1").await?;
    weak.expect_problem(400, "invalid_request")?;
    assert_eq!(weak.json["errors"][0]["field"], "newPassword", "{}", weak.text);
    let changed = change(PASSWORD, "eight red tricycles").await?;
    changed.expect(200)?;
    refresh(&world, "auth", &registered.json["refreshToken"])
        .await?
        .expect(401)?;
    refresh(&world, "auth", &changed.json["refreshToken"])
        .await?
        .expect(200)?;
    login(&world, HOME, &email, PASSWORD).await?.expect(401)?;
    let logged_in = login(&world, HOME, &email, "eight red tricycles").await?;

    // Through the gateway, as a browser does; what was bought stays.
    let items = json!([{"sku": "P", "quantity": 1}]);
    world.shop.place(token, "k", items).await?.expect(201)?;
    let delete = async |password: &str| {
        let body = json!({"password": password});
        world
            .shop
            .send(Method::DELETE, "/api/auth/me", Some(token), Some(body))
            .await
    };
    delete(PASSWORD).await?.expect_problem(403, "forbidden")?;
    delete("eight red tricycles").await?.expect(204)?;
    delete("eight red tricycles")
        .await?
        .expect_problem(404, "not_found")?;
    login(&world, HOME, &email, "eight red tricycles")
        .await?
        .expect(401)?;
    refresh(&world, "auth", &logged_in.json["refreshToken"])
        .await?
        .expect(401)?;
    let user = registered.json["user"]["_id"].as_str().context("no _id")?;
    assert_eq!(world.count_orders(doc! {"userId": user}).await?, 1);
    let sessions = world.accounts().collection::<Document>("logins");
    assert_eq!(sessions.count_documents(doc! {"userId": user}).await?, 0);
    Ok(())
}

#[tokio::test]
async fn passwords_that_are_tried_first_are_refused() -> Result<()> {
    let world = World::start().await?;
    for (password, says) in [
        ("12345678", "most common"),
        ("Password1", "most common"),
        ("QuickSale2026", "name of this shop"),
        ("lovelace.99", "your name"),
        ("1234567", "from 8 to 128"),
    ] {
        let body = json!({"email": "ada@example.com", "password": password, "firstName": "Ada", "lastName": "Lovelace"});
        let refused = post(&world, HOME, "/api/auth/register", body).await?;
        refused.expect_problem(400, "invalid_request")?;
        let error = &refused.json["errors"][0];
        let detail = error["detail"].as_str().unwrap_or_default();
        assert!(
            error["field"] == "password" && detail.contains(says),
            "{}",
            refused.text
        );
        assert!(!refused.text.contains(password), "{}", refused.text);
    }
    Ok(())
}

/// How long a change of the administrator's Secret may take to be in force once the files are there.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Waits until an account has a role. Trying to log in until it works would be guessing.
async fn becomes(world: &World, email: &str, role: &str) -> Result<()> {
    let users = world.accounts().collection::<Document>("users");
    let is = async || {
        let user = users.find_one(doc! {"email": email, "role": role}).await?;
        Ok(user.is_some())
    };
    eventually(IN_FORCE, &format!("{email} is {role}"), is).await
}

/// Logs in at home as somebody with a role.
async fn login_as(world: &World, email: &str, password: &str, role: &str) -> Result<Answer> {
    let answer = login(world, HOME, email, password).await?;
    ensure!(
        answer.expect(200)?.json["user"]["role"] == role,
        "{}",
        answer.text
    );
    Ok(answer)
}

/// Waits until the gateway takes an administrator's access token no more. It does not look so often that the user's reads of a minute are
/// used up.
async fn is_over(world: &World, token: &str) -> Result<()> {
    let refused = async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = world
            .shop
            .send(Method::GET, "/api/orders", Some(token), None)
            .await?;
        Ok(answer.expect_problem(401, "unauthenticated").is_ok())
    };
    eventually(IN_FORCE, "the access token is over", refused).await
}

#[tokio::test]
async fn the_administrator_is_who_is_declared() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let first = login_as(&world, ADMIN_EMAIL, ADMIN_PASSWORD, "admin").await?;
    let firsts = text(&first, "accessToken")?;
    let orders = async |token: &str| shop.send(Method::GET, "/api/orders", Some(token), None).await;
    orders(firsts).await?.expect(200)?;

    // Somebody has registered the address that is declared later, and keeps a session.
    let (boss, squatter) = register(&world, "boss").await?;
    world.declare_admin(Some((&boss, "nine blue unicycles")))?;
    becomes(&world, &boss, "admin").await?;
    let admin = login_as(&world, &boss, "nine blue unicycles", "admin").await?;
    refresh(&world, "auth", &squatter.json["refreshToken"])
        .await?
        .expect_problem(401, "unauthenticated")?;
    login(&world, ELSEWHERE, &boss, PASSWORD).await?.expect(401)?;
    let token = text(&admin, "accessToken")?;
    orders(token).await?.expect(200)?;

    // Who was declared before is a buyer at once.
    is_over(&world, firsts).await?;
    refresh(&world, "auth", &first.json["refreshToken"])
        .await?
        .expect(401)?;
    login_as(&world, ADMIN_EMAIL, ADMIN_PASSWORD, "buyer").await?;

    // A new password ends what the old one began, and nobody changes it but by the declaration.
    let to = (Method::POST, "/api/auth/password");
    let body = json!({"currentPassword": "nine blue unicycles", "newPassword": "something of my own"});
    at(&world, ("auth", HOME), to, Some(token), Some(body))
        .await?
        .expect_problem(403, "forbidden")?;
    world.declare_admin(Some((&boss, "ten black scooters")))?;
    is_over(&world, token).await?;
    let renewed = login_as(&world, &boss, "ten black scooters", "admin").await?;
    login(&world, ELSEWHERE, &boss, "nine blue unicycles")
        .await?
        .expect(401)?;
    refresh(&world, "auth", &admin.json["refreshToken"])
        .await?
        .expect(401)?;

    // Without auth nobody can say who is an administrator; everybody else goes on.
    let token = text(&renewed, "accessToken")?;
    orders(token).await?.expect(200)?;
    world.freeze("auth").await?;
    eventually(IN_FORCE, "administrators are refused", async || {
        Ok(orders(token).await?.expect_problem(503, "busy").is_ok())
    })
    .await?;
    let buyer = shop.token("a-buyer", platform::tokens::Role::Buyer)?;
    orders(&buyer).await?.expect(200)?;
    world.thaw("auth").await?;
    eventually(IN_FORCE, "administrators are let in again", async || {
        Ok(orders(token).await?.status == 200)
    })
    .await?;

    world.declare_admin(None)?;
    is_over(&world, token).await?;
    login_as(&world, &boss, "ten black scooters", "buyer").await?;

    // Outsiders do not reach the question.
    let user = renewed.json["user"]["_id"].as_str().context("no _id")?;
    let path = format!("/internal/standing/{user}");
    shop.send(Method::GET, &path, Some(token), None)
        .await?
        .expect_problem(404, "not_found")?;
    Ok(())
}

/// A program gets a token for its secret, with limits of its own; once its account has ended the token is good for nothing.
#[tokio::test]
async fn a_program_of_the_shop_gets_tokens_until_its_account_ends() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let admin = shop.token("an-admin", platform::tokens::Role::Admin)?;
    let accounts = "/api/auth/service-accounts";
    let name = format!("payments-{}", uuid::Uuid::new_v4().simple());
    let body = json!({"name": name});
    let buyer = shop.token("ada", platform::tokens::Role::Buyer)?;
    for nobody in [&buyer, &shop.token("svc", platform::tokens::Role::Service)?] {
        shop.send(Method::POST, accounts, Some(nobody), Some(body.clone()))
            .await?
            .expect_problem(403, "forbidden")?;
    }
    let made = shop
        .send(Method::POST, accounts, Some(&admin), Some(body.clone()))
        .await?;
    made.expect(201)?;
    assert_eq!(made.headers["cache-control"], "no-store");
    let (id, secret) = (text(&made, "clientId")?, text(&made, "clientSecret")?);
    shop.send(Method::POST, accounts, Some(&admin), Some(body))
        .await?
        .expect_problem(409, "name_taken")?;

    let wrong = format!("{secret}x");
    for (id, secret) in [(id, wrong.as_str()), ("svc-nobody", secret)] {
        let body = json!({"clientId": id, "clientSecret": secret});
        shop.send(Method::POST, "/api/auth/token", None, Some(body))
            .await?
            .expect_problem(401, "unauthenticated")?;
    }
    let body = json!({"clientId": id, "clientSecret": secret});
    let issued = shop
        .send(Method::POST, "/api/auth/token", None, Some(body))
        .await?;
    assert_eq!(issued.expect(200)?.json["expiresIn"], 900);
    let token = text(&issued, "accessToken")?;
    let orders = async || shop.send(Method::GET, "/api/orders", Some(token), None).await;
    let seen = orders().await?;
    assert_eq!(seen.expect(200)?.headers["ratelimit-limit"], "6000");
    // What it may not do: make others.
    shop.send(Method::GET, accounts, Some(token), None)
        .await?
        .expect_problem(403, "forbidden")?;
    let list = shop.send(Method::GET, accounts, Some(&admin), None).await?;
    let items = list.expect(200)?.json["items"].as_array().context("no items")?;
    let mine = items
        .iter()
        .find(|item| item["clientId"] == id)
        .context("not listed")?;
    ensure!(mine["name"] == name && mine["usedAt"].is_string(), "{mine}");
    ensure!(!list.text.contains("ecret"), "{}", list.text);

    let path = format!("{accounts}/{id}");
    shop.send(Method::DELETE, &path, Some(&admin), None)
        .await?
        .expect(204)?;
    shop.send(Method::DELETE, &path, Some(&admin), None)
        .await?
        .expect_problem(404, "not_found")?;
    eventually(IN_FORCE, "the token is good for nothing", async || {
        Ok(orders().await?.expect_problem(401, "unauthenticated").is_ok())
    })
    .await
}

#[tokio::test]
async fn the_trail_names_what_was_done_and_nothing_secret() -> Result<()> {
    let world = World::start().await?;
    let mut secrets = vec![
        PASSWORD.to_owned(),
        "eight red tricycles".to_owned(),
        "a wrong guess".to_owned(),
    ];
    let (email, registered) = register(&world, "ada").await?;
    let body = json!({"email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "L"});
    post(&world, HOME, "/api/auth/register", body)
        .await?
        .expect(409)?;
    for _ in 0..=FREE {
        login(&world, ELSEWHERE, &email, "a wrong guess").await?;
    }
    login(&world, HOME, "nobody.at.all@example.com", "a wrong guess")
        .await?
        .expect(401)?;
    let logged_in = login(&world, HOME, &email, PASSWORD).await?;
    let spent = logged_in.expect(200)?.json["refreshToken"].clone();
    let refreshed = refresh(&world, "auth", &spent).await?;
    age_spent_tokens(&world).await?;
    refresh(&world, "auth", &spent).await?.expect(401)?;
    let token = text(&registered, "accessToken")?;
    let mine = async |method: Method, path: &str, body: Option<Value>| {
        at(&world, ("auth", HOME), (method, path), Some(token), body).await
    };
    let body = json!({"currentPassword": "a wrong guess", "newPassword": "eight red tricycles"});
    mine(Method::POST, "/api/auth/password", Some(body))
        .await?
        .expect(403)?;
    let body = json!({"currentPassword": PASSWORD, "newPassword": "eight red tricycles"});
    let changed = mine(Method::POST, "/api/auth/password", Some(body)).await?;
    let list = mine(Method::GET, "/api/auth/sessions", None).await?;
    let id = list.json["items"][0]["_id"]
        .as_str()
        .context("no session")?
        .to_owned();
    mine(Method::DELETE, &format!("/api/auth/sessions/{id}"), None)
        .await?
        .expect(204)?;
    let again = login(&world, HOME, &email, "eight red tricycles").await?;
    let body = json!({"refreshToken": again.json["refreshToken"]});
    post(&world, HOME, "/api/auth/logout", body).await?.expect(204)?;
    mine(Method::POST, "/api/auth/logout-all", None)
        .await?
        .expect(204)?;
    world.declare_admin(None)?;
    becomes(&world, ADMIN_EMAIL, "buyer").await?;
    let body = json!({"password": "eight red tricycles"});
    mine(Method::DELETE, "/api/auth/me", Some(body))
        .await?
        .expect(204)?;
    for answer in [&registered, &logged_in, &refreshed, &changed, &again] {
        for key in ["accessToken", "refreshToken"] {
            secrets.push(text(answer, key)?.to_owned());
        }
    }
    secrets.extend([
        email.clone(),
        email.split('@').next().unwrap_or_default().to_owned(),
        "nobody.at.all".to_owned(),
        ADMIN_EMAIL.to_owned(),
        ADMIN_PASSWORD.to_owned(),
        HOME.to_owned(),
        ELSEWHERE.to_owned(),
    ]);

    let log = world.log_of("auth")?;
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{secret} is in the log");
    }
    let trail: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["log"]["logger"] == "audit")
        .collect();
    for (action, outcome) in [
        ("register", "done"),
        ("register", "refused"),
        ("login", "done"),
        ("login", "refused"),
        ("login", "throttled"),
        ("token_reuse", "refused"),
        ("password_change", "refused"),
        ("password_change", "done"),
        ("session_end", "done"),
        ("logout", "done"),
        ("logout_all", "done"),
        ("account_deletion", "done"),
        ("administrator_seed", "done"),
        ("administrator_demotion", "done"),
    ] {
        let line = trail
            .iter()
            .find(|line| line["event"]["action"] == action && line["quicksale"]["outcome"] == outcome)
            .with_context(|| format!("no {action} {outcome} in the trail"))?;
        assert!(
            line["user"]["id"].is_string() && line["quicksale"]["whose"].is_string(),
            "{line}"
        );
        assert!(line["@timestamp"].is_string(), "{line}");
        if !action.starts_with("administrator") {
            let from = line["client"]["address"].as_str().unwrap_or_default();
            assert!(
                from.ends_with(".0/24") && line["http"]["request"]["id"].is_string(),
                "{line}"
            );
        }
        let metric = format!("quicksale_audit_events_total{{action=\"{action}\",outcome=\"{outcome}\"}}");
        assert!(world.metric("auth", &metric).await? >= 1.0);
    }
    assert!(
        trail
            .iter()
            .any(|line| line["quicksale"]["whose"] == "n***@example.com")
    );
    Ok(())
}

/// What the operator does with a new signing key, step by step, while the same processes run.
#[tokio::test]
async fn a_new_signing_key_takes_over_and_logs_nobody_out() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let old = world.public_keys()?;
    let new = KeyPair::generate()?;
    let signer = Signer::from_pem(&new.private_pem)?;
    let orders = async |token: &str| {
        let answer = shop.send(Method::GET, "/api/orders", Some(token), None).await?;
        Ok::<_, anyhow::Error>(answer.status)
    };
    let (email, registered) = register(&world, "ada").await?;
    let first = text(&registered, "accessToken")?;

    // Published before it signs.
    let early = signer.access_token(&UserId::new("somebody"), Role::Buyer, Timestamp::now())?;
    assert_eq!(orders(&early).await?, 401, "a key that nobody has published");
    let both = key_set([old.as_str(), new.jwks_json.as_str()])?;
    world.write_keys(&both, None)?;
    eventually(SOON, "all services know the new key", async || {
        Ok(orders(&early).await? == 200)
    })
    .await?;
    // Each process looks at its files by itself.
    eventually(SOON, "auth publishes both", async || {
        let kids = shop
            .send(Method::GET, "/.well-known/jwks.json", None, None)
            .await?;
        Ok(kids.json["keys"].as_array().map(Vec::len) == Some(2))
    })
    .await?;

    // It signs, and what the last one signed is good.
    world.write_keys(&both, Some(&new.private_pem))?;
    let only_new = Verifier::from_jwks(new.jwks_json.as_bytes())?;
    eventually(SOON, "auth signs with the new key", async || {
        let answer = login(&world, HOME, &email, PASSWORD).await?;
        let token = text(answer.expect(200)?, "accessToken")?.to_owned();
        Ok(only_new.verify(&token, Timestamp::now()).is_ok() && orders(&token).await? == 200)
    })
    .await?;
    assert_eq!(orders(first).await?, 200, "a token of the last key");

    // The last one is taken away: its tokens end, and a session goes on.
    world.write_keys(&new.jwks_json, None)?;
    eventually(SOON, "tokens of the last key are refused", async || {
        Ok(orders(first).await? == 401)
    })
    .await?;
    let renewed = refresh(&world, "auth", &registered.json["refreshToken"]).await?;
    assert_eq!(orders(text(renewed.expect(200)?, "accessToken")?).await?, 200);

    // What is no key set changes nothing.
    world.write_keys("{\"keys\": []}", Some("no key"))?;
    let warned = async |service: &str| Ok(world.log_of(service)?.contains("keeping what is in memory"));
    for service in ["auth", "order"] {
        eventually(SOON, "it is said", async || warned(service).await).await?;
    }
    let answer = login(&world, HOME, &email, PASSWORD).await?;
    assert_eq!(orders(text(answer.expect(200)?, "accessToken")?).await?, 200);
    Ok(())
}
