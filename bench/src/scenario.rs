//! What is measured.

use crate::{
    load::{Key, Load},
    options::Options,
};
use clap::ValueEnum;

/// Units nobody can sell out.
const PLENTY: u32 = 10_000_000;
/// Units of the product that sells out.
const FEW: u32 = 500;

/// Storefronts that are open.
const PAGES: u32 = 2_000;
/// How long they are: as many buyers order in each second as there are pages for.
const PAGES_SECONDS: u32 = 40;
/// Sockets of the scenario that has many.
const SOCKETS: u32 = 10_000;
/// Orders at a time of the scenario that has many. Of its 4,096 connections a gateway gives up those that it need not have once an eighth is
/// left, and some orders would have no answer.
const IN_FLIGHT: u32 = 3_500;
/// Orders that a buyer may place in a minute, unless the sale says otherwise: those who come back come so often, the first time included.
const TRIES: u32 = 10;
/// The longest that a closed loop goes on which has another end.
const LONG: u32 = 300;

/// A scenario by the name it has in the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// One product of which each customer may buy one: 256 buyers at a time, for a minute.
    Hot,
    /// Orders at a steady rate, whatever the system answers: half of what hot has confirmed in this run, or --rate.
    Steady,
    /// 50 orders a second.
    Trickle,
    /// Nothing is left, and buyers who are known try again.
    RefusedKnown,
    /// The same, each try with a token that nobody has seen before.
    RefusedFresh,
    /// Buyers who have as many as they may buy order once more.
    Overlimit,
    /// Three products in each order.
    Basket,
    /// Orders that were accepted are sent again under their keys.
    Replay,
    /// 10,000 sockets are open, and each of their buyers orders once.
    Sockets,
    /// GET /api/sale.
    SalePage,
    /// Accounts log in with their passwords.
    Login,
    /// 3,500 buyers at a time: what an order in flight takes of memory.
    InFlight,
    /// 64 buyers at a time, each order at once after the last one's answer.
    #[value(name = "burst-64")]
    Burst64,
    /// The same with 256.
    #[value(name = "burst-256")]
    Burst256,
    /// Far more orders than units.
    SoldOut,
    /// 2,000 storefronts are open, each with a socket and looking at the sale, and each of their buyers orders once.
    Storefronts,
    /// 200,000 orders: do the last ones cost more than the first?
    Long,
    /// 100 products, each order another one.
    #[value(name = "spread-100")]
    Spread100,
    /// 1,000 products. The last, for they stay in the sale.
    #[value(name = "spread-1000")]
    Spread1000,
}

/// What goes ahead of what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prelude {
    /// Nothing.
    None,
    /// One order, of a buyer of its own, which takes the last unit.
    LastUnit,
    /// The same, and then each buyer tries once.
    LastUnitAndATry,
    /// Each buyer orders once.
    FirstOrders,
}

/// Who listens for the end of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listeners {
    /// Every so many-th buyer, up to 2,000.
    Sample,
    /// Each of them.
    All,
    /// Nobody.
    None,
}

/// A scenario with its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name, and with it the products'.
    pub(crate) label: &'static str,
    /// Units on sale of each product.
    pub(crate) stock: u32,
    /// Units that each customer may buy.
    pub(crate) limit: Option<u32>,
    /// Products.
    pub(crate) products: u32,
    /// Products in each order.
    pub(crate) items: u32,
    /// How orders come.
    pub(crate) load: Load,
    /// How often each buyer orders.
    pub(crate) tries: u32,
    /// Under which key.
    pub(crate) key: Key,
    /// What goes ahead.
    pub(crate) prelude: Prelude,
    /// Who listens.
    pub(crate) listeners: Listeners,
    /// Storefronts that are open meanwhile, each of a buyer who listens.
    pub(crate) pages: u32,
}

