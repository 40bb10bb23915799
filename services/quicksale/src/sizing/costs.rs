//! What things cost, as it was measured: the only place with figures of a machine, each on one line with its scenario. A new figure
//! is written into its line of [`MEASURED`]; then the tests of `sizing` print what to paste into docs/sizing.md.
//!
//! They are of one run of each scenario on 2 cores of an AMD EPYC virtual machine that others share, with all services in one process
//! where nothing else is said, the stand-in for MongoDB, one Kafka broker, and the load generator on the same cores. What nobody has measured is `None`, and then the
//! answer says so.

use super::quantity::{Bytes, CpuPerThousand, PerSecond};

/// The section of bench/RESULTS.md that the figures are from.
pub(crate) const SECTION: &str = "2026-11-29, the database and Redis asked for less";

/// The table. CPU seconds for a thousand are those of services, database, Kafka and Redis, in the order of the columns of bench/RESULTS.md.
#[rustfmt::skip]
pub(crate) const MEASURED: Costs = Costs {
    accepted: figure("hot, SHAPE=processes", cpu([0.392, 0.319, 0.155, 0.055])),
    accepted_of_many: figure("spread-100", cpu([0.309, 0.371, 0.033, 0.055])),
    refused_first: figure("refused-fresh", cpu([0.141, 0.005, 0.011, 0.026])),
    refused_again: figure("refused-known", cpu([0.081, 0.004, 0.006, 0.023])),
    page_view: figure("sale-page", CpuPerThousand(0.027)),
    log: figure("hot", Bytes(8_697.66)),
    log_of_many: figure("spread-100", Bytes(10_002.87)),
    pace: figure("long", PerSecond(2_653.0)),
    pace_of_many: figure("spread-100", PerSecond(2_351.0)),
    pace_of_a_thousand: figure("spread-1000", PerSecond(1_148.0)),
    partitions: 4.0,
    // Not measured yet. A figure becomes `Some(figure("scenario", …))`, of the type that stands behind it.
    login: Some(figure("login", cpu([17.2, 3.3, 0.5, 0.0]))),
    socket_opened: None, // cpu([…])
    pushed: None,        // CpuPerThousand(…)
    ping: None,          // CpuPerThousand(…)
    split: Some(figure("hot, SHAPE=processes", Split::of([0.171, 0.117, 0.047, 0.024, 0.032]))),
    stored: None,        // Bytes(…)
    records: None,       // Bytes(…)
    remembered: None,    // Bytes(…)
    socket: Some(figure("sockets", Bytes(7_703.0))),
    connection: None,    // Bytes(…)
};

/// Products up to which costs were measured: those of `spread-100`. Beyond them there is only a pace, [`Costs::pace_of_a_thousand`].
pub(crate) const PRODUCTS_MEASURED: u32 = 100;

/// Something measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure<T> {
    /// In which scenario of the benchmark.
    pub(crate) scenario: &'static str,
    /// How much it is.
    pub(crate) is: T,
}

/// CPU for a thousand of something, by who spends it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cpu {
    /// All services together.
    pub(crate) services: CpuPerThousand,
    /// The database.
    pub(crate) database: CpuPerThousand,
    /// The brokers.
    pub(crate) kafka: CpuPerThousand,
    /// Redis.
    pub(crate) redis: CpuPerThousand,
}

/// The parts that the services have of their CPU for an order that is accepted; together 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split {
    /// The gateway's.
    pub(crate) gateway: f64,
    /// The order service's.
    pub(crate) order: f64,
    /// Inventory's.
    pub(crate) inventory: f64,
    /// The processor's.
    pub(crate) processor: f64,
    /// The notifier's.
    pub(crate) notifier: f64,
}

