//! Messages that wait in the outbox, for tests in which they are lost.

use anyhow::{Context, Result};
use events::Topic;
use futures::TryStreamExt;
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};

/// Loses what waits to be said about some orders on a topic, and returns it.
///
/// # Errors
/// The database's, or an outbox of another form.
pub async fn lose(database: &Database, orders: &[String], topic: Topic) -> Result<Vec<String>> {
    let outbox = database.collection::<Document>("outbox");
    let of_topic = doc! {"type": topic.plain_name()};
    let waiting: Vec<Document> = outbox.find(of_topic).await?.try_collect().await?;
    let is_lost = |message: &Document| {
        let key = message.get_str("key");
        key.is_ok_and(|key| orders.iter().any(|order| order == key))
    };
    let mut lost = Vec::new();
    for document in waiting {
        let id = document.get("_id").cloned().context("no _id")?;
        let messages = match document.get_array("messages") {
            Ok(several) => several.iter().filter_map(Bson::as_document).cloned().collect(),
            Err(_) => vec![document.clone()],
        };
        let (gone, left): (Vec<Document>, Vec<Document>) = messages.into_iter().partition(is_lost);
        if gone.is_empty() {
            continue;
        }
        if left.is_empty() {
            outbox.delete_one(doc! {"_id": id}).await?;
        } else {
            let left = doc! {"$set": {"messages": left}};
            outbox.update_one(doc! {"_id": id}, left).await?;
        }
        for message in gone {
            lost.push(message.get_str("payload")?.to_owned());
        }
    }
    Ok(lost)
}
