//! Proving who one is by a password: the one way to it for logging in, changing a password and deleting an account, so
//! that tries are counted together whatever they are made for.

use crate::{
    account::Email,
    client::Client,
    guesses::{Guesses, Verdict},
    password::Passwords,
    session::busy,
    store::{Store, User},
};
use jiff::Timestamp;
use platform::{
    audit::{self, Event, Outcome},
    backends::mongo::{self, MongoError},
    http::problem::{Code, Problem},
};
use secrecy::SecretString;
use std::time::Duration;

/// What the proof is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Logging in.
    Login,
    /// Changing the password.
    PasswordChange,
    /// Deleting the account.
    Deletion,
}

impl Purpose {
    /// Its name in the audit trail.
    pub fn action(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::PasswordChange => "password_change",
            Self::Deletion => "account_deletion",
        }
    }
}

/// Checks passwords, counting the tries.
#[derive(Debug, Clone)]
pub struct Prover {
    users: Store,
    guesses: Guesses,
    passwords: Passwords,
}

impl Prover {
    /// A prover over these users and counts.
    pub fn new(users: Store, guesses: Guesses, passwords: Passwords) -> Self {
        Self {
            users,
            guesses,
            passwords,
        }
    }

    /// The user with this address, if the password is the right one. The try is counted before the password is looked
    /// at, and whether there is such an account makes no difference to an outsider.
    ///
    /// # Errors
    /// 401 for a wrong address or password, 429 after too many, 503 when the store does not answer.
    pub async fn prove(
        &self,
        purpose: Purpose,
        email: &Email,
        password: SecretString,
        client: &Client,
        now: Timestamp,
    ) -> Result<User, Problem> {
        let (users, wanted) = (self.users.clone(), email.clone());
        let user =
            mongo::detached(async move { users.user_by_email(&wanted).await.map_err(MongoError::from) })
                .await
                .map_err(|error| busy(&error))?;
        let whose = user.as_ref().map_or_else(
            || audit::masked_email(email.as_str()),
            |user| user.id.as_str().to_owned(),
        );
        let note = |outcome| {
            let who = if outcome == Outcome::Done {
                whose.as_str()
            } else {
                "anonymous"
            };
            audit::record(Event {
                action: purpose.action(),
                outcome,
                who,
                whose: &whose,
                from: Some(client.address),
                request_id: client.request_id.as_deref(),
            });
        };
        let network = client.network();
        let trusted = user.as_ref().is_some_and(|user| user.knows(network));
        let counted = match self.guesses.count(email, network, trusted, now).await {
            Ok(Verdict::Go(counted)) => counted,
            Ok(Verdict::AddressMustWait(wait)) => {
                note(Outcome::Throttled);
                return Err(too_many(
                    "Too many tries at this account's password from your network",
                    wait,
                ));
            }
            Ok(Verdict::AccountMustWait(wait)) => {
                note(Outcome::Throttled);
                return Err(too_many(
                    "Too many tries at this account's password from everywhere; log in from where you have logged in before, or wait",
                    wait,
                ));
            }
            Err(error) => return Err(busy(&error)),
        };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let good = match self.passwords.verify(password, hash, Some(network)).await {
            Ok(good) => good,
            Err(busy) => {
                // Nobody looked at the password, so nobody has guessed.
                if let Err(error) = self.guesses.take_back(counted).await {
                    tracing::warn!(%error, "cannot take back a try that was not looked at");
                }
                return Err(busy);
            }
        };
        let Some(user) = user.filter(|_| good) else {
            note(Outcome::Refused);
            return Err(Problem::unauthenticated(
                "The address or the password is not right.",
            ));
        };
        if purpose == Purpose::Login {
            note(Outcome::Done);
        }
        self.welcome(&user, client, counted, trusted).await;
        Ok(user)
    }

    /// Remembers that the owner was here. Without it the next login may have to wait, so this one goes on.
    async fn welcome(&self, user: &User, client: &Client, counted: crate::guesses::Counted, trusted: bool) {
        if let Err(error) = self.guesses.forgive(counted).await {
            tracing::warn!(%error, "cannot take back a try that was right");
        }
        if !trusted {
            self.remember(user, client).await;
        }
    }

    /// Remembers the network of a user who has proven to be one.
    pub async fn remember(&self, user: &User, client: &Client) {
        let (users, id, network) = (self.users.clone(), user.id.clone(), client.network());
        let remembered = mongo::detached(async move {
            users
                .remember_network(&id, network)
                .await
                .map_err(MongoError::from)
        });
        if let Err(error) = remembered.await {
            tracing::warn!(%error, "cannot remember where an owner has logged in");
        }
    }
}

fn too_many(what: &str, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = seconds.max(1);
    Problem::new(Code::RateLimited, format!("{what}; try again in {seconds} s.")).retry_after(seconds)
}
