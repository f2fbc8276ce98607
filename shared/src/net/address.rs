//! Whose address a request comes from, where proxies stand before us, and which addresses may come.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::malformed::Malformed;

/// How many networks a list of a user or a token names at most.
pub const NETWORKS_MAX: usize = 64;

/// How many bits of an IPv6 address say that the rest is an IPv4 address.
const MAPPED_BITS: u8 = 96;

/// Networks, or single addresses. One of IPv4 that is written as IPv6 (`::ffff:192.0.2.1`) is the
/// one of IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
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
        let mut networks = Vec::new();
        for text in texts {
            let network = canonical(network(text).map_err(|_| NotANetwork)?);
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        Ok(Self(networks))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Each as a text, a single address without the length of its prefix.
    pub fn texts(&self) -> Vec<String> {
        let is_single = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        let text = |network: &IpNet| if is_single(network) { network.addr().to_string() } else { network.to_string() };
        self.0.iter().map(text).collect()
    }
}

impl From<Networks> for Vec<String> {
    fn from(networks: Networks) -> Self {
        networks.texts()
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = NotANetwork;

    fn try_from(texts: Vec<String>) -> Result<Self, NotANetwork> {
        Self::parse(texts.iter().map(String::as_str))
    }
}

/// A network without the bits that say nothing of it, and of IPv4 if it is.
fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= MAPPED_BITS => mapped
            .addr()
            .to_ipv4_mapped()
            .and_then(|address| Ipv4Net::new(address, mapped.prefix_len() - MAPPED_BITS).ok())
            .map_or(network, IpNet::V4),
        _ => network,
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

    /// Whether that address is a trusted proxy's.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// The address of the client: the peer, or what it says of whom it forwards for if it is
    /// trusted: the right-most entry of `X-Forwarded-For` (all its lines, in their order) that is
    /// not itself a trusted proxy. An entry that is no address ends the search, for what stands
    /// left of it was said by nobody who is trusted.
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

/// Which addresses may come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressFilter {
    /// None but these; all, if empty.
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    pub allowed: Networks,
    /// Not these, even if they are allowed.
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    pub denied: Networks,
}

impl AddressFilter {
    fn is_anybody(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty()
    }

    /// Whether this address may come.
    pub fn may_come(&self, address: IpAddr) -> bool {
        !self.denied.contains(address) && (self.allowed.is_empty() || self.allowed.contains(address))
    }
}

/// From where a token may be used: as its user's lists and as its own say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    #[serde(default, skip_serializing_if = "AddressFilter::is_anybody")]
    pub user: AddressFilter,
    #[serde(default, skip_serializing_if = "AddressFilter::is_anybody")]
    pub token: AddressFilter,
}

impl NetworkPolicy {
    /// Whether the token may be used from this address; from one that nobody knows only if it may
    /// from everywhere.
    pub fn may_use(&self, address: Option<IpAddr>) -> bool {
        [&self.user, &self.token].into_iter().all(|address_filter| {
            address_filter.is_anybody() || address.is_some_and(|address| address_filter.may_come(address))
        })
    }

    /// As the `networks` field in Redis holds it: JSON, or nothing at all where the token may be
    /// used from everywhere.
    pub fn encode(&self) -> String {
        if self.user.is_anybody() && self.token.is_anybody() {
            return String::new();
        }
        serde_json::to_string(self).expect("texts in lists are JSON")
    }
}

impl FromStr for NetworkPolicy {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() { Ok(Self::default()) } else { serde_json::from_str(text).map_err(|_| Malformed) }
    }
}

/// The prefix that one client has: an IPv4 address, or a whole IPv6 /64.
pub fn client_prefix(address: IpAddr) -> IpAddr {
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
    fn entries_left_of_one_that_is_no_address_are_not_trusted() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn who_is_denied_or_not_among_the_allowed_may_not_come() {
        let networks = |texts: &[&str]| Networks::parse(texts.iter().copied()).expect("networks");
        let may_come = |address_filter: &AddressFilter, address: &str| {
            address_filter.may_come(address.parse().expect("an address"))
        };
        assert!(may_come(&AddressFilter::default(), "192.0.2.1"));
        let address_filter =
            AddressFilter { allowed: networks(&["192.0.2.0/24", "2001:db8::/32"]), denied: networks(&["192.0.2.9"]) };
        assert!(may_come(&address_filter, "192.0.2.1") && may_come(&address_filter, "2001:db8::1"));
        for address in ["192.0.2.9", "::ffff:192.0.2.9", "198.51.100.1", "2001:db9::1"] {
            assert!(!may_come(&address_filter, address), "{address}");
        }
    }

    #[test]
    fn a_token_is_used_from_where_its_user_and_itself_may_both_be() {
        let address_filter = |allowed: &[&str], denied: &[&str]| {
            let networks = |texts: &[&str]| Networks::parse(texts.iter().copied()).expect("networks");
            AddressFilter { allowed: networks(allowed), denied: networks(denied) }
        };
        let may_use = |network_policy: &NetworkPolicy, address: &str| {
            network_policy.may_use(Some(address.parse().expect("an address")))
        };
        assert!(NetworkPolicy::default().may_use(None), "nobody asks from where");
        let both = NetworkPolicy {
            user: address_filter(&["192.0.2.0/24", "2001:db8::/32"], &[]),
            token: address_filter(&[], &["::ffff:192.0.2.128/121", "2001:db8::9"]),
        };
        assert!(may_use(&both, "192.0.2.1") && may_use(&both, "::ffff:192.0.2.1") && may_use(&both, "2001:db8::1"));
        for address in ["192.0.2.200", "::ffff:192.0.2.200", "2001:db8::9", "198.51.100.1"] {
            assert!(!may_use(&both, address), "{address}");
        }
        assert!(!both.may_use(None), "who knows");
    }

    #[test]
    fn from_where_a_token_may_be_used_reads_back_and_what_does_not_read_lets_nobody_in() {
        let user = AddressFilter {
            allowed: Networks::parse(["192.0.2.77/24", "192.0.2.0/24"]).expect("networks"),
            ..AddressFilter::default()
        };
        let network_policy = NetworkPolicy { user, token: AddressFilter::default() };
        assert_eq!(network_policy.encode(), r#"{"user":{"allowed":["192.0.2.0/24"]}}"#);
        assert_eq!(network_policy.encode().parse(), Ok(network_policy));
        assert_eq!(NetworkPolicy::default().encode(), "");
        assert_eq!("".parse(), Ok(NetworkPolicy::default()));
        for text in ["nonsense", r#"{"user":{"allowed":["everywhere"]}}"#, r#"{"token":{"denied":"192.0.2.1"}}"#] {
            assert_eq!(text.parse::<NetworkPolicy>(), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(client_prefix(address("2001:db8::1")), client_prefix(address("2001:db8::2:3")));
        assert_ne!(client_prefix(address("2001:db8::1")), client_prefix(address("2001:db8:0:1::1")));
        assert_ne!(client_prefix(address("192.0.2.1")), client_prefix(address("192.0.2.2")));
    }

    #[test]
    fn a_text_that_is_no_network_is_refused() {
        assert!(TrustedProxies::parse(["10.0.0.0/33"]).is_err());
        assert!(TrustedProxies::parse(["proxy.local"]).is_err());
    }
}
