//! Who reads the topics of a sale, and how far they are.

use crate::{
    place::Place,
    problems::{busy, no_kafka},
    records,
};
use events::{
    lanes::{COLLECTION, LEASES, lane_id},
    topics::{GROUPS, Topic},
};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use platform::{
    backends::mongo::{self, MongoError},
    http::problem::Problem,
};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};

/// All lanes of a sale.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lanes {
    items: Vec<Lane>,
    workers: Vec<Worker>,
    next_cursor: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Lane {
    group: &'static str,
    topic: &'static str,
    partition: i32,
    owner: Option<String>,
    epoch: Option<i64>,
    offset: i64,
    end: Option<i64>,
    lag: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Worker {
    group: String,
    name: String,
}

/// Looks at all of them.
///
/// # Errors
/// 503.
pub async fn all(place: &Arc<Place>) -> Result<Lanes, Problem> {
    let database = place.database.clone();
    let documents = mongo::detached(async move {
        let all = async |name: &str| {
            let documents = database.collection::<Document>(name);
            documents.find(doc! {}).await?.try_collect::<Vec<_>>().await
        };
        // The ends are asked for afterwards, so that what is read meanwhile is no lag below zero.
        Ok::<_, MongoError>((all(COLLECTION).await?, all(LEASES).await?))
    });
    let (lanes, leases) = documents.await.map_err(|error| busy(&error))?;
    let ends = records::ends_of(place, &Topic::ALL)
        .await
        .map_err(|error| no_kafka(&error))?;
    Ok(Lanes {
        items: put_together(&lanes, &leases, &ends),
        workers: workers(&leases),
        next_cursor: None,
    })
}

fn put_together(lanes: &[Document], leases: &[Document], ends: &HashMap<(Topic, i32), i64>) -> Vec<Lane> {
    let by_id = |documents: &[Document]| -> HashMap<String, Document> {
        let with_id =
            |document: &Document| Some((document.get_str("_id").ok()?.to_owned(), document.clone()));
        documents.iter().filter_map(with_id).collect()
    };
    let (lanes, leases) = (by_id(lanes), by_id(leases));
    let mut all = Vec::new();
    for (group, topics) in GROUPS {
        for topic in topics {
            let mut partitions: Vec<_> = ends.iter().filter(|((of, _), _)| of == topic).collect();
            partitions.sort_by_key(|((_, partition), _)| *partition);
            for ((_, partition), end) in partitions {
                let id = lane_id(group, *topic, *partition);
                let lane = lanes.get(&id);
                let number = |name: &str| lane.and_then(|lane| lane.get_i64(name).ok());
                let offset = number("offset").unwrap_or(0);
                let owner = leases.get(&id).and_then(|lease| lease.get_str("owner").ok());
                all.push(Lane {
                    group,
                    topic: topic.plain_name(),
                    partition: *partition,
                    owner: owner.map(str::to_owned),
                    epoch: number("epoch"),
                    offset,
                    end: Some(*end),
                    // An offset beyond the end is one of another log, whose records nobody has handled.
                    lag: Some(end.abs_diff(offset)),
                });
            }
        }
    }
    all
}

/// Those that have written themselves down, and were not taken off the list since.
fn workers(leases: &[Document]) -> Vec<Worker> {
    let worker = |lease: &Document| {
        let group = lease.get_str("group").ok()?;
        let name = lease
            .get_str("_id")
            .ok()?
            .strip_prefix("worker:")?
            .strip_prefix(group)?;
        Some(Worker {
            group: group.to_owned(),
            name: name.trim_start_matches('/').to_owned(),
        })
    };
    let mut workers: Vec<_> = leases.iter().filter_map(worker).collect();
    workers.sort();
    workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_what_lane_lease_and_log_say() {
        let lanes = [doc! {"_id": "order/inventory.result/1", "epoch": 4_i64, "offset": 90_i64}];
        let leases = [
            doc! {"_id": "order/inventory.result/1", "owner": "order-7", "epoch": 4_i64, "beat": 9_i64},
            doc! {"_id": "worker:order/order-7", "group": "order", "beat": 9_i64},
        ];
        let ends = HashMap::from([
            ((Topic::InventoryResult, 1), 100),
            ((Topic::InventoryResult, 0), 5),
        ]);
        let all = put_together(&lanes, &leases, &ends);
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(
            (all[0].partition, all[0].offset, all[0].lag, all[0].owner.clone()),
            (0, 0, Some(5), None)
        );
        assert_eq!((all[1].epoch, all[1].offset, all[1].lag), (Some(4), 90, Some(10)));
        assert_eq!(all[1].owner.as_deref(), Some("order-7"));
        let worker = Worker {
            group: "order".to_owned(),
            name: "order-7".to_owned(),
        };
        assert_eq!(workers(&leases), [worker]);
    }
}
