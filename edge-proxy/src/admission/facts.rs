//! What the edge knows of a request from its head, before its credential is looked at: the client's
//! address, the origin that it came by, its device. Pure.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header};
use shared::{token::device::Device, web::cookie};
use uuid::Uuid;

use crate::{admission::credential, cookies, grants::LookedUp, origin::Origin, rejection::Rejection};

/// The header by which a client names its device.
pub const DEVICE_HEADER: &str = "x-device-id";

/// Facts of a request's head that no client can choose: what it may name is checked.
#[derive(Debug)]
pub struct Facts {
    /// Draws the request out of logs and answers; see `ids`.
    pub id: Uuid,
    /// The client's address, past the proxies that are trusted.
    pub client: Option<IpAddr>,
    /// The origin by which this request came: public, or the console's.
    pub public: Origin,
    /// Whether it is the console's, at which there is nothing else.
    pub is_console: bool,
    /// Every public origin.
    pub publics: Arc<[Origin]>,
    /// The origin of a desktop client's local proxy.
    pub local: Option<Origin>,
    /// How the grant of its credential was found.
    pub looked_up: LookedUp,
}

impl Facts {
    /// The origin under which its browser sees this gateway.
    pub fn shown(&self) -> &Origin {
        self.local.as_ref().unwrap_or(&self.public)
    }

    /// Whether pages of that origin are shown by this gateway, or by the local proxy that sent this
    /// request.
    pub fn is_own(&self, origin: &Origin) -> bool {
        self.own_origins().contains(&origin)
    }

    /// The origins of which [`Facts::is_own`] holds.
    pub fn own_origins(&self) -> Vec<&Origin> {
        self.publics.iter().chain([&self.public]).chain(&self.local).collect()
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientDevice {
    pub device: Device,
    /// It said so itself, by header or by our cookie.
    pub is_named: bool,
}

/// Reads the device that a request comes from: its header, else our cookie, else its address and
/// agent.
pub fn origination(headers: &HeaderMap, client: Option<IpAddr>) -> Result<ClientDevice, Rejection> {
    if let Some(value) = headers.get(DEVICE_HEADER) {
        let name = value.to_str().map_err(|_| Rejection::MalformedDevice)?.trim();
        let device = Device::named(name).ok_or(Rejection::MalformedDevice)?;
        return Ok(ClientDevice { device, is_named: true });
    }
    if let Some(browser) = cookies::get(headers, cookie::DEVICE) {
        return Ok(ClientDevice { device: Device::of_cookie(browser), is_named: true });
    }
    let agent = headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    Ok(ClientDevice { device: Device::of_address(client, agent.as_deref().unwrap_or_default()), is_named: false })
}

/// Whether it is the desktop client, or an API client.
pub fn is_client(headers: &HeaderMap) -> bool {
    ["x-local-url", credential::HEADER, DEVICE_HEADER].iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_device_id_has_8_to_255_characters() {
        let named = ClientDevice { device: Device::known("12345678"), is_named: true };
        assert_eq!(origination(&headers(&[(DEVICE_HEADER, "12345678")]), None), Ok(named));
        for id in ["", "1234567", &"x".repeat(256)] {
            assert_eq!(origination(&headers(&[(DEVICE_HEADER, id)]), None), Err(Rejection::MalformedDevice), "{id}");
        }
    }

    #[test]
    fn a_device_is_known_by_its_header_then_its_cookie_then_its_address() {
        let cookie = format!("{}=a-cookie", cookie::DEVICE);
        let both = headers(&[(DEVICE_HEADER, "12345678"), ("cookie", &cookie)]);
        let device = |headers: &HeaderMap| origination(headers, None).expect("a device");
        assert_eq!(device(&both).device, Device::known("12345678"));
        let browser = device(&headers(&[("cookie", &cookie)]));
        assert_eq!(browser, ClientDevice { device: Device::of_cookie("a-cookie"), is_named: true });
        assert!(!device(&headers(&[("user-agent", "curl")])).is_named);
    }
}
