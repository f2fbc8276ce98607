//! Addresses and networks.

use std::net::IpAddr;

use serde_json::Value;
use shared::net::address::{self, NETWORKS_MAX};

use super::{
    fault::Fault,
    scalar::{Parameter, Scalar},
};

/// The most characters that a network is written with, as one of IPv4 within IPv6 and all its
/// zeros.
pub const NETWORK_CHARS: usize = 49;

/// An address of a client.
#[derive(Clone, Copy)]
pub struct Address(pub IpAddr);

impl Scalar for Address {
    fn read(value: Value) -> Result<Self, Fault> {
        let address = value.as_str().and_then(|text| text.parse().ok());
        address.map(Self).ok_or(Fault::Address)
    }

    fn render(&self) -> Value {
        self.0.to_string().into()
    }
}

/// A list of addresses and networks. A blank one is refused, for a list of nothing else would let
/// everybody in.
#[derive(Clone)]
pub struct Networks(pub address::Networks);

impl Scalar for Networks {
    fn read(value: Value) -> Result<Self, Fault> {
        let Value::Array(items) = value else { return Err(Fault::Networks) };
        if items.len() > NETWORKS_MAX {
            return Err(Fault::Networks);
        }
        let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        let texts =
            texts.filter(|texts| texts.iter().all(|text| !text.trim().is_empty() && text.len() <= NETWORK_CHARS));
        let networks = address::Networks::parse(texts.ok_or(Fault::Networks)?).map_err(|_| Fault::Networks)?;
        Ok(Self(networks))
    }

    fn render(&self) -> Value {
        self.0.texts().into()
    }
}

impl Parameter for Address {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_are_shown_without_what_says_nothing_of_them_and_each_once() {
        let given = json!(["192.0.2.77/24", "192.0.2.0/24", "::ffff:198.51.100.1", "2001:DB8:0:0::1", "0.0.0.0/0"]);
        let shown = json!(["192.0.2.0/24", "198.51.100.1", "2001:db8::1", "0.0.0.0/0"]);
        assert_eq!(Networks::read(given).map(|networks| networks.render()), Ok(shown));
        assert_eq!(Networks::read(json!([])).map(|networks| networks.render()), Ok(json!([])));
    }

    #[test]
    fn what_is_no_list_of_networks_or_too_long_a_one_is_refused() {
        for bad in [
            json!("192.0.2.1"),
            json!(["192.0.2.1/33"]),
            json!(["example.com"]),
            json!([""]),
            json!(["  "]),
            json!([1]),
            json!([["192.0.2.1"]]),
            json!({}),
            json!(vec!["192.0.2.1"; NETWORKS_MAX + 1]),
        ] {
            assert!(Networks::read(bad.clone()).is_err(), "{bad}");
        }
    }
}
