//! Users and refresh tokens in MongoDB.

use crate::account::Email;
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, doc},
    error::Error,
    options::IndexOptions,
};
use platform::tokens::Role;
use sale::UserId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A user in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Opaque id.
    #[serde(rename = "_id")]
    pub id: UserId,
    /// Lower-case address, unique.
    pub email: String,
    /// PHC string.
    pub password_hash: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was made.
    pub created_at: DateTime,
}

/// A refresh token in the store: its hash only.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    /// SHA-256 of the token, in hex.
    #[serde(rename = "_id")]
    pub hash: String,
    /// Whose it is.
    pub user_id: UserId,
    /// All tokens that came from one login.
    pub family: String,
    /// When it was exchanged; a second exchange is theft.
    pub spent_at: Option<DateTime>,
    /// When it ends.
    pub expires_at: DateTime,
}

/// The collections of auth.
#[derive(Debug, Clone)]
pub struct Store {
    users: Collection<User>,
    refresh_tokens: Collection<RefreshToken>,
}

impl Store {
    /// The collections in the database of accounts.
    pub fn new(database: &Database) -> Self {
        Self {
            users: database.collection("users"),
            refresh_tokens: database.collection("refresh_tokens"),
        }
    }

    /// Creates the indexes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        self.users
            .create_index(
                IndexModel::builder()
                    .keys(doc! {"email": 1})
                    .options(unique)
                    .build(),
            )
            .await?;
        let gone = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let expiry = IndexModel::builder()
            .keys(doc! {"expiresAt": 1})
            .options(gone)
            .build();
        self.refresh_tokens.create_index(expiry).await?;
        self.refresh_tokens
            .create_index(IndexModel::builder().keys(doc! {"family": 1}).build())
            .await?;
        Ok(())
    }

    /// Adds a user; a taken address is a duplicate key.
    ///
    /// # Errors
    /// The driver's.
    pub async fn add_user(&self, user: &User) -> Result<(), Error> {
        self.users.insert_one(user).await.map(drop)
    }

    /// The user with an address.
    ///
    /// # Errors
    /// The driver's.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        self.users.find_one(doc! {"email": email.as_str()}).await
    }

    /// The user with an id.
    ///
    /// # Errors
    /// The driver's.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>, Error> {
        self.users.find_one(doc! {"_id": id.as_str()}).await
    }

    /// Replaces a user's password and makes the user an admin.
    ///
    /// # Errors
    /// The driver's.
    pub async fn make_admin(&self, id: &UserId, password_hash: &str) -> Result<(), Error> {
        let change = doc! {"$set": {"passwordHash": password_hash, "role": "admin"}};
        self.users
            .update_one(doc! {"_id": id.as_str()}, change)
            .await
            .map(drop)
    }

    /// Adds a refresh token.
    ///
    /// # Errors
    /// The driver's.
    pub async fn add_token(&self, token: &RefreshToken) -> Result<(), Error> {
        self.refresh_tokens.insert_one(token).await.map(drop)
    }

    /// Spends a token that is neither spent nor over, once: of two racing calls one gets it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn spend(&self, hash: &str, now: Timestamp) -> Result<Option<RefreshToken>, Error> {
        let at = DateTime::from_millis(now.as_millisecond());
        self.refresh_tokens
            .find_one_and_update(
                doc! {"_id": hash, "spentAt": null, "expiresAt": {"$gt": at}},
                doc! {"$set": {"spentAt": at}},
            )
            .await
    }

    /// A token, spent or not.
    ///
    /// # Errors
    /// The driver's.
    pub async fn token(&self, hash: &str) -> Result<Option<RefreshToken>, Error> {
        self.refresh_tokens.find_one(doc! {"_id": hash}).await
    }

    /// Ends every token of a family.
    ///
    /// # Errors
    /// The driver's.
    pub async fn revoke(&self, family: &str) -> Result<(), Error> {
        self.refresh_tokens
            .delete_many(doc! {"family": family})
            .await
            .map(drop)
    }
}
