//! How long units are held.

use platform::config::Config;
use sale::order::Confirmation;
use std::time::Duration;

/// The sale's terms for a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How a held order becomes confirmed.
    pub confirmation: Confirmation,
    /// How long it may wait for that.
    pub ttl: Duration,
}

impl Terms {
    /// The terms in a sale's configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            confirmation: config.confirmation,
            ttl: Duration::from_secs(config.reservation_ttl_seconds),
        }
    }

    /// When a hold that begins now runs out. With automatic confirmation it does not: the order is confirmed by the
    /// next message, and a deadline could only ever hit an order that is about to be confirmed.
    pub fn expiry(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        match self.confirmation {
            Confirmation::Automatic => None,
            Confirmation::Payment => Some(now + self.ttl),
        }
    }
}
