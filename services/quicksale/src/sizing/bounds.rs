//! Bounds that services and types have, whatever the machine.

use super::quantity::Bytes;

/// Partitions of each topic when `spec.kafka.partitions` is left out.
pub(crate) const PARTITIONS_USUAL: u32 = 12;
/// The most that `spec.kafka.partitions` may say.
pub(crate) const PARTITIONS_AT_MOST: u32 = 100;
/// The most that `spec.services.<name>.replicas` may say.
pub(crate) const REPLICAS_AT_MOST: u32 = 100;
/// Connections of one process.
pub(crate) const CONNECTIONS_OF_ONE: u32 = 4_096;
/// WebSockets of one notifier: its own bound.
pub(crate) const SOCKETS_OF_ONE: u32 = 20_000;
/// Seconds between two pings of a WebSocket.
pub(crate) const PING_EVERY: f64 = 20.0;
/// Bytes of Redis that counting the requests of one client takes at the most. docs/limits.md says so; there is no constant to compare with.
pub(crate) const REMEMBERED_AT_MOST: Bytes = Bytes(4_096.0);
/// Memory of one password's hash, of which a core has one at a time.
pub(crate) const HASH: Bytes = Bytes(19.0 * 1_024.0 * 1_024.0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_services() {
        let of_services = [
            (CONNECTIONS_OF_ONE, platform::http::connections::MOST),
            (SOCKETS_OF_ONE, notifier::hub::MOST_SOCKETS),
        ];
        for (bound, theirs) in of_services {
            assert_eq!(usize::try_from(bound).unwrap(), theirs);
        }
        assert_eq!(PING_EVERY, notifier::socket::PING_EVERY.as_secs_f64());
        assert_eq!(HASH.0, f64::from(auth::hashing::MEMORY_KIB) * 1_024.0);
    }

    #[test]
    fn bounds_are_those_of_a_flashsale() {
        let usual = crds::traffic::Kafka::default().partitions;
        assert_eq!(i64::from(PARTITIONS_USUAL), i64::from(usual));
        let rules = [
            (PARTITIONS_AT_MOST, crds::rules::partitions()),
            (REPLICAS_AT_MOST, crds::rules::replica_bounds("max")),
        ];
        for (bound, rule) in rules {
            assert_eq!(rule.rule, format!("self >= 1 && self <= {bound}"));
        }
    }
}
