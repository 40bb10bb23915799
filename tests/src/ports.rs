//! Ports on loopback that stay a test's own.
//!
//! A port that the system gives for the asking (port 0) is of the range from which it also takes the near ends of outgoing
//! connections. Between the asking and the moment at which a server listens there, or while a server that was killed is
//! down, any connection of any process may take it, and the server finds its address in use. The ports here are below
//! that range (32768 to 60999 unless Linux was told otherwise), and no two tests get the same, whatever process they are of.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{Read, Seek, Write},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::Path,
};

/// What is given: above the fixed ports of the backends that tests share (`hack/test.sh`), below those of `make bench` and
/// the node ports of a cluster.
const GIVEN: Range<u16> = 20_000..29_000;
/// Where the last one given is written down, for every process of this machine.
const LAST: &str = "quicksale-test-ports";

/// So many ports that nobody listens on, and that nobody else is given until all others have been.
///
/// # Errors
/// When every one is taken, or the last one given cannot be written down.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    free_of(GIVEN, &std::env::temp_dir().join(LAST))
}

fn free_of<const N: usize>(range: Range<u16>, last: &Path) -> Result<[u16; N]> {
    let written = || {
        format!(
            "{}: the last port given to a test cannot be kept there",
            last.display()
        )
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(last)
        .with_context(written)?;
    // Until the file is closed.
    file.lock().with_context(written)?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(written)?;
    // What is no number was left by somebody who was killed as it wrote.
    let before = text.trim().parse().unwrap_or(range.start);
    let (mut found, mut port) = ([0; N], before);
    for place in &mut found {
        port = next_free(&range, port)?;
        *place = port;
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(port.to_string().as_bytes()))
        .with_context(written)?;
    Ok(found)
}

fn next_free(range: &Range<u16>, mut port: u16) -> Result<u16> {
    for _ in range.clone() {
        port = port.saturating_add(1);
        if !range.contains(&port) {
            port = range.start;
        }
        // Whoever listens on one address alone stands in the way of this as well.
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "all ports from {} to {} are taken: end what listens there",
        range.start,
        range.end - 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_below_those_of_outgoing_connections_of_this_machine() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(
            GIVEN.end <= lowest,
            "outgoing connections begin at port {lowest}: sysctl net.ipv4.ip_local_port_range='32768 60999'"
        );
    }

    #[test]
    fn nobody_is_given_what_another_was_or_where_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(LAST);
        let [taken] = free::<1>().unwrap();
        let _listens = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
        let range = taken - 1..taken + 20;
        let given: Vec<BTreeSet<u16>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| free_of::<3>(range.clone(), &file).unwrap().into()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let all: BTreeSet<u16> = given.iter().flatten().copied().collect();
        assert_eq!(all.len(), 12, "{given:?}");
        assert!(
            all.iter().all(|port| range.contains(port) && *port != taken),
            "{given:?}"
        );
    }

    #[test]
    fn they_begin_again_at_the_end_and_what_was_half_written_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(LAST);
        let [start] = free::<1>().unwrap();
        std::fs::write(&file, (start + 9).to_string()).unwrap();
        let around = free_of::<1>(start..start + 10, &file).unwrap();
        assert!(around[0] < start + 9);
        std::fs::write(&file, "half").unwrap();
        assert!((start..start + 10).contains(&free_of::<1>(start..start + 10, &file).unwrap()[0]));
    }
}
