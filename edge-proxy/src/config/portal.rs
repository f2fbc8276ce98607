//! Where people buy tokens and look after them: the portal of control-api, on a host of this edge
//! or elsewhere.

use clap::Args;

use super::value::{host, page_url};
use crate::origin::Origin;

/// The options of the portal.
#[derive(Args, Clone, Debug)]
pub struct PortalOptions {
    /// Host[:port] at which this edge serves the portal and console of CONTROL_API_URL and nothing
    /// else; must not be one of PUBLIC_ORIGIN's
    #[arg(long, env = "CONSOLE_HOST", value_parser = host)]
    pub console_host: Option<String>,

    /// URL at which users buy tokens, for links on pages, such as
    /// https://console.example.com/console [default: /console at CONSOLE_HOST]
    #[arg(long, env = "CONSOLE_URL", value_parser = page_url)]
    pub console_url: Option<String>,
}

impl PortalOptions {
    /// Checks what no single option shows; the error names the options.
    pub fn validate(&self, public_origins: &[Origin], has_control: bool) -> Result<(), String> {
        let Some(console) = self.origin(public_origins) else { return Ok(()) };
        if !has_control {
            return Err("CONSOLE_HOST needs CONTROL_API_URL, which is served there".into());
        }
        // Whatever the port: a browser sends the cookies of one to the other.
        if public_origins.iter().any(|public| public.host() == console.host()) {
            return Err("CONSOLE_HOST must be no host of PUBLIC_ORIGIN: scripts of Zenzefi's pages run there".into());
        }
        Ok(())
    }

    /// The origin of the console on this edge, if it has one: of the scheme that the first public
    /// one has.
    pub fn origin(&self, public_origins: &[Origin]) -> Option<Origin> {
        Origin::of_host(public_origins.first().is_some_and(Origin::is_https), self.console_host.as_deref()?)
    }

    /// The portal's address, if it is known, without a slash at its end.
    pub fn url(&self, public_origins: &[Origin]) -> Option<String> {
        let own = || self.origin(public_origins).map(|origin| format!("{origin}/console"));
        self.console_url.clone().or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| text.parse().expect("an origin")).collect()
    }

    fn at(host: &str) -> PortalOptions {
        PortalOptions { console_host: Some(host.to_owned()), console_url: None }
    }

    #[test]
    fn the_console_has_a_host_of_its_own_and_a_control_api_behind_it() {
        let public = origins(&["https://gateway.example:8443", "https://other.example"]);
        assert_eq!(at("console.example").validate(&public, true), Ok(()));
        for (host, has_control) in [
            ("console.example", false),
            ("gateway.example", true),
            ("Gateway.Example:9000", true),
            ("other.example", true),
        ] {
            let wrong = at(host).validate(&public, has_control).expect_err(host);
            assert!(wrong.starts_with("CONSOLE_HOST"), "{wrong}");
        }
    }

    #[test]
    fn pages_lead_where_they_are_told_or_else_to_the_console_here() {
        let public = origins(&["https://gateway.example"]);
        assert_eq!(at("console.example").url(&public).as_deref(), Some("https://console.example/console"));
        assert_eq!(at("console.example:81").url(&[]).as_deref(), Some("http://console.example:81/console"));
        let told = PortalOptions { console_url: Some("https://shop.example/zenzefi".into()), ..at("console.example") };
        assert_eq!(told.url(&public).as_deref(), Some("https://shop.example/zenzefi"));
        assert_eq!(PortalOptions { console_host: None, console_url: None }.url(&public), None);
    }
}
