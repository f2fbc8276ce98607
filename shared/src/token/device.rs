//! Which device a request comes from, as both planes name it. What a browser's cookie or an address
//! gives is named by its digest: a name is shown to others.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::token::credential::Digest;

/// How many characters a client may give its device.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=255;
/// How much of a name is shown to another device.
const SHOWN: usize = 8;

/// A device's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device(Arc<str>);

impl Device {
    /// The name that a client gives its device: 8 to 255 visible ASCII characters.
    pub fn named(name: &str) -> Option<Self> {
        let is_visible = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        (LENGTH.contains(&name.len()) && is_visible).then(|| Self(name.into()))
    }

    /// The browser that carries this cookie of ours.
    pub fn of_cookie(cookie: &str) -> Self {
        Self::digested("browser", cookie)
    }

    /// A client with this address and agent: the best guess for a client that says
    /// nothing.
    pub fn of_address(address: Option<IpAddr>, agent: &str) -> Self {
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        Self::digested("address", &format!("{address} {agent}"))
    }

    fn digested(kind: &str, text: &str) -> Self {
        let digest = Digest::of(text.as_bytes());
        Self(format!("{kind}-{}", digest.prefix()).into())
    }

    /// A name as it stands in Redis or Postgres.
    pub fn known(name: &str) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What another device is shown of its name.
    pub fn shown(&self) -> String {
        format!("{}...", self.0.chars().take(SHOWN).collect::<String>())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_names_its_device_with_8_to_255_visible_characters() {
        assert!(Device::named("12345678").is_some());
        for name in ["", "1234567", &"x".repeat(256), "tab\tin it", "имя-устройства"] {
            assert_eq!(Device::named(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_is_derived_shows_neither_cookie_nor_address() {
        let device = Device::of_cookie("a-secret-cookie");
        assert!(device.as_str().starts_with("browser-") && !device.as_str().contains("secret"));
        assert_eq!(device.shown(), "browser-...");
        let address = Device::of_address("192.0.2.7".parse().ok(), "curl");
        assert_ne!(address, Device::of_address("192.0.2.7".parse().ok(), "wget"));
        assert!(!address.as_str().contains("192.0.2.7"));
    }
}
