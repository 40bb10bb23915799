//! The mark in a sale's database: one document, which a primary key keeps single.

use super::{Claim, Claimant, Owner, unmarked};
use mongodb::{
    Client, Collection, Database,
    bson::{Document, doc},
};
use platform::backends::mongo::{MongoError, detached, is_duplicate_key};
use serde::{Deserialize, Serialize};

/// The collection with the mark.
const COLLECTION: &str = "ownership";
/// The id of the only document in it.
const ID: &str = "owner";

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    #[serde(rename = "_id")]
    id: String,
    #[serde(flatten)]
    owner: Owner,
}

fn marks(database: &Database) -> Collection<Mark> {
    database.collection(COLLECTION)
}

/// Puts the mark there, unless another's is.
///
/// # Errors
/// [`MongoError`].
pub async fn claim(client: &Client, name: &str, claimant: &Claimant) -> Result<Claim, MongoError> {
    let (database, claimant) = (client.database(name), claimant.clone());
    detached(async move { Ok(claim_in(&database, &claimant).await?) }).await
}

async fn claim_in(database: &Database, claimant: &Claimant) -> Result<Claim, mongodb::error::Error> {
    let marks = marks(database);
    if let Some(found) = marks.find_one(doc! {"_id": ID}).await? {
        return settle(&marks, claimant, found.owner).await;
    }
    if !claimant.adopts() && !database.list_collection_names().await?.is_empty() {
        return Ok(unmarked(&format!("the database {} is", database.name())));
    }
    let mark = Mark {
        id: ID.to_owned(),
        owner: claimant.owner.clone(),
    };
    match marks.insert_one(&mark).await {
        Ok(_) => Ok(Claim::Granted),
        Err(error) if is_duplicate_key(&error) => match marks.find_one(doc! {"_id": ID}).await? {
            Some(found) => settle(&marks, claimant, found.owner).await,
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The mark that is there is the claimant's, or becomes it after one of the same name, or is another's.
async fn settle(
    marks: &Collection<Mark>,
    claimant: &Claimant,
    found: Owner,
) -> Result<Claim, mongodb::error::Error> {
    if !found.is_same_place(&claimant.owner) {
        return Ok(Claim::Refused(format!(
            "the database {} belongs to the sale {found} of {}; use a Secret that leads to another MongoDB, or give the \
             sale another name",
            marks.namespace().db,
            if found.cluster == claimant.owner.cluster {
                "this cluster"
            } else {
                "another cluster"
            },
        )));
    }
    if found.uid != claimant.owner.uid {
        let change: Document = doc! {"$set": {"uid": &claimant.owner.uid}};
        marks
            .update_one(doc! {"_id": ID, "uid": &found.uid}, change)
            .await?;
    }
    Ok(Claim::Granted)
}

/// Drops the database if it carries this sale's mark; returns whether it is gone.
///
/// # Errors
/// [`MongoError`].
pub async fn remove(client: &Client, name: &str, owner: &Owner) -> Result<bool, MongoError> {
    let (database, owner) = (client.database(name), owner.clone());
    detached(async move {
        let found = marks(&database).find_one(doc! {"_id": ID}).await?;
        let ours = found.is_some_and(|mark| mark.owner == owner);
        if ours {
            database.drop().await?;
        }
        Ok(ours)
    })
    .await
}
