//! Counts of the backends: what MongoDB's `serverStatus` and Redis' `INFO commandstats` say. Times differ from machine to machine and from
//! run to run; how many keys an order puts into the database does not.

use mongodb::bson::{Bson, Document};
use std::collections::BTreeMap;

/// What is counted, by the name it has in tables, and where `serverStatus` has it.
const OF_MONGODB: [(&str, &[&str]); 6] = [
    ("database requests", &["network", "numRequests"]),
    ("transactions", &["transactions", "totalCommitted"]),
    (
        "documents and keys inserted",
        &["wiredTiger", "cursor", "cursor insert calls"],
    ),
    (
        "documents and keys removed",
        &["wiredTiger", "cursor", "cursor remove calls"],
    ),
    ("look-ups", &["wiredTiger", "cursor", "cursor search calls"]),
    ("log bytes", &["wiredTiger", "log", "log bytes written"]),
];
/// Scripts that Redis has run.
pub const SCRIPTS: &str = "Redis scripts";
/// Commands in all, those of scripts included.
pub const COMMANDS: &str = "Redis commands";

/// Counts since the backends began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts(BTreeMap<&'static str, f64>);

impl Counts {
    /// Reads them from what the servers say: the answer to `serverStatus`, and `INFO commandstats`. What one of them does not tell is left
    /// out.
    pub fn read(server_status: &Document, command_stats: &str) -> Self {
        let mut counts = BTreeMap::new();
        for (name, path) in OF_MONGODB {
            if let Some(number) = number(server_status, path) {
                counts.insert(name, number);
            }
        }
        let (mut scripts, mut commands) = (0.0, 0.0);
        for (command, calls) in command_stats.lines().filter_map(calls) {
            commands += calls;
            if command.starts_with("eval") {
                scripts += calls;
            }
        }
        if commands > 0.0 {
            counts.insert(SCRIPTS, scripts);
            counts.insert(COMMANDS, commands);
        }
        Self(counts)
    }

    /// What was counted since then, for each of so many orders.
    #[must_use]
    pub fn for_each_order_since(&self, before: &Self, orders: usize) -> BTreeMap<&'static str, f64> {
        let orders = orders.max(1) as f64;
        let grown = |(name, now): (&&'static str, &f64)| {
            let then = before.0.get(name).copied().unwrap_or(0.0);
            (*name, (now - then) / orders)
        };
        self.0.iter().map(grown).collect()
    }
}

fn number(document: &Document, path: &[&str]) -> Option<f64> {
    let (last, above) = path.split_last()?;
    let mut inside = document;
    for name in above {
        inside = inside.get_document(name).ok()?;
    }
    match inside.get(last)? {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

/// The command of a line such as `cmdstat_evalsha:calls=1400,usec=60420,…`, and how often it was called.
fn calls(line: &str) -> Option<(&str, f64)> {
    let (command, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let calls = rest.split(',').next()?.parse().ok()?;
    Some((command, calls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::doc;

    #[test]
    fn counts_are_read_and_divided_by_orders() {
        let status = |requests: i64, inserts: i64| {
            doc! {"network": {"numRequests": requests}, "wiredTiger": {"cursor": {"cursor insert calls": inserts}}}
        };
        let before = Counts::read(&status(5, 7), "");
        let stats = "# Commandstats\r\ncmdstat_evalsha:calls=30,usec=1\r\ncmdstat_get:calls=10,usec=2\r\n";
        let after = Counts::read(&status(25, 207), stats);
        let each = after.for_each_order_since(&before, 10);
        assert_eq!(each["database requests"], 2.0);
        assert_eq!(each["documents and keys inserted"], 20.0);
        assert_eq!((each[SCRIPTS], each[COMMANDS]), (3.0, 4.0));
        assert!(!each.contains_key("transactions"), "what is not told is not zero");
    }
}
