//! Who is logged in: administrators, by a cookie that scripts cannot read. Sessions are kept in memory; a console that begins anew asks
//! everybody to log in again.

use crate::Console;
use auth::{
    client::Client,
    store::{Store, User},
};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    middleware::Next,
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use platform::{
    backends::mongo::{self, MongoError},
    http::problem::Problem,
    tokens::Role,
};
use sale::UserId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The cookie's name.
const COOKIE: &str = "quicksale-console";
/// Its name over HTTPS: with this prefix no other host of the domain can set it.
const HOST_COOKIE: &str = "__Host-quicksale-console";
/// How long a session lasts at the most.
const LONGEST: SignedDuration = SignedDuration::from_hours(12);
/// How long it lasts while nobody uses it: a page that is open asks all the time.
const IDLE: SignedDuration = SignedDuration::from_mins(60);
/// How long somebody is believed to be the administrator that was looked up.
const BELIEVED: SignedDuration = SignedDuration::from_secs(5);
/// The most sessions; of more, the one that was used longest ago ends.
const MOST: usize = 500;

/// An administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Administrator {
    /// The account.
    #[serde(rename = "_id")]
    pub id: UserId,
    /// Its address.
    pub email: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
}

#[derive(Debug, Clone)]
struct Session {
    who: Administrator,
    /// The account's version when it logged in: a later one ends the session.
    version: i64,
    began: Timestamp,
    used: Timestamp,
    looked_up: Timestamp,
}

/// The sessions of a console.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// By the hash of what is in the cookie: memory that somebody reads opens nothing.
    held: Arc<Mutex<HashMap<[u8; 32], Session>>>,
    users: Store,
}

impl Sessions {
    /// None yet, of administrators among these users.
    pub fn new(users: Store) -> Self {
        Self {
            held: Arc::default(),
            users,
        }
    }

    /// Begins one and returns what goes into the cookie, and whose it is; `None` where the user is no administrator.
    pub fn begin(&self, user: &User, now: Timestamp) -> Option<(String, Administrator)> {
        if user.role != Role::Admin {
            return None;
        }
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let session = Session {
            who: administrator(user),
            version: user.auth_version,
            began: now,
            used: now,
            looked_up: now,
        };
        let mut held = self.held();
        held.retain(|_, session| session.lasts(now));
        if held.len() >= MOST
            && let Some(oldest) = held
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(key, _)| *key)
        {
            held.remove(&oldest);
        }
        let who = session.who.clone();
        held.insert(key(&secret), session);
        Some((secret, who))
    }

    /// Ends the session of a request, if it has one, and says whose it was.
    pub fn end(&self, headers: &HeaderMap) -> Option<Administrator> {
        let secret = cookie(headers)?;
        Some(self.held().remove(&key(secret))?.who)
    }

    /// Who sends a request.
    ///
    /// # Errors
    /// 401, or 503 where it is not known whether somebody still is an administrator.
    pub async fn identify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Administrator, Problem> {
        let refuse = || Problem::unauthenticated("Log in as an administrator.");
        let key = key(cookie(headers).ok_or_else(refuse)?);
        let known = self
            .held()
            .get(&key)
            .filter(|session| session.lasts(now))
            .cloned();
        let session = known.ok_or_else(refuse)?;
        let must_look = now.duration_since(session.looked_up).abs() > BELIEVED;
        if must_look && !self.is_still(&session).await? {
            self.held().remove(&key);
            return Err(Problem::unauthenticated(
                "This account's sessions were ended, or it is no administrator any more. Log in again.",
            ));
        }
        if let Some(session) = self.held().get_mut(&key) {
            session.used = now;
            if must_look {
                session.looked_up = now;
            }
        }
        Ok(session.who)
    }

    async fn is_still(&self, session: &Session) -> Result<bool, Problem> {
        let (users, id) = (self.users.clone(), session.who.id.clone());
        let user = mongo::detached(async move { users.user(&id).await.map_err(MongoError::from) })
            .await
            .map_err(|error| crate::problems::busy(&error))?;
        Ok(user.is_some_and(|user| user.role == Role::Admin && user.auth_version == session.version))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn lasts(&self, now: Timestamp) -> bool {
        now.duration_since(self.began) < LONGEST && now.duration_since(self.used) < IDLE
    }
}

