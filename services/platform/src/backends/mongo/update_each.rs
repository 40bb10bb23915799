//! Several documents, each changed in its own way, with one command.

use mongodb::{
    ClientSession, Database,
    bson::{Document, deserialize_from_document, doc},
    error::{Error, ErrorKind, WriteError, WriteFailure},
};

/// One document to change, and how.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which one: a filter that no more than one document matches.
    pub which: Document,
    /// Operators, as of any update.
    pub how: Document,
}

/// Changes documents in the caller's transaction, in order, with one `update` command, and returns how many there were: in a transaction
/// each command is a round trip, and a batch may be about a thousand documents.
///
/// # Errors
/// The driver's; nothing of the transaction is kept then.
pub async fn update_each(
    database: &Database,
    collection: &str,
    session: &mut ClientSession,
    changes: Vec<Change>,
) -> Result<u64, Error> {
    if changes.is_empty() {
        return Ok(0);
    }
    let updates: Vec<Document> = changes
        .into_iter()
        .map(|Change { which, how }| doc! {"q": which, "u": how})
        .collect();
    let command = doc! {"update": collection, "updates": updates, "ordered": true};
    let answer = database.run_command(command).session(session).await?;
    // A command succeeds although single updates are refused.
    if let Ok(refused) = answer.get_array("writeErrors")
        && let Some(first) = refused.first().and_then(|error| error.as_document())
    {
        let first: WriteError = deserialize_from_document(first.clone())?;
        return Err(ErrorKind::Write(WriteFailure::WriteError(first)).into());
    }
    super::whole_number(&answer, "n").map(i64::unsigned_abs)
}
