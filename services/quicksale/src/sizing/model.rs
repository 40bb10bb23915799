//! From a sale to what it needs: arithmetic, and nothing else. What it rests on is said in docs/sizing.md.

use super::{
    bounds,
    costs::{self, Costs},
    cpu::Cpus,
    demand::Demand,
    limits::{Limit, limits},
    quantity::{Bytes, whole},
    sale::Sale,
};
use serde::Serialize;

/// What a sale needs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// What was asked.
    pub(crate) sale: Sale,
    /// What comes.
    pub(crate) demand: Demand,
    /// Cores to have.
    pub(crate) cores: Cpus,
    /// Places and bytes to have. What is null was not measured.
    pub(crate) room: Room,
    /// Seconds until the last unit is confirmed, if orders go no faster than was measured.
    pub(crate) confirmed_within_s: f64,
    /// What more machines do not move, the first that is met at the beginning.
    pub(crate) limits: Vec<Limit>,
}

/// What is to be there beside cores.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Room {
    /// Partitions of each topic, so that none has more than was measured.
    pub(crate) partitions: u64,
    /// Notifiers, for the bound of WebSockets in each.
    pub(crate) notifiers: u64,
    /// Gateways, if each buyer keeps a connection to one.
    pub(crate) gateways_without_proxy: u64,
    /// Memory of the notifiers for WebSockets.
    pub(crate) sockets_memory: Option<Bytes>,
    /// Memory of the gateways for connections of all buyers.
    pub(crate) connections_memory: Option<Bytes>,
    /// Memory of auth for password hashes.
    pub(crate) hashes_memory: Option<Bytes>,
    /// Memory of Redis for buyers.
    pub(crate) redis_memory: Option<Bytes>,
    /// The most that counts of requests take of it.
    pub(crate) redis_counts_at_most: Bytes,
    /// The database's log in a second.
    pub(crate) log_per_second: Bytes,
    /// The database's log in all.
    pub(crate) log: Bytes,
    /// The database's files.
    pub(crate) stored: Option<Bytes>,
    /// The topics, in one copy.
    pub(crate) records: Option<Bytes>,
}

/// Plans a sale at these costs.
pub(crate) fn plan(sale: Sale, costs: &Costs) -> Plan {
    let demand = Demand::of(&sale);
    let (accepted, log) = costs.of_order(sale.products);
    let cores = Cpus::of(&demand, costs, accepted, sale.utilisation);
    let room = Room::of(&sale, &demand, &cores, costs, log);
    let limits = limits(&sale, &demand, &cores, room.partitions);
    Plan {
        confirmed_within_s: (demand.accepted / costs::CONFIRMED_PER_SECOND).max(demand.accepted_within_s),
        sale,
        demand,
        cores,
        room,
        limits,
    }
}

