//! From a sale to what it needs: arithmetic, and nothing else. What it rests on is said in docs/sizing.md.

use super::{
    bounds,
    costs::{Costs, OfOrder},
    cpu::Cpus,
    demand::Demand,
    limits::{Limit, limits},
    quantity::{Bytes, PerSecond, whole},
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
    /// Orders a second that were measured in one.
    pub(crate) orders_in_one: PerSecond,
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
    let order = costs.of_order(sale.products);
    let cores = Cpus::of(&demand, costs, order.cpu, sale.utilisation);
    let room = Room::of(&sale, &demand, &cores, costs, order);
    let limits = limits(&sale, &demand, &cores, room.partitions, order.pace);
    Plan {
        confirmed_within_s: (demand.accepted / order.pace.0).max(demand.accepted_within_s),
        sale,
        demand,
        cores,
        room,
        limits,
    }
}

impl Room {
    fn of(sale: &Sale, demand: &Demand, cores: &Cpus, costs: &Costs, order: OfOrder) -> Self {
        let orders = demand.selling.accepted.0;
        let in_one = order.pace.0 / costs.partitions;
        let buyers = f64::from(sale.buyers);
        // A core hashes one password at a time.
        let hashes = cores.auth.most().0.ceil();
        let is_known = cores.auth.without.is_empty();
        Self {
            partitions: whole(orders / in_one).max(u64::from(bounds::PARTITIONS_USUAL)),
            orders_in_one: PerSecond(in_one),
            notifiers: whole(demand.sockets / f64::from(bounds::SOCKETS_OF_ONE)),
            gateways_without_proxy: whole(buyers / f64::from(bounds::CONNECTIONS_OF_ONE)),
            sockets_memory: costs.socket.map(|one| one.is.times(demand.sockets)),
            connections_memory: costs.connection.map(|one| one.is.times(buyers)),
            hashes_memory: is_known.then(|| bounds::HASH.times(hashes)),
            redis_memory: costs.remembered.map(|one| one.is.times(buyers)),
            redis_counts_at_most: bounds::REMEMBERED_AT_MOST.times(buyers),
            log_per_second: order.log.times(orders),
            log: order.log.times(demand.accepted),
            stored: costs.stored.map(|one| one.is.times(demand.accepted)),
            records: costs.records.map(|one| one.is.times(demand.accepted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::{
        costs::MEASURED,
        limits::{Known, ONE_PRODUCT},
        tests::{invented, sale},
    };

    fn planned(flags: &str) -> Plan {
        plan(sale(flags), &invented())
    }

    #[test]
    fn room_is_what_a_hand_computes() {
        // 5,000 orders a second; 2,000 were measured in 4 partitions: 500 in one.
        let plan = planned(
            "--buyers 300000 --window 60 --units 40000 --sockets 0.5 --logins 0.004 --utilisation 0.5",
        );
        assert_eq!(plan.room.partitions, 12, "10, and 12 is usual");
        assert_eq!(plan.room.notifiers, 8, "150,000 of 20,000 in one");
        assert_eq!(plan.room.gateways_without_proxy, 74, "300,000 of 4,096 in one");
        assert_eq!(plan.room.sockets_memory, Some(Bytes(150_000.0 * 1_000.0)));
        assert_eq!(plan.room.redis_counts_at_most, Bytes(300_000.0 * 4_096.0));
        assert_eq!(plan.room.log_per_second, Bytes(5_000.0 * 9_000.0));
        assert_eq!(plan.room.log, Bytes(40_000.0 * 9_000.0));
        // 20 logins a second at 0.05 s of CPU are 1 core, 2 with room.
        assert_eq!(plan.room.hashes_memory, Some(bounds::HASH.times(2.0)));
        assert!(
            (plan.confirmed_within_s - 20.0).abs() < 1e-9,
            "40,000 at 2,000 a second"
        );
        assert_eq!(planned("--buyers 900000 --window 60").room.partitions, 30);
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

    /// Every number of a plan that more is worse of, with a name where it is a limit.
    fn needs(plan: &Plan) -> Vec<(&'static str, f64)> {
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
        let cores = plan.cores.all().into_iter().map(|need| need.most().0);
        cores
            .chain(counts.map(|count| count as f64))
            .chain(bytes.map(|bytes| bytes.map_or(0.0, |bytes| bytes.0)))
            .map(|need| ("", need))
            .chain(wanted)
            .collect()
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let steps: [(&str, &[&str]); 9] = [
            (
                "--buyers",
                &["1", "100", "49999", "50000", "50001", "1000000", "70000000"],
            ),
            ("--page-views", &["0", "1", "24", "1000"]),
            ("--sockets", &["0", "0.01", "1"]),
            ("--logins", &["0", "0.01", "1"]),
            ("--tries", &["1", "2", "10"]),
            ("--units", &["1", "100", "50000", "999999"]),
            ("--products", &["1", "2", "7", "100", "10000"]),
            // A shorter time, and less of each core, is more.
            ("--window", &["86400", "60", "1"]),
            ("--utilisation", &["1", "0.6", "0.01"]),
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
                        for ((what, before), (_, after)) in pair[0].iter().zip(&pair[1]) {
                            // More products share the orders: each has fewer.
                            let is_shared = flag == "--products" && *what == ONE_PRODUCT;
                            assert!(
                                is_shared || after >= before,
                                "{flag} {values:?}: {what} {before} {after}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn many_products_never_cost_less_than_one() {
        for costs in [invented(), MEASURED] {
            let of = |products| plan(sale(&format!("--products {products}")), &costs);
            let one = of(1);
            for many in [2, 100, 10_000].map(of) {
                for (one, many) in one.cores.all().into_iter().zip(many.cores.all()) {
                    assert!(many.selling >= one.selling && many.sold_out >= one.sold_out);
                }
                assert!(many.room.log_per_second >= one.room.log_per_second);
                assert!(many.room.partitions >= one.room.partitions);
                assert!(many.confirmed_within_s >= one.confirmed_within_s);
            }
        }
    }

    #[test]
    fn many_products_go_at_their_own_pace() {
        // 1,600 orders of many products were confirmed in a second, 400 in one of 4 partitions.
        let plan = planned("--buyers 900000 --window 60 --units 40000 --products 100");
        assert_eq!(plan.room.partitions, 38);
        assert_eq!(plan.confirmed_within_s, 25.0);
        let paces = plan.limits.iter().filter(|limit| limit.known == Known::Measured);
        assert_eq!(paces.map(|limit| limit.there).collect::<Vec<_>>(), [1_600.0; 2]);
    }

    #[test]
    fn every_number_is_one() {
        for flags in [
            "--buyers 1 --window 86400 --units 1",
            "--buyers 1000000000 --window 1 --units 4294967295",
        ] {
            for (_, value) in needs(&planned(flags)) {
                assert!(value.is_finite() && value >= 0.0, "{flags}: {value}");
            }
        }
    }
}
