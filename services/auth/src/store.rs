//! Users in MongoDB.

use crate::{account::Email, client::Network};
use futures::TryStreamExt;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, doc},
    error::Error,
    options::{IndexOptions, ReturnDocument},
};
use platform::tokens::Role;
use sale::UserId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Networks that are remembered for each user.
const REMEMBERED_NETWORKS: i32 = 10;

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
    /// Grows whenever the account's sessions must end: a session or an administrator's token of an older version is over.
    #[serde(default)]
    pub auth_version: i64,
    /// The sales whose administrator this is; empty for everybody who has registered.
    #[serde(default)]
    pub seeded_by: Vec<String>,
    /// Hashes of the networks that the user has logged in from, the newest last.
    #[serde(default)]
    pub known_networks: Vec<String>,
}

impl User {
    /// Whether the user has logged in from a network before.
    pub fn knows(&self, network: Network) -> bool {
        self.known_networks.contains(&network_hash(&self.id, network))
    }
}

/// How a network stands among the known ones: no list of addresses can be read from it, nor compared between users.
pub fn network_hash(user: &UserId, network: Network) -> String {
    hex::encode(Sha256::digest(format!("{user}\n{network}")))
}

/// The users.
#[derive(Debug, Clone)]
pub struct Store {
    users: Collection<User>,
}

impl Store {
    /// The users in the database of accounts.
    pub fn new(database: &Database) -> Self {
        Self {
            users: database.collection("users"),
        }
    }

    /// Creates the indexes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let unique = IndexOptions::builder().unique(true).build();
        let email = IndexModel::builder()
            .keys(doc! {"email": 1})
            .options(unique)
            .build();
        self.users.create_index(email).await?;
        // Each sale asks for its administrators once a minute.
        let administrators = IndexModel::builder().keys(doc! {"seededBy": 1}).build();
        self.users.create_index(administrators).await.map(drop)
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

    /// Remembers a network that a user has logged in from.
    ///
    /// # Errors
    /// The driver's.
    pub async fn remember_network(&self, id: &UserId, network: Network) -> Result<(), Error> {
        let hash = network_hash(id, network);
        let new = doc! {"_id": id.as_str(), "knownNetworks": {"$ne": &hash}};
        let push = doc! {"$push": {"knownNetworks": {"$each": [hash], "$slice": -REMEMBERED_NETWORKS}}};
        self.users.update_one(new, push).await.map(drop)
    }

    /// Replaces the password that `user` was read with, and ends all sessions in the same write. `None` when the
    /// password has changed since, or the account is gone.
    ///
    /// # Errors
    /// The driver's.
    pub async fn change_password(&self, user: &User, password_hash: &str) -> Result<Option<User>, Error> {
        let change = doc! {"$set": {"passwordHash": password_hash}, "$inc": {"authVersion": 1_i64}};
        self.users
            .find_one_and_update(as_it_was(user), change)
            .return_document(ReturnDocument::After)
            .await
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// The driver's.
    pub async fn end_sessions(&self, id: &UserId) -> Result<(), Error> {
        let change = doc! {"$inc": {"authVersion": 1_i64}};
        self.users
            .update_one(doc! {"_id": id.as_str()}, change)
            .await
            .map(drop)
    }

    /// Deletes an account whose password is still the one that `user` was read with.
    ///
    /// # Errors
    /// The driver's.
    pub async fn delete(&self, user: &User) -> Result<bool, Error> {
        let done = self.users.delete_one(as_it_was(user)).await?;
        Ok(done.deleted_count == 1)
    }

    /// Makes a user the administrator of a sale, with this password and none of the old sessions, in one write. False
    /// when the user has changed since.
    ///
    /// # Errors
    /// The driver's.
    pub async fn make_admin(&self, user: &User, password_hash: &str, sale: &str) -> Result<bool, Error> {
        let change = doc! {
            "$set": {"passwordHash": password_hash, "role": "admin", "knownNetworks": []},
            "$addToSet": {"seededBy": sale},
            "$inc": {"authVersion": 1_i64},
        };
        let done = self.users.update_one(as_it_was(user), change).await?;
        Ok(done.matched_count == 1)
    }

    /// Notes that an administrator is another sale's, too; false when the account is no administrator's any more.
    ///
    /// # Errors
    /// The driver's.
    pub async fn share_admin(&self, id: &UserId, sale: &str) -> Result<bool, Error> {
        let change = doc! {"$addToSet": {"seededBy": sale}};
        let admin = doc! {"_id": id.as_str(), "role": "admin"};
        let done = self.users.update_one(admin, change).await?;
        Ok(done.matched_count == 1)
    }

    /// The administrators of a sale, aside from the one with this address, and those who are nobody's any more because
    /// somebody was interrupted while taking them from a sale.
    ///
    /// # Errors
    /// The driver's.
    pub async fn other_admins(&self, sale: &str, than: Option<&Email>) -> Result<Vec<User>, Error> {
        let mut of_sale = doc! {"$or": [{"seededBy": sale}, {"role": "admin", "seededBy": {"$size": 0}}]};
        if let Some(email) = than {
            of_sale.insert("email", doc! {"$ne": email.as_str()});
        }
        self.users.find(of_sale).await?.try_collect().await
    }

    /// Takes an administrator from a sale. The account is a buyer's from then on, without the old sessions, also if another
    /// sale has declared it: that one may be long gone. A sale that still declares it puts it back within
    /// [`crate::seed::AGAIN_EVERY`]. Says whether it was an administrator.
    ///
    /// # Errors
    /// The driver's.
    pub async fn drop_admin(&self, id: &UserId) -> Result<bool, Error> {
        let nobodys = doc! {"_id": id.as_str(), "role": "admin"};
        let demote = doc! {"$set": {"role": "buyer", "seededBy": []}, "$inc": {"authVersion": 1_i64}};
        let done = self.users.update_one(nobodys, demote).await?;
        Ok(done.matched_count == 1)
    }
}

/// Matches a user whose password is the one that was read.
fn as_it_was(user: &User) -> mongodb::bson::Document {
    doc! {"_id": user.id.as_str(), "passwordHash": &user.password_hash}
}
