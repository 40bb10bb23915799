//! Logging in and out.

use crate::{
    Console, Switches,
    session::{Administrator, Sender, set_cookie},
};
use auth::{account::Email, proof::Purpose};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::{
    audit::{self, Event, Outcome},
    http::{
        Json,
        problem::{Code, Problem},
    },
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    email: String,
    password: SecretString,
}

/// Who is logged in, and what this console is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Me {
    user: Administrator,
    switches: bool,
    version: &'static str,
    server_time: String,
}

fn view(console: &Console, user: Administrator) -> Json<Me> {
    Json(Me {
        user,
        switches: console.switches == Switches::Allowed,
        version: env!("CARGO_PKG_VERSION"),
        server_time: console.clock.now().to_string(),
    })
}

/// Lets an administrator in. Tries are counted together with those of the sales' services.
pub(super) async fn login(
    State(console): State<Console>,
    Sender(client): Sender,
    Json(login): Json<Login>,
) -> Result<Response, Problem> {
    let email = Email::parse(&login.email)?;
    let now = console.clock.now();
    let user = console
        .prover
        .prove(Purpose::Login, &email, login.password, &client, now)
        .await?;
    let session = console.sessions.begin(&user, now);
    audit::record(Event {
        action: "console_login",
        outcome: if session.is_some() {
            Outcome::Done
        } else {
            Outcome::Refused
        },
        who: user.id.as_str(),
        whose: user.id.as_str(),
        from: Some(client.address),
        request_id: client.request_id.as_deref(),
    });
    let (secret, who) = session.ok_or_else(|| {
        Problem::new(
            Code::Forbidden,
            "This account is no administrator's, and the console is for administrators.",
        )
    })?;
    let cookie = set_cookie(Some(&secret), console.cookies);
    Ok(([(header::SET_COOKIE, cookie)], view(&console, who)).into_response())
}

/// Ends the session, if there is one.
pub(super) async fn logout(
    State(console): State<Console>,
    Sender(client): Sender,
    headers: HeaderMap,
) -> impl IntoResponse {
    if let Some(who) = console.sessions.end(&headers) {
        audit::record(Event {
            action: "console_logout",
            outcome: Outcome::Done,
            who: who.id.as_str(),
            whose: who.id.as_str(),
            from: Some(client.address),
            request_id: client.request_id.as_deref(),
        });
    }
    (
        [(header::SET_COOKIE, set_cookie(None, console.cookies))],
        StatusCode::NO_CONTENT,
    )
}

/// Who is logged in.
pub(super) async fn me(State(console): State<Console>, user: Administrator) -> Json<Me> {
    view(&console, user)
}
