//! Reading documents each by itself, so that one that is not of the form that is expected hinders no other.

use mongodb::bson::{Bson, RawDocumentBuf, deserialize_from_slice, error::Error};
use serde::de::DeserializeOwned;

/// Documents that were read. A cursor of a type ends at the first one that is not of it; one of [`RawDocumentBuf`] does not.
#[derive(Debug)]
pub struct Read<T> {
    /// In the order in which they came.
    pub readable: Vec<T>,
    /// Those that are there and cannot be read, as they are: a later version has written them, or a hand.
    pub unreadable: Vec<RawDocumentBuf>,
}

/// The id of a document that has a text for one.
fn id(document: &RawDocumentBuf) -> &str {
    document.get_str("_id").unwrap_or_default()
}

impl<T> Read<T> {
    /// The ids of those that cannot be read, whatever these are.
    pub fn unreadable_keys(&self) -> impl Iterator<Item = Bson> {
        let key = |document: &RawDocumentBuf| document.get("_id").ok().flatten()?.try_into().ok();
        self.unreadable.iter().filter_map(key)
    }

    /// The same of those whose id is a text, as all of ours are.
    pub fn unreadable_ids(&self) -> impl Iterator<Item = &str> {
        self.unreadable.iter().map(id)
    }
}

impl<T: DeserializeOwned> Read<T> {
    /// Reads documents of a kind, which is named in the log where one cannot be read.
    pub fn each(documents: impl IntoIterator<Item = RawDocumentBuf>, kind: &'static str) -> Self {
        Self::each_by(documents, kind, |document| {
            deserialize_from_slice(document.as_bytes())
        })
    }
}

impl<T> Read<T> {
    /// The same for what is not read in one way alone.
    pub fn each_by(
        documents: impl IntoIterator<Item = RawDocumentBuf>,
        kind: &'static str,
        of: impl Fn(&RawDocumentBuf) -> Result<T, Error>,
    ) -> Self {
        let documents = documents.into_iter();
        let mut read = Self {
            readable: Vec::with_capacity(documents.size_hint().0),
            unreadable: Vec::new(),
        };
        for document in documents {
            match of(&document) {
                Ok(one) => read.readable.push(one),
                Err(error) => {
                    tracing::error!(kind, id = id(&document), %error, "a document cannot be read; leaving it alone");
                    read.unreadable.push(document);
                }
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::rawdoc;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Counted {
        units: i64,
    }

    #[test]
    fn one_that_cannot_be_read_is_named_and_hinders_no_other() {
        let documents = [
            rawdoc! {"_id": "a", "units": 1_i64},
            rawdoc! {"_id": "b", "units": "many"},
            rawdoc! {"_id": "c", "units": 3_i64},
        ];
        let read = Read::<Counted>::each(documents, "count");
        let units: Vec<i64> = read.readable.iter().map(|counted| counted.units).collect();
        let unreadable: Vec<&str> = read.unreadable_ids().collect();
        assert_eq!((units, unreadable), (vec![1, 3], vec!["b"]));
    }
}
