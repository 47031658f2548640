//! The addresses that count as one client.

use std::net::IpAddr;

/// The network whose addresses count as one client: an IPv4 address by itself, and of IPv6 the /64, because a client
/// can use every address of it.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The addresses that share a bound where users are not known: of IPv4 the smallest network that is announced by itself
/// (/24), and of IPv6 the network of a site (/48, RFC 6177). A client that has one of these can often use all.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) >> 8 << 8).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 80 << 80).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_chooses_among_addresses_is_one() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn neighbours_share_a_block() {
        let block = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(block("192.0.2.77"), "192.0.2.0");
        assert_eq!(block("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(block("2001:db8:1:2::3"), "2001:db8:1::");
    }
}
