//! Bounds that services and types have, whatever the machine.

use super::quantity::Bytes;

/// Partitions of each topic when `spec.kafka.partitions` is left out.
pub(crate) const PARTITIONS_USUAL: u64 = 12;
/// The most that `spec.kafka.partitions` may say.
pub(crate) const PARTITIONS_AT_MOST: u32 = 100;
/// The most that `spec.services.<name>.replicas` may say.
pub(crate) const REPLICAS_AT_MOST: u32 = 100;
/// Connections of one process (docs/limits.md).
pub(crate) const CONNECTIONS_OF_ONE: u32 = 4_096;
/// WebSockets of one notifier: its own bound.
pub(crate) const SOCKETS_OF_ONE: u32 = 20_000;
/// Seconds between two pings of a WebSocket (docs/limits.md).
pub(crate) const PING_EVERY: f64 = 20.0;
/// Bytes of Redis that counting the requests of one client takes at the most (docs/limits.md).
pub(crate) const REMEMBERED_AT_MOST: Bytes = Bytes(4_096.0);
/// Memory of one password's hash, of which a core has one at a time (`auth::hashing`).
pub(crate) const HASH: Bytes = Bytes(19.0 * 1_024.0 * 1_024.0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_services() {
        assert_eq!(
            usize::try_from(SOCKETS_OF_ONE).unwrap(),
            notifier::hub::MOST_SOCKETS
        );
        assert_eq!(HASH.0, f64::from(auth::hashing::MEMORY_KIB) * 1_024.0);
    }
}
