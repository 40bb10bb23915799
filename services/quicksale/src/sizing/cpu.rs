//! The cores that a demand keeps busy, by who needs them.

use super::{
    costs::{Costs, Cpu, Split},
    demand::{Demand, Orders},
    quantity::{Cores, CpuPerThousand, PerSecond, Utilisation},
};
use serde::Serialize;
use std::{collections::BTreeSet, ops::Add};

/// Cores to have, with room left, as far as they are known.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Need {
    /// While units are left.
    pub(crate) selling: Cores,
    /// Once none is left.
    pub(crate) sold_out: Cores,
    /// What is not in these numbers, since nobody has measured it.
    pub(crate) without: BTreeSet<&'static str>,
}

/// Cores for everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cpus {
    /// The front door.
    pub(crate) gateway: Need,
    /// Orders.
    pub(crate) order: Need,
    /// Units.
    pub(crate) inventory: Need,
    /// The relay.
    pub(crate) processor: Need,
    /// WebSockets and notifications.
    pub(crate) notifier: Need,
    /// Logins.
    pub(crate) auth: Need,
    /// These six together.
    pub(crate) services: Need,
    /// The database's primary.
    pub(crate) database: Need,
    /// All brokers.
    pub(crate) kafka: Need,
    /// Redis.
    pub(crate) redis: Need,
}

/// What an accepted order costs a single service.
const ORDERS: &str = "its part of an order";
/// What a login costs.
const LOGINS: &str = "logins";
/// What a look at the sale costs.
const PAGE_VIEWS: &str = "page views";
/// What opening a WebSocket costs.
const OPENING: &str = "WebSockets being opened";
/// What it costs to push what becomes of orders.
const PUSHES: &str = "updates pushed";
/// What an open WebSocket costs.
const PINGS: &str = "pings";

impl Need {
    /// The larger of the two phases.
    pub(crate) fn most(&self) -> Cores {
        self.selling.or_more(self.sold_out)
    }

    /// What comes all the time.
    fn always(cost: Option<CpuPerThousand>, rate: PerSecond, name: &'static str) -> Self {
        Self::phases(cost, [rate, rate], name)
    }

    /// What comes at one rate while units are left, and at another one once none is.
    fn phases(cost: Option<CpuPerThousand>, rates: [PerSecond; 2], name: &'static str) -> Self {
        match cost {
            Some(cost) => {
                let [selling, sold_out] = rates.map(|rate| cost.at(rate));
                Self::both(selling, sold_out)
            }
            None if rates.iter().any(|rate| rate.0 > 0.0) => Self {
                without: BTreeSet::from([name]),
                ..Self::default()
            },
            None => Self::default(),
        }
    }

    fn both(selling: Cores, sold_out: Cores) -> Self {
        Self {
            selling,
            sold_out,
            ..Self::default()
        }
    }

    /// With room left beside what is busy.
    fn leaving_room(self, utilisation: Utilisation) -> Self {
        Self {
            selling: utilisation.leaves_room(self.selling),
            sold_out: utilisation.leaves_room(self.sold_out),
            ..self
        }
    }
}

impl Add for Need {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.without.extend(other.without);
        Self {
            selling: self.selling + other.selling,
            sold_out: self.sold_out + other.sold_out,
            ..self
        }
    }
}

impl Cpus {
    /// Each of them.
    pub(crate) fn all(&self) -> [&Need; 10] {
        let Self {
            gateway,
            order,
            inventory,
            processor,
            notifier,
            auth,
            services,
            database,
            kafka,
            redis,
        } = self;
        [
            gateway, order, inventory, processor, notifier, auth, services, database, kafka, redis,
        ]
    }

    /// For a demand at these costs, where `accepted` is what an accepted order costs. Refusals and looks at the sale are the gateway's
    /// alone: they are answered from its memory and Redis.
    pub(crate) fn of(demand: &Demand, costs: &Costs, accepted: Cpu, utilisation: Utilisation) -> Self {
        let load = Load {
            demand,
            costs,
            accepted,
        };
        let front = load.page_views() + load.refused(|cost| cost.services);
        let sockets = load.opening(|cost| cost.services) + load.pushes() + load.pings();
        let part = |of: fn(&Split) -> f64| load.part_of_accepted(of);
        let room = |need: Need| need.leaving_room(utilisation);
        Self {
            gateway: room(front + part(|split| split.gateway)),
            order: room(part(|split| split.order)),
            inventory: room(part(|split| split.inventory)),
            processor: room(part(|split| split.processor)),
            notifier: room(part(|split| split.notifier) + sockets),
            auth: room(load.logins(|cost| cost.services)),
            services: room(
                load.everything(|cost| cost.services) + load.page_views() + load.pushes() + load.pings(),
            ),
            database: room(load.everything(|cost| cost.database)),
            kafka: room(load.orders(|cost| cost.kafka)),
            redis: room(load.everything(|cost| cost.redis)),
        }
    }
}

/// Who spends some CPU.
type Spender = fn(&Cpu) -> CpuPerThousand;

/// What comes, and what it costs.
struct Load<'a> {
    demand: &'a Demand,
    costs: &'a Costs,
    accepted: Cpu,
}

