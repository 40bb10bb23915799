//! Counts tries at passwords in the database of accounts, so that all sales and replicas on it count together.
//!
//! A try is counted before the password is looked at, by compare-and-set on one small document, and taken back when the
//! password was right. The documents expire by themselves.

use crate::{account::Email, client::Network};
use jiff::Timestamp;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{DateTime, Document, doc},
    error::Error,
    options::{IndexOptions, ReadConcern},
};
use platform::{
    backends::mongo::{MongoError, detached, is_duplicate_key},
    retry::Backoff,
};
use sale::guesses::{FromAllAddresses, FromOneAddress, Wait};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Tries to change a count against others who do the same. Few can win before the count refuses everybody; whoever loses
/// so often is one of a great many. With the waits between them they last longer than a slow disk takes for the few.
const ATTEMPTS: u32 = 24;
/// The wait after the first try, and the longest one.
const WAITS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// A count in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    #[serde(rename = "_id")]
    id: String,
    made: i64,
    at: DateTime,
    expires_at: DateTime,
}

impl Count {
    fn of_address(id: &str, state: FromOneAddress) -> Self {
        Self {
            id: id.to_owned(),
            made: state.made.into(),
            at: time(state.next_at),
            expires_at: time(state.forgotten_at()),
        }
    }

    fn of_account(id: &str, state: FromAllAddresses) -> Self {
        Self {
            id: id.to_owned(),
            made: 0,
            at: time(state.free_at),
            expires_at: time(state.free_at),
        }
    }

    fn address(&self) -> FromOneAddress {
        FromOneAddress {
            made: u32::try_from(self.made).unwrap_or(u32::MAX),
            next_at: timestamp(self.at),
        }
    }

    fn account(&self) -> FromAllAddresses {
        FromAllAddresses {
            free_at: timestamp(self.at),
        }
    }

    /// Matches the count only as it was read.
    fn unchanged(&self) -> Document {
        doc! {"_id": &self.id, "made": self.made, "at": self.at}
    }
}

/// A count as it was and as it is.
#[derive(Debug, Clone)]
struct Change {
    before: Option<Count>,
    after: Count,
}

/// A try that was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    address: Change,
    account: Option<Change>,
}

/// Whether a try may be looked at.
#[derive(Debug)]
pub enum Verdict {
    /// It may, and is counted.
    Go(Counted),
    /// Its address has tried too often.
    AddressMustWait(Duration),
    /// All addresses together have tried too often.
    AccountMustWait(Duration),
}

/// The counts.
#[derive(Debug, Clone)]
pub struct Guesses {
    counts: Collection<Count>,
}

impl Guesses {
    /// The counts in the database of accounts.
    pub fn new(database: &Database) -> Self {
        Self {
            counts: database.collection("guesses"),
        }
    }

    /// Creates the index.
    ///
    /// # Errors
    /// The driver's.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let gone = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let expiry = IndexModel::builder()
            .keys(doc! {"expiresAt": 1})
            .options(gone)
            .build();
        self.counts.create_index(expiry).await.map(drop)
    }

    /// Counts a try at an account, whether or not there is one. From an address that its owner has logged in from
    /// (`trusted`), only the address's own tries count, so that nobody elsewhere can lock the owner out there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count(
        &self,
        email: &Email,
        from: Network,
        trusted: bool,
        now: Timestamp,
    ) -> Result<Verdict, MongoError> {
        let now = timestamp(time(now));
        let (address, account) = (key(&[email.as_str(), &from.to_string()]), key(&[email.as_str()]));
        let this = self.clone();
        detached(async move {
            let by_address = |before: Option<&Count>| {
                let state = FromOneAddress::one_more(before.map(Count::address), now)?;
                Ok(Count::of_address(&address, state))
            };
            let address = match this.change(&address, by_address).await? {
                Ok(change) => change,
                Err(Wait(wait)) => return Ok(Verdict::AddressMustWait(wait)),
            };
            if trusted {
                return Ok(Verdict::Go(Counted {
                    address,
                    account: None,
                }));
            }
            let by_account = |before: Option<&Count>| {
                let state = FromAllAddresses::one_more(before.map(Count::account), now)?;
                Ok(Count::of_account(&account, state))
            };
            match this.change(&account, by_account).await? {
                Ok(change) => Ok(Verdict::Go(Counted {
                    address,
                    account: Some(change),
                })),
                Err(Wait(wait)) => {
                    // Nobody looked at the password, so the address has not guessed.
                    this.restore(&address).await?;
                    Ok(Verdict::AccountMustWait(wait))
                }
            }
        })
        .await
    }

    /// Forgets the tries of an address that turned out to be the owner's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forgive(&self, counted: Counted) -> Result<(), MongoError> {
        let this = self.clone();
        detached(async move {
            let id = &counted.address.after.id;
            this.counts.delete_one(doc! {"_id": id}).await?;
            if let Some(account) = counted.account {
                let less = |before: Option<&Count>| {
                    let state = before.unwrap_or(&account.after).account().one_less();
                    Ok(Count::of_account(&account.after.id, state))
                };
                let _others_were_quicker = this.change(&account.after.id, less).await?;
            }
            Ok(())
        })
        .await
    }

    /// Takes back a try that nobody looked at.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take_back(&self, counted: Counted) -> Result<(), MongoError> {
        let this = self.clone();
        detached(async move {
            this.restore(&counted.address).await?;
            if let Some(account) = counted.account {
                this.restore(&account).await?;
            }
            Ok(())
        })
        .await
    }

    /// Changes a count by a rule, again when somebody else was quicker.
    async fn change(
        &self,
        id: &str,
        rule: impl Fn(Option<&Count>) -> Result<Count, Wait>,
    ) -> Result<Result<Change, Wait>, MongoError> {
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        for _ in 0..ATTEMPTS {
            // As the primary has it now: what a majority has may be older, and nothing could be changed by it.
            let newest = self
                .counts
                .find_one(doc! {"_id": id})
                .read_concern(ReadConcern::local());
            let before = newest.await?;
            let after = match rule(before.as_ref()) {
                Ok(after) => after,
                Err(wait) => return Ok(Err(wait)),
            };
            if self.replace(before.as_ref(), &after).await? {
                return Ok(Ok(Change { before, after }));
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        Ok(Err(Wait(Duration::from_secs(1))))
    }

    async fn replace(&self, before: Option<&Count>, after: &Count) -> Result<bool, Error> {
        let Some(before) = before else {
            return match self.counts.insert_one(after).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate_key(&error) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let done = self.counts.replace_one(before.unchanged(), after).await?;
        Ok(done.matched_count == 1)
    }

    /// Takes a change back, unless there was another one since.
    async fn restore(&self, change: &Change) -> Result<(), Error> {
        match &change.before {
            Some(before) => self
                .counts
                .replace_one(change.after.unchanged(), before)
                .await
                .map(drop),
            None => self.counts.delete_one(change.after.unchanged()).await.map(drop),
        }
    }
}

/// Neither addresses of people nor of networks are readable in the store.
fn key(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\n").as_bytes()))
}

fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millisecond())
}

fn timestamp(at: DateTime) -> Timestamp {
    Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or(Timestamp::MAX)
}
