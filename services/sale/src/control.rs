//! The control document: what the operator tells the services of a sale, and what follows from it at any instant.

use crate::{SaleId, limits::RateLimits, phase::Phase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Times, switches and limits of one sale. A service holds the newest one it has seen in memory and decides by its
/// own clock, so neither the operator nor the API server is needed at the opening second.
///
/// A newer operator may say more in it than a process knows of; that must not keep the process from what it does know. So fields
/// are only ever added, and a field's absence means what was before there was one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlDocument {
    /// Grows with every change; a service never goes back to a lower one.
    pub version: u64,
    /// The sale it belongs to.
    pub sale: SaleId,
    /// The phase, for people who ask. Admission follows from the times and switches below.
    pub phase: Phase,
    /// From when on orders are taken; `None` while that is not decided.
    pub opens_at: Option<Timestamp>,
    /// From when on no order is taken any more; `None` for no end.
    pub closes_at: Option<Timestamp>,
    /// Refuse new orders now, go on settling those accepted.
    pub halted: bool,
    /// The sale is over, whatever the times say.
    pub closed: bool,
    /// Limits for each route.
    pub rate_limits: RateLimits,
    /// The waiting room in front of the order route.
    pub waiting_room: WaitingRoom,
}

/// A bound on how many orders a second are let through to the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoom {
    /// Whether there is one.
    pub enabled: bool,
    /// Orders admitted for each second, over all replicas.
    pub admit_per_second: u32,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self {
            enabled: false,
            admit_per_second: 500,
        }
    }
}

/// Whether an order may be placed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Open,
    /// Not yet.
    NotOpen {
        /// When it will be, if that is decided.
        opens_at: Option<Timestamp>,
    },
    /// Not any more.
    Closed,
    /// Paused by the operator.
    Halted,
}

impl ControlDocument {
    /// A sale that is open without an end: what a process without an operator starts from.
    pub fn open_now(sale: SaleId, now: Timestamp) -> Self {
        Self {
            version: 1,
            sale,
            phase: Phase::Live,
            opens_at: Some(now),
            closes_at: None,
            halted: false,
            closed: false,
            rate_limits: RateLimits::default(),
            waiting_room: WaitingRoom::default(),
        }
    }

    /// The decision at an instant. The opening second itself is open, the closing second is not.
    pub fn admission(&self, now: Timestamp) -> Admission {
        if self.closed || self.closes_at.is_some_and(|end| now >= end) {
            return Admission::Closed;
        }
        match self.opens_at {
            Some(start) if now >= start => {
                if self.halted {
                    Admission::Halted
                } else {
                    Admission::Open
                }
            }
            opens_at => Admission::NotOpen { opens_at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_switches_decide() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let sale = SaleId {
            namespace: "shop".into(),
            name: "laptops".into(),
        };
        let mut doc = ControlDocument::open_now(sale, at(100));
        doc.closes_at = Some(at(200));
        assert_eq!(
            doc.admission(at(99)),
            Admission::NotOpen {
                opens_at: Some(at(100))
            }
        );
        assert_eq!(doc.admission(at(100)), Admission::Open);
        assert_eq!(doc.admission(at(200)), Admission::Closed);
        doc.halted = true;
        assert_eq!(doc.admission(at(150)), Admission::Halted);
        assert_eq!(
            doc.admission(at(99)),
            Admission::NotOpen {
                opens_at: Some(at(100))
            }
        );
        doc.closed = true;
        assert_eq!(doc.admission(at(99)), Admission::Closed);
        doc.closed = false;
        doc.opens_at = None;
        assert_eq!(doc.admission(at(150)), Admission::NotOpen { opens_at: None });
    }

    #[test]
    fn what_a_newer_operator_says_beyond_this_is_passed_over() {
        let sale = SaleId {
            namespace: "shop".into(),
            name: "laptops".into(),
        };
        let document = ControlDocument::open_now(sale, Timestamp::UNIX_EPOCH);
        let mut json = serde_json::to_value(&document).unwrap();
        json["drawing"] = serde_json::json!({"winners": 3});
        json["waitingRoom"]["fair"] = true.into();
        let limits = json["rateLimits"].as_array_mut().unwrap();
        limits.push(serde_json::json!({"route": "/api/drawing", "limit": 1, "windowMs": 1}));
        assert_eq!(serde_json::from_value::<ControlDocument>(json).unwrap(), document);
    }
}
