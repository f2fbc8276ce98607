//! Whose address a request comes from, where proxies stand before us.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Networks, or single addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// The proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Networks);

/// A text that is neither an address nor a network such as `10.0.0.0/8`.
#[derive(Debug, thiserror::Error)]
#[error("must be addresses or networks such as 10.0.0.0/8")]
pub struct NotANetwork;

impl Networks {
    /// Reads addresses and networks; texts that are empty are passed over.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        let network = |text: &str| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let texts = texts.into_iter().map(str::trim).filter(|text| !text.is_empty());
        texts.map(network).collect::<Result<_, _>>().map(Self).map_err(|_| NotANetwork)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl TrustedProxies {
    /// Reads addresses and networks, as [`Networks::parse`] does.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NotANetwork> {
        Networks::parse(texts).map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that address is one of theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// The address of the client: the peer, or what it says of whom it forwards for if it is trusted: the right-most entry of
    /// `X-Forwarded-For` (all its lines, in their order) that is not itself a trusted proxy. An entry that is no address ends the
    /// search, for what stands left of it was said by nobody who is trusted.
    pub fn client<'a>(&self, peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut entries = forwarded_for.rev().flat_map(|line| line.rsplit(','));
        while self.0.contains(client) {
            match entries.next().and_then(address) {
                Some(address) => client = address,
                None => break,
            }
        }
        client
    }
}

/// Which addresses may come at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitors {
    /// None but these; all, if empty.
    pub allowed: Networks,
    /// Not these, even if they are allowed.
    pub denied: Networks,
}

impl Visitors {
    /// Whether this address may come.
    pub fn may_come(&self, address: IpAddr) -> bool {
        !self.denied.contains(address) && (self.allowed.is_empty() || self.allowed.contains(address))
    }
}

/// What one household or host has: a whole IPv6 /64.
pub fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// An entry as proxies write it: an address, maybe with a port or in brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(address, _)| address);
    let address: Option<IpAddr> = bare.parse().ok();
    let address = address.or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = TrustedProxies::parse(["10.0.0.0/8", " 192.0.2.1", "", "2001:db8::/32"]).expect("networks");
        trusted.client(peer.parse().expect("an address"), lines.iter().copied()).to_string()
    }

    #[test]
    fn the_client_is_the_peer_or_the_right_most_that_no_trusted_proxy_is() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "whoever is not trusted is not believed");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.2.3.4", "192.0.2.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:db8::5]:443, 198.51.100.1:55000"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.2"]), "10.0.0.2", "all are trusted");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_stands_left_of_an_entry_that_is_no_address_was_said_by_nobody_who_is_trusted() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn who_is_denied_or_not_among_the_allowed_may_not_come() {
        let networks = |texts: &[&str]| Networks::parse(texts.iter().copied()).expect("networks");
        let may_come = |visitors: &Visitors, address: &str| visitors.may_come(address.parse().expect("an address"));
        assert!(may_come(&Visitors::default(), "192.0.2.1"));
        let visitors =
            Visitors { allowed: networks(&["192.0.2.0/24", "2001:db8::/32"]), denied: networks(&["192.0.2.9"]) };
        assert!(may_come(&visitors, "192.0.2.1") && may_come(&visitors, "2001:db8::1"));
        for address in ["192.0.2.9", "::ffff:192.0.2.9", "198.51.100.1", "2001:db9::1"] {
            assert!(!may_come(&visitors, address), "{address}");
        }
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(household(address("2001:db8::1")), household(address("2001:db8::2:3")));
        assert_ne!(household(address("2001:db8::1")), household(address("2001:db8:0:1::1")));
        assert_ne!(household(address("192.0.2.1")), household(address("192.0.2.2")));
    }

    #[test]
    fn a_text_that_is_no_network_is_refused() {
        assert!(TrustedProxies::parse(["10.0.0.0/33"]).is_err());
        assert!(TrustedProxies::parse(["proxy.local"]).is_err());
    }
}
