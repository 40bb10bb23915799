//! What things cost, as it was measured: the only place with figures of a machine.
//!
//! Where nothing else is said, a figure is from bench/RESULTS.md, "2026-11-29, a quarter less for an order, two fifths for a
//! refusal": one run of each scenario on 2 cores of an AMD EPYC virtual machine that others share, with all services in one process, the
//! stand-in for MongoDB, one Kafka broker with 4 partitions, and the load generator on the same cores. What nobody has measured
//! is `None`, and then the answer says so.

use super::quantity::{Bytes, CpuPerThousand};

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
    pub(crate) accepted: Cpu,
    /// The same where there are many products.
    pub(crate) accepted_of_many: Cpu,
    /// The first try of a buyer for whom nothing is left.
    pub(crate) refused_first: Cpu,
    /// Each further one.
    pub(crate) refused_again: Cpu,
    /// A look at the sale, `GET /api/sale`: the services alone.
    pub(crate) page_view: CpuPerThousand,
    /// A login. Of the services it is auth's.
    pub(crate) login: Option<Cpu>,
    /// A WebSocket that is opened. Of the services it is the notifier's.
    pub(crate) socket_opened: Option<Cpu>,
    /// A ping to a WebSocket, and its answer: the services alone, of which it is the notifier.
    pub(crate) ping: Option<CpuPerThousand>,
    /// How the services share what an accepted order costs.
    pub(crate) split: Option<Split>,
    /// What an accepted order writes into the database's log.
    pub(crate) log: Bytes,
    /// The same where there are many products.
    pub(crate) log_of_many: Bytes,
    /// What an accepted order leaves in the database.
    pub(crate) stored: Option<Bytes>,
    /// What an accepted order leaves in Kafka, in one copy.
    pub(crate) records: Option<Bytes>,
    /// What a buyer takes of Redis.
    pub(crate) remembered: Option<Bytes>,
    /// Memory of the notifier for an open WebSocket.
    pub(crate) socket: Option<Bytes>,
    /// Memory of the gateway for an open connection.
    pub(crate) connection: Option<Bytes>,
}

/// Scenario `hot`: one product of which each customer may buy one, 256 buyers at a time.
const HOT: Cpu = cpu([0.306, 0.312, 0.106, 0.057]);
/// Scenario `spread-100`: each order is of another one of a hundred products.
const SPREAD_100: Cpu = cpu([0.354, 0.431, 0.035, 0.059]);
/// Scenario `refused-fresh`: nothing is left, and each try has a token that nobody has seen before.
const REFUSED_FRESH: Cpu = cpu([0.131, 0.008, 0.003, 0.030]);
/// Scenario `refused-known`: nothing is left, and buyers who have been seen before try again.
const REFUSED_KNOWN: Cpu = cpu([0.095, 0.007, 0.005, 0.024]);
/// Scenario `sale-page`: `GET /api/sale` over 64 connections that stay open.
const SALE_PAGE: CpuPerThousand = CpuPerThousand(0.028);
/// Scenario `hot`, log bytes for each order.
const LOG_HOT: Bytes = Bytes(9_304.34);
/// Scenario `spread-100`, log bytes for each order.
const LOG_SPREAD_100: Bytes = Bytes(9_769.40);

/// NOT MEASURED YET: CPU for a thousand logins. One is an argon2id hash with 19 MiB and two passes (`auth::hashing`), a few look-ups, and a
/// session that is written.
const LOGIN: Option<Cpu> = None;
/// NOT MEASURED YET: CPU for a thousand WebSockets that are opened: a ticket (a document that is written and taken away), the handshake,
/// and a look at what was missed.
const SOCKET_OPENED: Option<Cpu> = None;
/// NOT MEASURED YET: CPU for a thousand pings, of which an open socket has one every 20 seconds.
const PING: Option<CpuPerThousand> = None;
/// NOT MEASURED YET: the CPU of each service in `hot`, with each in a process of its own, as parts of their sum. If that sum differs
/// from `hot`'s 0.306, it takes its place.
const SPLIT: Option<Split> = None;
/// NOT MEASURED YET: bytes that the database's files grow by for an accepted order, with its indexes.
const STORED: Option<Bytes> = None;
/// NOT MEASURED YET: bytes that the topics grow by for an accepted order, in one copy.
const RECORDS: Option<Bytes> = None;
/// NOT MEASURED YET: bytes of Redis for a buyer who has tried. [`super::bounds::REMEMBERED_AT_MOST`] is the bound
/// of the larger part.
const REMEMBERED: Option<Bytes> = None;
/// NOT MEASURED YET: resident bytes of the notifier for an open WebSocket.
const SOCKET: Option<Bytes> = None;
/// NOT MEASURED YET: resident bytes of the gateway for an open connection.
const CONNECTION: Option<Bytes> = None;

/// The table.
pub(crate) const MEASURED: Costs = Costs {
    accepted: HOT,
    accepted_of_many: SPREAD_100,
    refused_first: REFUSED_FRESH,
    refused_again: REFUSED_KNOWN,
    page_view: SALE_PAGE,
    login: LOGIN,
    socket_opened: SOCKET_OPENED,
    ping: PING,
    split: SPLIT,
    log: LOG_HOT,
    log_of_many: LOG_SPREAD_100,
    stored: STORED,
    records: RECORDS,
    remembered: REMEMBERED,
    socket: SOCKET,
    connection: CONNECTION,
};

/// Orders of one product that were confirmed in a second, over 200,000 orders: scenario `long`. It is what two cores could do that everything
/// shared, so whatever did it, the product's chain and the relay, can do more by itself; how much more is not known.
pub(crate) const CONFIRMED_PER_SECOND: f64 = 2_303.0;
/// Partitions of each topic when that was measured.
pub(crate) const PARTITIONS_MEASURED: f64 = 4.0;

/// Products up to which costs were measured. `spread-1000` confirmed 1,006 orders a second where `spread-100` had 2,052.
pub(crate) const PRODUCTS_MEASURED: u32 = 100;

/// CPU seconds of services, database, Kafka and Redis, in the order of the columns of bench/RESULTS.md.
const fn cpu([services, database, kafka, redis]: [f64; 4]) -> Cpu {
    Cpu {
        services: CpuPerThousand(services),
        database: CpuPerThousand(database),
        kafka: CpuPerThousand(kafka),
        redis: CpuPerThousand(redis),
    }
}

impl Costs {
    /// CPU and log of an accepted order of a sale with so many products: with several the higher ones count of what was measured
    /// with one and with many, since nothing was measured between.
    pub(crate) fn of_order(&self, products: u32) -> (Cpu, Bytes) {
        if products > 1 {
            let log = self.log.or_more(self.log_of_many);
            (self.accepted.or_more(self.accepted_of_many), log)
        } else {
            (self.accepted, self.log)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_of_one_whole() {
        if let Some(split) = MEASURED.split {
            let sum = split.gateway + split.order + split.inventory + split.processor + split.notifier;
            assert!((sum - 1.0).abs() < 0.005, "{sum}");
        }
    }

    #[test]
    fn of_two_costs_the_higher_ones_count() {
        let both = HOT.or_more(SPREAD_100);
        assert_eq!((both.services, both.kafka), (SPREAD_100.services, HOT.kafka));
    }
}
