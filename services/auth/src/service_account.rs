//! Accounts of programs of the shop, such as the one that takes payments: a client id and a secret for a token of the role
//! `service`, which has limits of its own. Administrators make and end them.
//!
//! A secret is 256 random bits, so its SHA-256 says nothing about it and no slow hash is needed.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, doc},
    error::Error,
    options::IndexOptions,
};
use sale::UserId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The most there may be: each is known by its name to those who read the list.
pub const MOST: u64 = 100;
/// How exact it is known when an account was used the last time.
const USED_WITHIN: Duration = Duration::from_secs(60);

/// An account in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// The client id, and the subject of its tokens.
    #[serde(rename = "_id")]
    pub id: UserId,
    /// What it is called; unique.
    pub name: String,
    /// SHA-256 of the secret, in hex.
    secret_hash: String,
    /// When it was made.
    pub created_at: DateTime,
    /// When it got a token the last time, to a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<DateTime>,
}

impl ServiceAccount {
    /// A new account and its secret, which is not kept.
    pub fn new(name: String, now: Timestamp) -> (Self, SecretString) {
        // The prefix is for those who look for secrets in what was published by mistake.
        let random = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let secret = SecretString::from(format!("qs_secret_{random}"));
        let account = Self {
            id: UserId::new(format!("svc-{}", uuid::Uuid::now_v7())),
            name,
            secret_hash: hash(&secret),
            created_at: DateTime::from_millis(now.as_millisecond()),
            used_at: None,
        };
        (account, secret)
    }
}

fn hash(secret: &SecretString) -> String {
    hex::encode(Sha256::digest(secret.expose_secret().as_bytes()))
}

/// The accounts.
#[derive(Debug, Clone)]
pub struct ServiceAccounts {
    accounts: Collection<ServiceAccount>,
}

impl ServiceAccounts {
    /// Those in the database of accounts.
    pub fn new(database: &Database) -> Self {
        Self {
            accounts: database.collection("service_accounts"),
        }
    }

    /// Creates the index.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        let names = IndexModel::builder()
            .keys(doc! {"name": 1})
            .options(unique)
            .build();
        self.accounts.create_index(names).await.map(drop)
    }

    /// Adds one; a taken name is a duplicate key. False when there are as many as there may be.
    ///
    /// # Errors
    /// The driver's.
    pub async fn add(&self, account: &ServiceAccount) -> Result<bool, Error> {
        if self.accounts.count_documents(doc! {}).await? >= MOST {
            return Ok(false);
        }
        self.accounts.insert_one(account).await.map(|_| true)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// The driver's.
    pub async fn all(&self) -> Result<Vec<ServiceAccount>, Error> {
        self.accounts
            .find(doc! {})
            .sort(doc! {"name": 1})
            .await?
            .try_collect()
            .await
    }

    /// Whether there is one with this id.
    ///
    /// # Errors
    /// The driver's.
    pub async fn exists(&self, id: &UserId) -> Result<bool, Error> {
        Ok(self.accounts.find_one(doc! {"_id": id.as_str()}).await?.is_some())
    }

    /// The account of an id and its secret, and notes that it was used.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prove(
        &self,
        id: &UserId,
        secret: &SecretString,
        now: Timestamp,
    ) -> Result<Option<ServiceAccount>, Error> {
        let proven = doc! {"_id": id.as_str(), "secretHash": hash(secret)};
        let Some(account) = self.accounts.find_one(proven.clone()).await? else {
            return Ok(None);
        };
        let at = |at: Timestamp| DateTime::from_millis(at.as_millisecond());
        if account.used_at.is_none_or(|used| used < at(now - USED_WITHIN)) {
            let used = doc! {"$set": {"usedAt": at(now)}};
            self.accounts.update_one(proven, used).await?;
        }
        Ok(Some(account))
    }

    /// Ends one; says whether there was one. Its tokens are refused by the gateways within a second.
    ///
    /// # Errors
    /// The driver's.
    pub async fn remove(&self, id: &UserId) -> Result<bool, Error> {
        let done = self.accounts.delete_one(doc! {"_id": id.as_str()}).await?;
        Ok(done.deleted_count == 1)
    }
}
