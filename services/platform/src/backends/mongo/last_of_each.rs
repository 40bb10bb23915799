//! The last number of each of some owners, where what one owns is numbered.

use super::Read;
use futures::TryStreamExt;
use mongodb::{
    ClientSession, Collection,
    bson::{Document, RawDocumentBuf, doc},
    error::Error,
};
use serde::Deserialize;

/// An owner's last number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Last {
    /// Whose.
    #[serde(rename = "_id")]
    pub owner: String,
    /// The highest there is, from 1 on.
    pub number: i64,
}

/// Reads the last number of each of some owners in the caller's transaction, of those who have one; the ids of what cannot be read are
/// owners. Which fields say who owns a document and which one of theirs it is, `owner` and `number` say. It takes an index of the two, the
/// numbers downwards, which need not have what has no number.
///
/// # Errors
/// The driver's.
pub async fn last_of_each<T: Send + Sync>(
    collection: &Collection<T>,
    session: &mut ClientSession,
    (owner, number): (&str, &str),
    owners: &[&str],
) -> Result<Read<Last>, Error> {
    // In this form the server reads one entry of the index for each owner.
    let pipeline = [
        doc! {"$match": {owner: {"$in": owners}, number: {"$gt": 0}}},
        doc! {"$sort": {owner: 1, number: -1}},
        doc! {"$group": {"_id": format!("${owner}"), "number": {"$first": format!("${number}")}}},
    ];
    let mut cursor = collection
        .clone_with_type::<Document>()
        .aggregate(pipeline)
        .batch_size(2_000)
        .session(&mut *session)
        .with_type::<RawDocumentBuf>()
        .await?;
    let all: Vec<RawDocumentBuf> = cursor.stream(session).try_collect().await?;
    Ok(Read::each(all, "last number"))
}
