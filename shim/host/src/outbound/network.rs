//! Which addresses no function may reach, whatever name led there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Address rules of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Beyond those that are always denied: nodes, the API server.
    pub denied: Vec<Range>,
    /// Exceptions for local development and tests, given by the operator and never by a function.
    pub allowed: Vec<Grant>,
}

/// Addresses with a common prefix: `10.0.0.0/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    address: IpAddr,
    prefix_bits: u8,
}

/// Addresses, and the port on them that may be reached; without one, every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    ranges: Vec<Range>,
    port: Option<u16>,
}

/// Text that names no addresses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} names no addresses; write 10.0.0.0/8, 127.0.0.1:8080, [::1]:8080 or localhost:8080")]
pub struct NetworkError(String);

/// The metadata services that are not link-local; those are denied as such.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

impl Network {
    /// Whether a connection to `address` may be made.
    #[must_use]
    pub fn permits(&self, address: IpAddr, port: u16) -> bool {
        let address = plain(address);
        if self.allowed.iter().any(|grant| grant.covers(address, port)) {
            return true;
        }
        !always_denied(address) && !self.denied.iter().any(|range| range.contains(address))
    }
}

fn always_denied(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4 == METADATA_V4
        }
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6 == METADATA_V6
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64 and 6to4 forms all reach it.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.prefix_bits);
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                (net.to_bits() ^ address.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                (net.to_bits() ^ address.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn one(address: IpAddr) -> Self {
        Self { address, prefix_bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Range {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let Some((address, bits)) = text.split_once('/') else {
            return text.parse().map(Self::one).map_err(|_| error());
        };
        let whole = Self::one(address.parse().map_err(|_| error())?);
        let prefix_bits = bits.parse().ok().filter(|&bits| bits <= whole.prefix_bits).ok_or_else(error)?;
        Ok(Self { prefix_bits, ..whole })
    }
}

impl Grant {
    fn covers(&self, address: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|granted| granted == port) && self.ranges.iter().any(|range| range.contains(address))
    }
}

impl FromStr for Grant {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if let Ok(range) = text.parse() {
            return Ok(Self { ranges: vec![range], port: None });
        }
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self { ranges: vec![Range::one(socket.ip())], port: Some(socket.port()) });
        }
        let loopback = || {
            vec![
                Range { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix_bits: 8 },
                Range::one(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            ]
        };
        match text.strip_prefix("localhost") {
            Some("") => Ok(Self { ranges: loopback(), port: None }),
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
                let port = port.ok_or_else(|| NetworkError(text.to_owned()))?;
                Ok(Self { ranges: loopback(), port: Some(port) })
            }
            None => Err(NetworkError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(network: &Network, address: &str) -> bool {
        network.permits(address.parse().unwrap(), 80)
    }

    #[test]
    fn addresses_of_the_machine_itself_are_never_reached() {
        let network = Network::default();
        for denied in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
        ] {
            assert!(!permits(&network, denied), "{denied}");
        }
        for allowed in ["93.184.216.34", "10.1.2.3", "2606:4700::1111", "fd00::1"] {
            assert!(permits(&network, allowed), "{allowed}");
        }
    }

    #[test]
    fn an_installation_denies_more_and_grants_single_ports() {
        let network = Network {
            denied: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            allowed: vec!["localhost:9000".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
        };
        assert!(!permits(&network, "10.2.0.1"));
        assert!(!permits(&network, "fd12::1"));
        assert!(permits(&network, "10.1.0.1"));
        assert!(!permits(&network, "127.0.0.1"));
        assert!(network.permits("127.0.0.1".parse().unwrap(), 9000));
        assert!(network.permits("::1".parse().unwrap(), 9000));
    }

    #[test]
    fn zero_bits_cover_everything_of_one_family() {
        let all: Range = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("1.2.3.4".parse().unwrap()));
        assert!(!all.contains("::1".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "x", "localhost:x", "localhostile", ""] {
            assert!(wrong.parse::<Grant>().is_err(), "{wrong}");
        }
    }
}