impl Room {
    fn of(sale: &Sale, demand: &Demand, cores: &Cpus, costs: &Costs, log: Bytes) -> Self {
        let orders = demand.selling.accepted.0;
        let of_one_partition = costs::CONFIRMED_PER_SECOND / costs::PARTITIONS_MEASURED;
        let buyers = f64::from(sale.buyers);
        // A core hashes one password at a time.
        let hashes = cores.auth.most().0.ceil();
        let is_known = cores.auth.without.is_empty();
        Self {
            partitions: whole(orders / of_one_partition).max(bounds::PARTITIONS_USUAL),
            notifiers: whole(demand.sockets / f64::from(bounds::SOCKETS_OF_ONE)),
            gateways_without_proxy: whole(buyers / f64::from(bounds::CONNECTIONS_OF_ONE)),
            sockets_memory: costs.socket.map(|one| one.times(demand.sockets)),
            connections_memory: costs.connection.map(|one| one.times(buyers)),
            hashes_memory: is_known.then(|| bounds::HASH.times(hashes)),
            redis_memory: costs.remembered.map(|one| one.times(buyers)),
            redis_counts_at_most: bounds::REMEMBERED_AT_MOST.times(buyers),
            log_per_second: log.times(orders),
            log: log.times(demand.accepted),
            stored: costs.stored.map(|one| one.times(demand.accepted)),
            records: costs.records.map(|one| one.times(demand.accepted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::{
        costs::MEASURED,
        tests::{invented, sale},
    };

    fn planned(flags: &str) -> Plan {
        plan(sale(flags), &invented())
    }

    #[test]
    fn room_is_what_a_hand_computes() {
        // 5,000 orders a second; 2,303 were measured in 4 partitions: 575.75 in one.
        let plan = planned(
            "--buyers 300000 --window 60 --units 46060 --sockets 0.5 --logins 0.004 --utilisation 0.5",
        );
        assert_eq!(plan.room.partitions, 12, "8.7, and 12 is usual");
        assert_eq!(plan.room.notifiers, 8, "150,000 of 20,000 in one");
        assert_eq!(plan.room.gateways_without_proxy, 74, "300,000 of 4,096 in one");
        assert_eq!(plan.room.sockets_memory, Some(Bytes(150_000.0 * 1_000.0)));
        assert_eq!(plan.room.redis_counts_at_most, Bytes(300_000.0 * 4_096.0));
        assert_eq!(plan.room.log_per_second, Bytes(5_000.0 * 9_000.0));
        assert_eq!(plan.room.log, Bytes(46_060.0 * 9_000.0));
        // 20 logins a second at 0.05 s of CPU are 1 core, 2 with room.
        assert_eq!(plan.room.hashes_memory, Some(bounds::HASH.times(2.0)));
        assert!(
            (plan.confirmed_within_s - 20.0).abs() < 1e-9,
            "46,060 at 2,303 a second"
        );
        assert_eq!(planned("--buyers 900000 --window 60").room.partitions, 27);
    }

    #[test]
    fn what_is_met_first_stands_first() {
        let first = |flags| planned(flags).limits.first().map(|limit| limit.what);
        assert_eq!(first(""), Some("orders a second for one product"));
        assert_eq!(
            first("--products 10"),
            Some("orders a second through the one relay")
        );
        let long = "--window 3600 --units 1000 --buyers 2000000 --sockets 1";
        assert_eq!(first(long), Some("WebSockets"));
    }

    /// Every number of a plan that more is worse of.
    fn needs(plan: &Plan) -> Vec<f64> {
        let room = &plan.room;
        let counts = [room.partitions, room.notifiers, room.gateways_without_proxy];
        let bytes = [
            room.sockets_memory,
            room.connections_memory,
            room.hashes_memory,
            room.redis_memory,
            Some(room.log_per_second),
            Some(room.log),
            room.stored,
            room.records,
        ];
        let mut wanted: Vec<_> = plan
            .limits
            .iter()
            .map(|limit| (limit.what, limit.wanted))
            .collect();
        wanted.sort_by_key(|limit| limit.0);
        plan.cores
            .all()
            .into_iter()
            .map(|need| need.most().0)
            .chain(counts.map(|count| count as f64))
            .chain(bytes.map(|bytes| bytes.map_or(0.0, |bytes| bytes.0)))
            .chain(wanted.into_iter().map(|limit| limit.1))
            .collect()
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let steps: [(&str, &[&str]); 7] = [
            (
                "--buyers",
                &["1", "100", "49999", "50000", "50001", "1000000", "70000000"],
            ),
            ("--page-views", &["0", "1", "24", "1000"]),
            ("--sockets", &["0", "0.01", "1"]),
            ("--logins", &["0", "0.01", "1"]),
            ("--tries", &["1", "2", "10"]),
            ("--units", &["1", "100", "50000", "999999"]),
            // A shorter time, and less of each core, is more.
            ("--window", &["86400", "60", "1"]),
        ];
        for products in ["1", "7", "1000"] {
            for costs in [invented(), MEASURED] {
                for (flag, values) in steps {
                    let plans = values.iter().map(|value| {
                        needs(&plan(
                            sale(&format!("--products {products} {flag} {value}")),
                            &costs,
                        ))
                    });
                    let plans: Vec<_> = plans.collect();
                    for pair in plans.windows(2) {
                        for (before, after) in pair[0].iter().zip(&pair[1]) {
                            assert!(after >= before, "{flag} {values:?}: {before} {after}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_number_is_one() {
        for flags in [
            "--buyers 1 --window 86400 --units 1",
            "--buyers 1000000000 --window 1 --units 4294967295",
        ] {
            for value in needs(&planned(flags)) {
                assert!(value.is_finite() && value >= 0.0, "{flags}: {value}");
            }
        }
    }
}
