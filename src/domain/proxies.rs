//! Proxies in front of us: whose word about where a request comes from counts.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// Where a request comes from, found out in front of all doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(pub IpAddr);

/// Networks that an operator named as trusted; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Proxy>);

/// An address, or a network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxy(IpNet);

impl FromStr for Proxy {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.parse::<IpNet>() {
            Ok(network) => Ok(Self(network)),
            Err(_) => Ok(Self(text.parse::<IpAddr>()?.to_canonical().into())),
        }
    }
}

impl FromIterator<Proxy> for Proxies {
    fn from_iter<I: IntoIterator<Item = Proxy>>(proxies: I) -> Self {
        Self(proxies.into_iter().collect())
    }
}

impl Proxies {
    pub fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|proxy| proxy.0.contains(&address))
    }

    /// Where a request comes from: the connection's other end; if that is a trusted proxy, the last in its list that is
    /// none. What stands before that, anybody may have written. `forwarded`: the values of `X-Forwarded-For`, in order.
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for hop in forwarded.flat_map(|value| value.split(',')).rev() {
            if !self.trust(client) {
                break;
            }
            let Some(address) = address(hop.trim()) else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn proxies(texts: &[&str]) -> Proxies {
        texts.iter().map(|text| text.parse::<Proxy>().expect("a network")).collect()
    }

    #[test]
    fn an_address_and_a_network_are_both_trusted() {
        let known = proxies(&["127.0.0.1", "10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.1"]);
        for inside in ["127.0.0.1", "10.255.0.9", "fd12::1", "::ffff:10.0.0.1", "192.0.2.1"] {
            assert!(known.trust(ip(inside)), "{inside}");
        }
        for outside in ["127.0.0.2", "11.0.0.1", "fe80::1", "192.0.2.2"] {
            assert!(!known.trust(ip(outside)), "{outside}");
        }
        for wrong in ["", "10.0.0.0/33", "proxy.example.org", "10.0.0.1:80"] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_has() {
        let known = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        let table: [(&str, &[&str], &str); 10] = [
            // Nobody vouches for an untrusted peer's header.
            ("203.0.113.5", &["198.51.100.1"], "203.0.113.5"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            // What the client itself wrote stands before what the proxy saw.
            ("127.0.0.1", &["198.51.100.1, 203.0.113.5"], "203.0.113.5"),
            ("127.0.0.1", &["10.0.0.1, 203.0.113.5"], "203.0.113.5"),
            ("127.0.0.1", &["198.51.100.1", "203.0.113.5, 10.1.2.3"], "203.0.113.5"),
            ("127.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("127.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            // Nonsense says nothing, and what stands before it neither.
            ("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1"),
            ("127.0.0.1", &["10.0.0.2, 10.0.0.1"], "10.0.0.2"),
        ];
        for (peer, forwarded, expected) in table {
            assert_eq!(known.client(ip(peer), forwarded.iter().copied()), ip(expected), "{peer} {forwarded:?}");
        }
        let nobody = Proxies::default();
        assert_eq!(nobody.client(ip("127.0.0.1"), ["203.0.113.5"].into_iter()), ip("127.0.0.1"));
    }
}