impl Name {
    /// The name of it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Steady => "steady",
            Self::Trickle => "trickle",
            Self::RefusedKnown => "refused-known",
            Self::RefusedFresh => "refused-fresh",
            Self::Overlimit => "overlimit",
            Self::Spread100 => "spread-100",
            Self::Spread1000 => "spread-1000",
            Self::Basket => "basket",
            Self::Replay => "replay",
            Self::Sockets => "sockets",
            Self::SalePage => "sale-page",
            Self::Login => "login",
            Self::InFlight => "in-flight",
            Self::Long => "long",
            Self::Burst64 => "burst-64",
            Self::Burst256 => "burst-256",
            Self::SoldOut => "sold-out",
            Self::Storefronts => "storefronts",
        }
    }

    /// The scenario with the numbers of the command line; the rate of what is steady follows from what was confirmed in a second before.
    pub(crate) fn with(self, options: &Options, confirmed_before: Option<f64>) -> Scenario {
        let closed = |in_flight, orders, at_most_seconds| Load::Closed {
            in_flight,
            orders,
            at_most_seconds,
        };
        let open = |per_second, seconds| Load::Open { per_second, seconds };
        let base = Scenario {
            label: self.label(),
            stock: PLENTY,
            limit: None,
            products: 1,
            items: 1,
            load: closed(256, options.orders, LONG),
            tries: 1,
            key: Key::New,
            prelude: Prelude::None,
            listeners: Listeners::Sample,
            pages: 0,
        };
        let comes_back = |orders: u32| closed(256, orders.next_multiple_of(TRIES - 1), LONG);
        match self {
            Self::Hot => Scenario {
                limit: Some(1),
                load: closed(256, options.seconds.saturating_mul(8_000), options.seconds),
                ..base
            },
            Self::Steady => Scenario {
                limit: Some(1),
                load: open(options.steady_rate(confirmed_before), options.open_seconds),
                ..base
            },
            Self::Trickle => Scenario {
                load: open(50, options.open_seconds),
                ..base
            },
            Self::RefusedKnown => Scenario {
                stock: 1,
                load: comes_back(options.refusals),
                tries: TRIES - 1,
                prelude: Prelude::LastUnitAndATry,
                listeners: Listeners::None,
                ..base
            },
            Self::RefusedFresh => Scenario {
                stock: 1,
                load: closed(256, options.refusals, LONG),
                prelude: Prelude::LastUnit,
                listeners: Listeners::None,
                ..base
            },
            Self::Overlimit => Scenario {
                limit: Some(1),
                load: comes_back(options.orders),
                tries: TRIES - 1,
                prelude: Prelude::FirstOrders,
                listeners: Listeners::None,
                ..base
            },
            Self::Spread100 => Scenario {
                products: 100,
                ..base
            },
            Self::Spread1000 => Scenario {
                products: 1_000,
                ..base
            },
            Self::Basket => Scenario {
                products: 3,
                items: 3,
                ..base
            },
            Self::Replay => Scenario {
                load: comes_back(options.orders),
                tries: TRIES - 1,
                key: Key::Same,
                prelude: Prelude::FirstOrders,
                listeners: Listeners::None,
                ..base
            },
            Self::Sockets => Scenario {
                load: open(SOCKETS / 20, 20),
                listeners: Listeners::All,
                ..base
            },
            Self::SalePage | Self::Login => Scenario {
                listeners: Listeners::None,
                ..base
            },
            Self::InFlight => Scenario {
                load: closed(IN_FLIGHT, options.orders.saturating_mul(2), LONG),
                listeners: Listeners::None,
                ..base
            },
            Self::Long => Scenario {
                load: closed(256, 200_000, LONG),
                ..base
            },
            Self::Burst64 => Scenario {
                load: closed(64, options.orders, LONG),
                ..base
            },
            Self::Burst256 => base,
            Self::SoldOut => Scenario {
                stock: FEW,
                load: closed(64, options.orders.saturating_mul(2), LONG),
                ..base
            },
            Self::Storefronts => Scenario {
                load: open(PAGES / PAGES_SECONDS, PAGES_SECONDS),
                listeners: Listeners::All,
                pages: PAGES,
                ..base
            },
        }
    }
}

impl Scenario {
    /// Buyers in all.
    pub(crate) fn buyers(&self) -> u32 {
        self.load.orders().div_ceil(self.tries.max(1))
    }
}

/// Orders that fill caches and open connections before anything is measured.
pub(crate) fn warm_up(options: &Options) -> Scenario {
    Scenario {
        label: "warm-up",
        load: Load::Closed {
            in_flight: 32,
            orders: options.warm_up_orders,
            at_most_seconds: LONG,
        },
        ..Name::Burst64.with(options, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_called_what_it_is_asked_for_by() {
        for name in Name::value_variants() {
            let value = name.to_possible_value().unwrap();
            assert_eq!(value.get_name(), name.label());
        }
    }
}