impl Load<'_> {
    fn accepted(&self, cost: CpuPerThousand) -> Need {
        let Demand {
            selling, sold_out, ..
        } = self.demand;
        Need::both(cost.at(selling.accepted), cost.at(sold_out.accepted))
    }

    fn part_of_accepted(&self, of: fn(&Split) -> f64) -> Need {
        match &self.costs.split {
            Some(split) => self.accepted(self.accepted.services.part(of(&split.is))),
            None => Need::always(None, self.demand.selling.accepted, ORDERS),
        }
    }

    fn refused(&self, by: Spender) -> Need {
        let cores = |orders: &Orders| {
            by(&self.costs.refused_first.is).at(orders.refused_first)
                + by(&self.costs.refused_again.is).at(orders.refused_again)
        };
        Need::both(cores(&self.demand.selling), cores(&self.demand.sold_out))
    }

    fn opening(&self, by: Spender) -> Need {
        let cost = self.costs.socket_opened.map(|cost| by(&cost.is));
        Need::always(cost, self.demand.sockets_opened_per_second, OPENING)
    }

    fn orders(&self, by: Spender) -> Need {
        self.accepted(by(&self.accepted)) + self.refused(by)
    }

    fn everything(&self, by: Spender) -> Need {
        self.orders(by) + self.opening(by) + self.logins(by)
    }

    fn page_views(&self) -> Need {
        let cost = Some(self.costs.page_view.is);
        Need::always(cost, self.demand.page_views_per_second, PAGE_VIEWS)
    }

    fn pushes(&self) -> Need {
        let rates = [self.demand.selling.pushed, self.demand.sold_out.pushed];
        Need::phases(self.costs.pushed.map(|cost| cost.is), rates, PUSHES)
    }

    fn pings(&self) -> Need {
        Need::always(
            self.costs.ping.map(|cost| cost.is),
            self.demand.pings_per_second,
            PINGS,
        )
    }

    fn logins(&self, by: Spender) -> Need {
        let cost = self.costs.login.map(|cost| by(&cost.is));
        Need::always(cost, self.demand.logins_per_second, LOGINS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::{
        costs::MEASURED,
        tests::{invented, near, sale},
    };

    fn cpus(flags: &str, costs: &Costs) -> Cpus {
        let sale = sale(flags);
        Cpus::of(
            &Demand::of(&sale),
            costs,
            costs.of_order(sale.products).cpu,
            sale.utilisation,
        )
    }

    #[test]
    fn cores_are_those_that_a_hand_computes() {
        // 1,000 buyers a second, 2,000 looks, 1,000 + 2,000 refusals a second; half is left free.
        let flags = "--buyers 60000 --window 60 --units 6000 --tries 3 --page-views 2 --sockets 0.1 --logins 0.2 \
                     --utilisation 0.5";
        let cpus = cpus(flags, &invented());
        // Looks 2 × 0.03; an order 0.3; 100 of them pushed 0.1 × 0.05; of 300 pings a second 0.3 × 0.02; 100 sockets opened 0.1 × 0.4;
        // 200 logins 0.2 × 50.
        near(
            cpus.services.selling,
            2.0 * (0.06 + 0.3 + 0.005 + 0.006 + 0.04 + 10.0),
        );
        // Refusals 1 × 0.1 + 2 × 0.08 in place of the orders.
        near(
            cpus.services.sold_out,
            2.0 * (0.06 + 0.1 + 0.16 + 0.006 + 0.04 + 10.0),
        );
        near(cpus.gateway.selling, 2.0 * (0.06 + 0.3 * 0.4));
        near(cpus.gateway.sold_out, 2.0 * (0.06 + 0.26));
        near(cpus.order.selling, 2.0 * 0.3 * 0.3);
        near(cpus.notifier.selling, 2.0 * (0.3 * 0.1 + 0.005 + 0.006 + 0.04));
        near(cpus.notifier.sold_out, 2.0 * (0.006 + 0.04));
        near(cpus.auth.most(), 20.0);
        near(cpus.database.selling, 2.0 * (0.2 + 0.1 * 0.5 + 0.2 * 2.0));
        near(
            cpus.redis.sold_out,
            2.0 * (0.03 + 2.0 * 0.02 + 0.1 * 0.01 + 0.2 * 0.1),
        );
        assert_eq!(cpus.services.without, BTreeSet::new());
    }

    #[test]
    fn the_services_add_up_to_all_of_them() {
        let cpus = cpus("--logins 0.1", &invented());
        let six = [
            cpus.gateway,
            cpus.order,
            cpus.inventory,
            cpus.processor,
            cpus.notifier,
            cpus.auth,
        ];
        let sum = six.into_iter().fold(Need::default(), Add::add);
        near(sum.selling, cpus.services.selling.0);
        near(sum.sold_out, cpus.services.sold_out.0);
    }

    #[test]
    fn what_nobody_has_measured_is_named_where_it_would_count() {
        let costs = Costs {
            login: None,
            socket_opened: None,
            pushed: None,
            ping: None,
            split: None,
            ..MEASURED
        };
        let quiet = cpus("--sockets 0 --logins 0", &costs);
        assert_eq!(quiet.services.without, BTreeSet::new());
        assert_eq!(quiet.order.without, BTreeSet::from([ORDERS]));
        let busy = cpus("--sockets 1 --logins 1", &costs);
        assert_eq!(
            busy.services.without,
            BTreeSet::from([LOGINS, OPENING, PUSHES, PINGS])
        );
        assert_eq!(busy.database.without, BTreeSet::from([LOGINS, OPENING]));
        assert_eq!(busy.kafka.without, BTreeSet::new());
    }
}
