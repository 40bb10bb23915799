//! The mark among a sale's keys in Redis. Redis may lose it at any moment, so every look puts it there again.

use super::{Claim, Claimant, Owner};
use fred::{
    clients::Client,
    error::Error,
    interfaces::KeysInterface,
    types::{Expiration, SetOptions},
};

/// How long a mark lasts after the last look, in seconds: longer than an operator is ever away, and no key without an
/// end.
const LASTS: i64 = 7 * 24 * 3_600;

fn key(prefix: &str) -> String {
    format!("{prefix}owner")
}

/// Puts the mark there, unless another's is.
///
/// # Errors
/// fred's error.
pub async fn claim(client: &Client, prefix: &str, claimant: &Claimant) -> Result<Claim, Error> {
    let (key, mark) = (key(prefix), mark(&claimant.owner)?);
    let lasts = Some(Expiration::EX(LASTS));
    let set = client.set(&key, mark.as_str(), lasts.clone(), Some(SetOptions::NX), false);
    if set.await.map(|answer: Option<String>| answer.is_some())? {
        return Ok(Claim::Granted);
    }
    let found: Option<String> = client.get(&key).await?;
    let found = found.and_then(|text| serde_json::from_str::<Owner>(&text).ok());
    match found {
        Some(found) if !found.is_same_place(&claimant.owner) => Ok(Claim::Refused(format!(
            "the keys {prefix}* in Redis belong to the sale {found} of another cluster; use a Secret that leads to \
             another Redis"
        ))),
        // Our own, or what is no mark at all: Redis is no record of anything.
        _ => {
            let _: () = client.set(&key, mark.as_str(), lasts, None, false).await?;
            Ok(Claim::Granted)
        }
    }
}

/// Takes the mark away if it is this sale's.
///
/// # Errors
/// fred's error.
pub async fn remove(client: &Client, prefix: &str, owner: &Owner) -> Result<(), Error> {
    let found: Option<String> = client.get(key(prefix)).await?;
    if found == Some(mark(owner)?) {
        let _: () = client.del(key(prefix)).await?;
    }
    Ok(())
}

fn mark(owner: &Owner) -> Result<String, Error> {
    serde_json::to_string(owner)
        .map_err(|error| Error::new(fred::error::ErrorKind::InvalidArgument, error.to_string()))
}
