//! What a sale asks for, in all and in a second, before anything is said about its cost.

use super::{bounds, quantity::PerSecond, sale::Sale};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Demand {
    /// Buyers who come for the first time.
    pub(crate) arrivals: PerSecond,
    /// Orders that are accepted.
    pub(crate) accepted: f64,
    /// Seconds until they are, if they are accepted as they come.
    pub(crate) accepted_within_s: f64,
    /// Orders that are refused.
    pub(crate) refused: f64,
    /// Orders in a second in which units are left.
    pub(crate) selling: Orders,
    /// Orders once none is left.
    pub(crate) sold_out: Orders,
    /// Looks at the sale.
    pub(crate) page_views: f64,
    /// The same in a second.
    pub(crate) page_views_per_second: PerSecond,
    /// Logins.
    pub(crate) logins: f64,
    /// The same in a second.
    pub(crate) logins_per_second: PerSecond,
    /// WebSockets that are open in the end.
    pub(crate) sockets: f64,
    /// How many are opened in a second.
    pub(crate) sockets_opened_per_second: PerSecond,
    /// Pings to all that are open.
    pub(crate) pings_per_second: PerSecond,
}

/// Orders in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Orders {
    /// Accepted.
    pub(crate) accepted: PerSecond,
    /// Accepted, of a buyer whose WebSocket is told what becomes of it.
    pub(crate) pushed: PerSecond,
    /// Refused, the buyer's first one.
    pub(crate) refused_first: PerSecond,
    /// Refused, of a buyer who was refused before.
    pub(crate) refused_again: PerSecond,
}

impl Demand {
    /// Of a sale. Whoever comes while units are left gets one. Whoever comes later is refused, and tries again at once, so that these tries
    /// stand beside those of who comes then. Where the units are gone before a second is over, it has refusals as well: nothing is asked of
    /// any part for less than a second.
    pub(crate) fn of(sale: &Sale) -> Self {
        let within_window = |count: f64| PerSecond(count / f64::from(sale.window));
        let buyers = f64::from(sale.buyers);
        let arrivals = within_window(buyers);
        let accepted = f64::from(sale.units.min(sale.buyers));
        let refused_buyers = buyers - accepted;
        let second = |accepted: f64, refused: f64| Orders {
            accepted: PerSecond(accepted),
            pushed: PerSecond(sale.sockets.of(accepted)),
            refused_first: PerSecond(refused),
            refused_again: PerSecond(refused * (f64::from(sale.tries) - 1.0)),
        };
        let accepted_in_a_second = arrivals.0.min(accepted);
        let sold_out = if refused_buyers > 0.0 {
            second(0.0, arrivals.0)
        } else {
            Orders::default()
        };
        let page_views = buyers * f64::from(sale.page_views);
        let logins = sale.logins.of(buyers);
        let sockets = sale.sockets.of(buyers);
        Self {
            arrivals,
            accepted,
            accepted_within_s: accepted / arrivals.0,
            refused: refused_buyers * f64::from(sale.tries),
            selling: second(accepted_in_a_second, arrivals.0 - accepted_in_a_second),
            sold_out,
            page_views,
            page_views_per_second: within_window(page_views),
            logins,
            logins_per_second: within_window(logins),
            sockets,
            sockets_opened_per_second: within_window(sockets),
            pings_per_second: PerSecond(sockets / bounds::PING_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::tests::sale;

    #[test]
    fn buyers_are_served_as_they_come_until_nothing_is_left() {
        let demand = Demand::of(&sale(
            "--buyers 6000 --window 60 --units 1500 --tries 3 --page-views 2 --sockets 0.5 --logins 0.1",
        ));
        assert_eq!(demand.arrivals, PerSecond(100.0));
        assert_eq!((demand.accepted, demand.accepted_within_s), (1_500.0, 15.0));
        assert_eq!(demand.refused, 13_500.0);
        assert_eq!(demand.selling.accepted, PerSecond(100.0));
        assert_eq!(demand.selling.pushed, PerSecond(50.0));
        assert_eq!(demand.selling.refused_first, PerSecond(0.0));
        assert_eq!(demand.sold_out.pushed, PerSecond(0.0));
        assert_eq!(demand.sold_out.refused_first, PerSecond(100.0));
        assert_eq!(demand.sold_out.refused_again, PerSecond(200.0));
        assert_eq!(demand.page_views_per_second, PerSecond(200.0));
        assert_eq!(demand.logins_per_second, PerSecond(10.0));
        assert_eq!(demand.sockets_opened_per_second, PerSecond(50.0));
        assert_eq!(demand.pings_per_second, PerSecond(150.0));
    }

    #[test]
    fn units_that_are_gone_within_a_second_are_no_higher_pace() {
        let demand = Demand::of(&sale("--buyers 6000 --window 60 --units 20 --tries 3"));
        assert_eq!(demand.selling.accepted, PerSecond(20.0));
        assert_eq!(demand.selling.refused_first, PerSecond(80.0));
        assert_eq!(demand.selling.refused_again, PerSecond(160.0));
    }

    #[test]
    fn nobody_is_refused_where_there_is_a_unit_for_everybody() {
        let demand = Demand::of(&sale("--buyers 600 --units 1000 --window 60"));
        assert_eq!((demand.accepted, demand.refused), (600.0, 0.0));
        assert_eq!(demand.accepted_within_s, 60.0);
        assert_eq!(demand.sold_out, Orders::default());
    }
}