/// All that the model knows of costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// An order of the only product, from its acceptance to its end.
    pub(crate) accepted: Figure<Cpu>,
    /// The same where there are many products.
    pub(crate) accepted_of_many: Figure<Cpu>,
    /// The first try of a buyer for whom nothing is left.
    pub(crate) refused_first: Figure<Cpu>,
    /// Each further one.
    pub(crate) refused_again: Figure<Cpu>,
    /// A look at the sale, `GET /api/sale`: the services alone.
    pub(crate) page_view: Figure<CpuPerThousand>,
    /// What an accepted order writes into the database's log.
    pub(crate) log: Figure<Bytes>,
    /// The same where there are many products.
    pub(crate) log_of_many: Figure<Bytes>,
    /// Orders of the only product that were confirmed in a second. It is what two cores could do that everything shared, so whatever did
    /// it, the product's chain and the relay, can do more by itself; how much more is not known.
    pub(crate) pace: Figure<PerSecond>,
    /// The same where there are many products.
    pub(crate) pace_of_many: Figure<PerSecond>,
    /// The same of a thousand products. It is said, and reckoned with nowhere.
    pub(crate) pace_of_a_thousand: Figure<PerSecond>,
    /// Partitions of each topic when the pace was measured.
    pub(crate) partitions: f64,
    /// A login: an argon2id hash (`auth::hashing`), a few look-ups, and a session that is written. Of the services it is auth's.
    pub(crate) login: Option<Figure<Cpu>>,
    /// A WebSocket that is opened: a ticket (a document that is written and taken away), the handshake, and a look at what was missed. Of
    /// the services it is the notifier's.
    pub(crate) socket_opened: Option<Figure<Cpu>>,
    /// What becomes of an order, pushed to its buyer's open WebSocket: the services alone, of which it is the notifier.
    pub(crate) pushed: Option<Figure<CpuPerThousand>>,
    /// A ping to a WebSocket, and its answer: the services alone, of which it is the notifier.
    pub(crate) ping: Option<Figure<CpuPerThousand>>,
    /// How the services share what an accepted order costs, from a run with each in a process of its own. If they
    /// cost more there together than `accepted` says, that takes its place.
    pub(crate) split: Option<Figure<Split>>,
    /// What the database's files grow by for an accepted order, with its indexes.
    pub(crate) stored: Option<Figure<Bytes>>,
    /// What the topics grow by for an accepted order, in one copy.
    pub(crate) records: Option<Figure<Bytes>>,
    /// What a buyer who has tried takes of Redis. Of the larger part a bound is known: [`super::bounds::REMEMBERED_AT_MOST`].
    pub(crate) remembered: Option<Figure<Bytes>>,
    /// Resident memory of the notifier for an open WebSocket.
    pub(crate) socket: Option<Figure<Bytes>>,
    /// Resident memory of the gateway for an open connection.
    pub(crate) connection: Option<Figure<Bytes>>,
}

/// What an accepted order costs in a sale, and how many of them go through in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OfOrder {
    /// For a thousand.
    pub(crate) cpu: Cpu,
    /// Of the database.
    pub(crate) log: Bytes,
    /// Confirmed in a second when it was measured.
    pub(crate) pace: PerSecond,
}

/// A figure of a scenario.
pub(crate) const fn figure<T: Copy>(scenario: &'static str, is: T) -> Figure<T> {
    Figure { scenario, is }
}

/// CPU seconds of services, database, Kafka and Redis.
pub(crate) const fn cpu([services, database, kafka, redis]: [f64; 4]) -> Cpu {
    Cpu {
        services: CpuPerThousand(services),
        database: CpuPerThousand(database),
        kafka: CpuPerThousand(kafka),
        redis: CpuPerThousand(redis),
    }
}

impl Costs {
    /// What an accepted order of a sale with so many products costs: with several the worse ones count of what was measured
    /// with one and with many, since nothing was measured between.
    pub(crate) fn of_order(&self, products: u32) -> OfOrder {
        let one = OfOrder {
            cpu: self.accepted.is,
            log: self.log.is,
            pace: self.pace.is,
        };
        if products == 1 {
            return one;
        }
        OfOrder {
            cpu: one.cpu.or_more(self.accepted_of_many.is),
            log: one.log.or_more(self.log_of_many.is),
            pace: one.pace.or_less(self.pace_of_many.is),
        }
    }
}

impl Cpu {
    /// By each who spends it the higher one of two.
    pub(crate) fn or_more(self, other: Self) -> Self {
        Self {
            services: self.services.or_more(other.services),
            database: self.database.or_more(other.database),
            kafka: self.kafka.or_more(other.kafka),
            redis: self.redis.or_more(other.redis),
        }
    }
}

impl Split {
    /// From what gateway, order, inventory, processor and notifier spend, in whatever unit.
    pub(crate) const fn of([gateway, order, inventory, processor, notifier]: [f64; 5]) -> Self {
        let all = gateway + order + inventory + processor + notifier;
        Self {
            gateway: gateway / all,
            order: order / all,
            inventory: inventory / all,
            processor: processor / all,
            notifier: notifier / all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::tests::invented;

    #[test]
    fn the_split_is_of_one_whole() {
        let spent = Split::of([0.12, 0.09, 0.03, 0.03, 0.03]);
        assert!((spent.gateway - 0.4).abs() < 1e-9, "{spent:?}");
        let splits = [MEASURED.split, invented().split, Some(figure("invented", spent))];
        for Figure { is, scenario } in splits.into_iter().flatten() {
            let sum = is.gateway + is.order + is.inventory + is.processor + is.notifier;
            assert!((sum - 1.0).abs() < 1e-9, "{scenario}: {sum}");
        }
    }

    #[test]
    fn of_one_product_and_of_many_the_worse_counts() {
        let costs = invented();
        let (one, many) = (costs.of_order(1), costs.of_order(2));
        assert_eq!((one.cpu, one.log), (costs.accepted.is, costs.log.is));
        assert_eq!(one.pace, costs.pace.is);
        assert_eq!(many.cpu.services, costs.accepted_of_many.is.services);
        assert_eq!(
            many.cpu.kafka, costs.accepted.is.kafka,
            "one product costs more of it"
        );
        assert_eq!(
            (many.log, many.pace),
            (costs.log_of_many.is, costs.pace_of_many.is)
        );
    }
}
