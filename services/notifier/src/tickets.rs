//! Tickets that open one WebSocket each. Addresses end up in the logs of whatever stands between, and a ticket is worth
//! nothing there: it is good once and for half a minute. MongoDB keeps only the hash of one.

use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, doc},
    error::Error,
    options::IndexOptions,
};
use platform::{
    backends::mongo::{self, MongoError},
    tokens::{Audience, Identity, Role},
};
use sale::UserId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How long a ticket is good.
pub const GOOD_FOR: Duration = Duration::from_secs(30);
/// Tickets that are looked up at once. Nobody can tell a made-up one without asking the database, so this is all that
/// a flood of them can ask of it.
const LOOKED_UP_AT_ONCE: usize = 16;
/// How long a ticket waits for its turn.
const TURN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    #[serde(rename = "_id")]
    hash: String,
    user_id: UserId,
    role: Role,
    /// When the access token ends that it was given for; the socket ends with it.
    token_expires_at: DateTime,
    expires_at: DateTime,
}

/// Why a ticket opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// Made up, used before, or too old.
    #[error("the ticket is not good any more")]
    NotGood,
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] MongoError),
    /// Too many are looked up already.
    #[error("too many tickets are looked up")]
    Busy,
}

/// The tickets of a sale.
#[derive(Debug, Clone)]
pub struct Tickets {
    all: Collection<Ticket>,
    turns: Arc<Semaphore>,
}

impl Tickets {
    /// The collection in a sale's database.
    pub fn new(database: &Database) -> Self {
        Self {
            all: database.collection("ws_tickets"),
            turns: Arc::new(Semaphore::new(LOOKED_UP_AT_ONCE)),
        }
    }

    /// Lets MongoDB remove what nobody used.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_index(&self) -> Result<(), Error> {
        let gone = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let by_expiry = IndexModel::builder()
            .keys(doc! {"expiresAt": 1})
            .options(gone)
            .build();
        self.all.create_index(by_expiry).await.map(drop)
    }

    /// A ticket for somebody.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn issue(&self, identity: &Identity, now: jiff::Timestamp) -> Result<String, MongoError> {
        // Two random UUIDs: 244 bits that nobody guesses.
        let secret = format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let ticket = Ticket {
            hash: hash(&secret),
            user_id: identity.user.clone(),
            role: identity.role,
            token_expires_at: DateTime::from_millis(identity.expires_at.as_millisecond()),
            expires_at: DateTime::from_millis((now + GOOD_FOR).as_millisecond()),
        };
        let all = self.all.clone();
        mongo::detached(async move { all.insert_one(ticket).await.map_err(MongoError::from) }).await?;
        Ok(secret)
    }

    /// Uses a ticket up.
    ///
    /// # Errors
    /// [`TicketError`].
    pub async fn redeem(&self, secret: &str, now: jiff::Timestamp) -> Result<Identity, TicketError> {
        let looks_like_one = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        if !looks_like_one {
            return Err(TicketError::NotGood);
        }
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(TicketError::Busy);
        };
        let good =
            doc! {"_id": hash(secret), "expiresAt": {"$gt": DateTime::from_millis(now.as_millisecond())}};
        let all = self.all.clone();
        let found = mongo::detached(async move {
            let found = all.find_one_and_delete(good).await;
            drop(turn);
            found.map_err(MongoError::from)
        });
        let ticket = found.await?.ok_or(TicketError::NotGood)?;
        let expires_at = jiff::Timestamp::from_millisecond(ticket.token_expires_at.timestamp_millis())
            .map_err(|_| TicketError::NotGood)?;
        Ok(Identity {
            user: ticket.user_id,
            role: ticket.role,
            expires_at,
            audience: Audience::Public,
            version: None,
        })
    }
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