fn administrator(user: &User) -> Administrator {
    Administrator {
        id: user.id.clone(),
        email: user.email.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
    }
}

fn key(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE || name == HOST_COOKIE).then_some(value))
}

/// Whether a browser may send the cookie over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieScope {
    /// Over HTTPS only.
    Https,
    /// Over plain HTTP as well, as on one's own machine.
    Http,
}

/// The header that sets the cookie, or takes it away where there is no secret.
pub fn set_cookie(secret: Option<&str>, scope: CookieScope) -> HeaderValue {
    let (name, secure) = match scope {
        CookieScope::Https => (HOST_COOKIE, "; Secure"),
        CookieScope::Http => (COOKIE, ""),
    };
    let lasts = if secret.is_some() { LONGEST.as_secs() } else { 0 };
    let text = format!(
        "{name}={}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}",
        secret.unwrap_or_default()
    );
    // Hex digits and what stands here.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Lets administrators pass, and tells the routes behind it who they are.
pub(crate) async fn administrators_only(
    State(console): State<Console>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let who = console
        .sessions
        .identify(request.headers(), console.clock.now())
        .await?;
    request.extensions_mut().insert(who);
    Ok(next.run(request).await)
}

impl<S: Send + Sync> FromRequestParts<S> for Administrator {
    type Rejection = Problem;

    /// Who has passed [`administrators_only`]; nobody has elsewhere.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| Problem::unauthenticated("Log in as an administrator."))
    }
}

/// Where a request came from, as far as proxies are believed.
#[derive(Debug, Clone)]
pub struct Sender(pub Client);

impl FromRequestParts<Console> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Problem> {
        let peer = parts
            .extensions
            .get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
            .map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip());
        let forwarded: Vec<&str> = parts
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let forwarded = (!forwarded.is_empty()).then(|| forwarded.join(","));
        let address = platform::http::client_address::resolve(peer, forwarded.as_deref(), &console.trusted);
        let Ok(client) = Client::from_request_parts(parts, console).await;
        Ok(Self(Client { address, ..client }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_is_out_of_scripts_reach() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=1; quicksale-console=abc; b=2"),
        );
        assert_eq!(cookie(&headers), Some("abc"));
        headers.clear();
        headers.append(header::COOKIE, HeaderValue::from_static("xquicksale-console=abc"));
        assert_eq!(cookie(&headers), None);
        let set = set_cookie(Some("abc"), CookieScope::Https);
        let set = set.to_str().unwrap();
        for word in [
            "quicksale-console=abc;",
            "HttpOnly",
            "SameSite=Strict",
            "; Secure",
            "Path=/;",
        ] {
            assert!(set.contains(word), "{set}");
        }
        let gone = set_cookie(None, CookieScope::Http);
        assert!(
            gone.to_str().unwrap().contains("quicksale-console=; ")
                && !gone.to_str().unwrap().contains("Secure")
        );
    }

    #[test]
    fn a_session_ends_by_itself() {
        let at = |minutes: i64| Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap();
        let session = |used| Session {
            who: Administrator {
                id: UserId::new("u"),
                email: String::new(),
                first_name: String::new(),
                last_name: String::new(),
            },
            version: 0,
            began: at(0),
            used: at(used),
            looked_up: at(used),
        };
        assert!(session(0).lasts(at(59)));
        assert!(!session(0).lasts(at(60)), "nobody used it");
        assert!(session(700).lasts(at(719)));
        assert!(!session(700).lasts(at(720)), "twelve hours");
    }
}
