//! `X-Forwarded-For`: whatever a client writes into it, it counts as itself.

use crate::{fuzz, mangled_text};
use arbtest::arbitrary::{Result, Unstructured};
use platform::http::client_address::{Network, resolve};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn address(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Ipv4Addr::from_bits(u.arbitrary()?).into(),
        1 => Ipv6Addr::from_bits(u.arbitrary()?).into(),
        2 => Ipv4Addr::new(10, 0, 0, u.arbitrary()?).into(),
        3 => Ipv4Addr::new(10, u.arbitrary()?, 0, 1).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0xfd00, u.arbitrary()?, 0, 0, 0, 0, 0, 1).into(),
    })
}

fn trusted() -> Vec<Network> {
    let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"];
    networks.into_iter().filter_map(Network::parse).collect()
}

#[test]
fn a_client_is_who_its_proxy_says_whatever_it_writes_itself() {
    let trusted = trusted();
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    fuzz(|u| {
        let (proxy, client) = (IpAddr::from(Ipv4Addr::new(10, 0, 0, u.arbitrary()?)), address(u)?);
        let written = mangled_text(u, "10.0.0.7, 192.0.2.1,  203.0.113.9")?;
        let header = format!("{written}, {client}");
        let found = resolve(proxy, Some(&header), &trusted);
        if !is_trusted(client) {
            assert_eq!(
                found.to_canonical(),
                client.to_canonical(),
                "{header:?} from {proxy}"
            );
        }
        // Nobody but a proxy is believed at all.
        if !is_trusted(client) {
            assert_eq!(
                resolve(client, Some(&written), &trusted).to_canonical(),
                client.to_canonical()
            );
        }
        Ok(())
    });
}

#[test]
fn an_address_found_was_written_by_somebody_trusted() {
    let trusted = trusted();
    fuzz(|u| {
        let peer = address(u)?;
        let header = mangled_text(u, "203.0.113.9, fd00::1,10.0.0.7, ::ffff:10.0.0.8")?;
        let found = resolve(peer, Some(&header), &trusted).to_canonical();
        let hops: Vec<_> = header
            .rsplit(',')
            .map(|hop| hop.trim().parse::<IpAddr>())
            .collect();
        // The peer, or a hop behind which, towards us, there are only trusted ones.
        let mut chain = std::iter::once(Ok(peer)).chain(hops).map_while(|hop| hop.ok());
        let believed = chain
            .find(|hop| hop.to_canonical() == found || !trusted.iter().any(|network| network.contains(*hop)));
        assert_eq!(
            believed.map(|hop| hop.to_canonical()),
            Some(found),
            "{header:?} from {peer}"
        );
        Ok(())
    });
}

#[test]
fn a_network_holds_what_shares_its_first_bits() {
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    fuzz(|u| {
        let (network, other) = (address(u)?.to_canonical(), address(u)?);
        let ((base, most), (asked, same_family)) = (bits(network), bits(other));
        let length: u8 = u.int_in_range(0..=most)?;
        let shares = length == 0 || (base ^ asked).leading_zeros() >= u32::from(length);
        let text = format!("{network}/{length}");
        let parsed = Network::parse(&text).expect(&text);
        assert_eq!(
            parsed.contains(other),
            most == same_family && shares,
            "{other} in {text}"
        );
        assert!(parsed.contains(network), "{text}");
        if let Some(strange) = Network::parse(&mangled_text(u, &text)?) {
            let _either = strange.contains(other);
        }
        Ok(())
    });
}
