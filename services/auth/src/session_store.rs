//! Sessions in MongoDB: one document for each login, however often its token is exchanged.

use crate::refresh::Tokens;
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
    options::IndexOptions,
};
use sale::UserId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A token that was spent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spent {
    hash: String,
    at: DateTime,
}

/// A session in the store. It holds no token, see [`crate::refresh`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Opaque id, for its owner.
    #[serde(rename = "_id")]
    pub id: String,
    /// Whose it is.
    pub user_id: UserId,
    /// What it is found by: the hash of what all of its tokens begin with.
    pub handle: String,
    key: String,
    current: String,
    spent: Vec<Spent>,
    /// The account's version at login; over when the account has another.
    pub auth_version: i64,
    /// When it began.
    pub created_at: DateTime,
    /// When its token was exchanged last.
    pub last_used_at: DateTime,
    /// When it ends unless its token is exchanged before.
    pub expires_at: DateTime,
    /// When it ends.
    pub ends_at: DateTime,
    /// The network it was used from last, masked.
    pub from: String,
    /// What the client called itself.
    pub agent: String,
}

/// Where and when a session is used.
#[derive(Debug, Clone)]
pub struct Use {
    /// When.
    pub at: Timestamp,
    /// From which network, masked.
    pub from: String,
    /// By what.
    pub agent: String,
}

impl Session {
    /// A session that begins.
    pub fn new(user: UserId, auth_version: i64, handle: String, tokens: &Tokens, by: Use) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            user_id: user,
            handle,
            key: hex::encode(&tokens.key),
            current: tokens.current.clone(),
            spent: Vec::new(),
            auth_version,
            created_at: time(by.at),
            last_used_at: time(by.at),
            expires_at: time(tokens.expires_at),
            ends_at: time(tokens.ends_at),
            from: by.from,
            agent: by.agent,
        }
    }

    /// What it knows of its tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens {
            key: hex::decode(&self.key).unwrap_or_default(),
            current: self.current.clone(),
            spent: self
                .spent
                .iter()
                .map(|spent| (spent.hash.clone(), timestamp(spent.at)))
                .collect(),
            expires_at: timestamp(self.expires_at),
            ends_at: timestamp(self.ends_at),
        }
    }
}

/// The sessions.
#[derive(Debug, Clone)]
pub struct SessionStore {
    sessions: Collection<Session>,
}

impl SessionStore {
    /// The sessions in the database of accounts.
    pub fn new(database: &Database) -> Self {
        Self {
            sessions: database.collection("logins"),
        }
    }

    /// Creates the indexes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        let gone = IndexOptions::builder().expire_after(Duration::ZERO).build();
        for (keys, options) in [
            (doc! {"handle": 1}, unique),
            (doc! {"expiresAt": 1}, gone),
            (doc! {"userId": 1, "createdAt": -1}, IndexOptions::default()),
        ] {
            let index = IndexModel::builder().keys(keys).options(options).build();
            self.sessions.create_index(index).await?;
        }
        Ok(())
    }

    /// Adds a session, and ends the oldest ones of its user beyond `most`.
    ///
    /// # Errors
    /// The driver's.
    pub async fn add(&self, session: &Session, most: usize) -> Result<(), Error> {
        self.sessions.insert_one(session).await?;
        let all = self.of_user(&session.user_id).await?;
        for surplus in all.iter().skip(most) {
            self.end(&surplus.id).await?;
        }
        Ok(())
    }

    /// The session that a token belongs to.
    ///
    /// # Errors
    /// The driver's.
    pub async fn by_handle(&self, handle: &str) -> Result<Option<Session>, Error> {
        self.sessions.find_one(doc! {"handle": handle}).await
    }

    /// The sessions of a user, the newest first.
    ///
    /// # Errors
    /// The driver's.
    pub async fn of_user(&self, user: &UserId) -> Result<Vec<Session>, Error> {
        let newest_first = doc! {"createdAt": -1, "_id": -1};
        self.sessions
            .find(doc! {"userId": user.as_str()})
            .sort(newest_first)
            .await?
            .try_collect()
            .await
    }

    /// Exchanges a session's token. False when another call has done so, or the session has ended.
    ///
    /// # Errors
    /// The driver's.
    pub async fn exchange(&self, before: &Session, tokens: &Tokens, by: Use) -> Result<bool, Error> {
        let spent: Vec<Document> = tokens
            .spent
            .iter()
            .map(|(hash, at)| doc! {"hash": hash, "at": time(*at)})
            .collect();
        let change = doc! {"$set": {
            "current": &tokens.current, "spent": spent, "expiresAt": time(tokens.expires_at),
            "lastUsedAt": time(by.at), "from": by.from, "agent": by.agent,
        }};
        let unchanged = doc! {"_id": &before.id, "current": &before.current};
        let done = self.sessions.update_one(unchanged, change).await?;
        Ok(done.matched_count == 1)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end(&self, id: &str) -> Result<(), Error> {
        self.sessions.delete_one(doc! {"_id": id}).await.map(drop)
    }

    /// Ends a session if it is this user's; says whether there was one.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end_of_user(&self, id: &str, user: &UserId) -> Result<bool, Error> {
        let done = self
            .sessions
            .delete_one(doc! {"_id": id, "userId": user.as_str()})
            .await?;
        Ok(done.deleted_count == 1)
    }

    /// Ends the sessions of a user that are older than this version of the account.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end_older(&self, user: &UserId, than: i64) -> Result<(), Error> {
        let older = doc! {"userId": user.as_str(), "authVersion": {"$lt": than}};
        self.sessions.delete_many(older).await.map(drop)
    }
}

fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}

fn timestamp(at: DateTime) -> Timestamp {
    Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}
