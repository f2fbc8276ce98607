//! Everything that an operator can set, one struct. Read once at start, from the environment and
//! `.env`; what is wrong or missing is named and ends the program with exit status 2.

mod limits;
mod portal;
mod tls;
mod value;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use shared::{
    net::address::{AddressFilter, Networks, TrustedProxies},
    process::trace::TraceOptions,
};

use crate::{origin::Origin, route::RESERVED};
pub use limits::LimitOptions;
pub use portal::PortalOptions;
pub use tls::TlsOptions;
pub use value::{Balance, DevicePolicy, LogFormat, Rewrite, SameSite, Secret, SecretUrl};
use value::{basic_auth, log_filter, networks, path, redis_url, trusted_proxies};

/// How long a device holds a token after its last request.
const LEASE_SECONDS: u64 = shared::redis::LEASE_MS / 1_000;
/// How long an hour of a token lasts.
const TOKEN_HOUR_SECONDS: u64 = 3_600;
/// Times in an assertion are whole seconds, and it goes with requests for half of its life.
const SHORTEST_ASSERTION_SECONDS: u64 = 10;

/// Reverse proxy for Zenzefi: admits requests that carry a valid access token and closes them when
/// it ends.
#[derive(Debug, Parser)]
#[command(name = "edge-proxy", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, until SIGTERM.
    Serve(Box<Config>),
    /// Check the configuration and exit.
    CheckConfig(Box<Config>),
}

/// The options of `edge-proxy serve`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// URL of the Redis that both programs share: redis://[user:password@]host:port[/database], or
    /// redis-sentinel://host:port?sentinelServiceName=name
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    pub redis_url: SecretUrl,

    /// Start even if Redis may evict keys, which can lose tokens that were paid for
    #[arg(long, env = "ALLOW_EVICTION", default_value = "false", num_args = 0..=1, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    pub allow_eviction: bool,

    /// Seconds that a device holds a token after its last request; the same for both programs, and
    /// changed only with DEBUG
    #[arg(long, env = "LEASE_SECONDS", default_value_t = LEASE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub lease_seconds: u64,

    /// Seconds in an hour of a token; the same for both programs, and changed only with DEBUG
    #[arg(long, env = "TOKEN_HOUR_SECONDS", default_value_t = TOKEN_HOUR_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub token_hour_seconds: u64,

    /// The Zenzefi server: https://host[:port] or http://host[:port]; several addresses of the same
    /// one comma-separated
    #[arg(long, env = "ZENZEFI_URL", required = true, value_delimiter = ',')]
    pub zenzefi_url: Vec<Origin>,

    /// Load balancing across the addresses in ZENZEFI_URL: least-connections or round-robin
    #[arg(long, env = "ZENZEFI_BALANCE", default_value = "least-connections")]
    pub zenzefi_balance: Balance,

    /// Interval of health checks in seconds; an unhealthy address receives no requests
    #[arg(long, env = "ZENZEFI_HEALTH_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub zenzefi_health_seconds: u64,

    /// Path that a health check requests; healthy is any status below 500. If not set, a check only
    /// connects
    #[arg(long, env = "ZENZEFI_HEALTH_PATH", value_parser = path)]
    pub zenzefi_health_path: Option<String>,

    /// Consecutive failures after which an address is ejected
    #[arg(long, env = "ZENZEFI_EJECT_AFTER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub zenzefi_eject_after: u32,

    /// Seconds that an ejected address receives no requests
    #[arg(long, env = "ZENZEFI_EJECT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub zenzefi_eject_seconds: u64,

    /// Other origins by which Zenzefi calls itself, comma-separated
    #[arg(long, env = "ZENZEFI_ALIASES", value_delimiter = ',')]
    pub zenzefi_aliases: Vec<Origin>,

    /// PEM file of the authority that signed Zenzefi's certificate; the system's roots otherwise
    #[arg(long, env = "ZENZEFI_CA_FILE")]
    pub zenzefi_ca_file: Option<PathBuf>,

    /// Whether Zenzefi's certificate is verified; false only for a self-signed server on a private
    /// network
    #[arg(long, env = "ZENZEFI_TLS_VERIFY", default_value_t = true, action = clap::ArgAction::Set)]
    pub zenzefi_tls_verify: bool,

    /// PEM file of the client certificate chain for Zenzefi, if it requires one (mTLS); needs the
    /// key
    #[arg(long, env = "ZENZEFI_CLIENT_CERT_FILE", requires = "zenzefi_client_key_file")]
    pub zenzefi_client_cert_file: Option<PathBuf>,

    /// PEM file of the client certificate's private key
    #[arg(long, env = "ZENZEFI_CLIENT_KEY_FILE", requires = "zenzefi_client_cert_file")]
    pub zenzefi_client_key_file: Option<PathBuf>,

    /// HTTP Basic credentials sent to Zenzefi: user:password
    #[arg(long, env = "ZENZEFI_BASIC_AUTH", hide_env_values = true, value_parser = basic_auth)]
    pub zenzefi_basic_auth: Option<Secret>,

    /// Origins of the edge as users see them, comma-separated; links use the first, and a request
    /// for another Host gets 421. Required unless DEBUG
    #[arg(long, env = "PUBLIC_ORIGIN", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,

    /// Proxies whose X-Forwarded-For is trusted: addresses or networks, comma-separated; for
    /// control-api the edges are proxies too
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "", hide_default_value = true, value_parser = trusted_proxies)]
    pub trusted_proxies: TrustedProxies,

    /// Allowed client addresses or networks (CIDR), comma-separated. Empty: allow all
    #[arg(long, env = "ALLOWED_ADDRESSES", default_value = "", hide_default_value = true, value_parser = networks)]
    pub allowed_addresses: Networks,

    /// Blocked client addresses or networks; takes precedence over ALLOWED_ADDRESSES,
    /// comma-separated
    #[arg(long, env = "DENIED_ADDRESSES", default_value = "", hide_default_value = true, value_parser = networks)]
    pub denied_addresses: Networks,

    /// Read the client's address from the PROXY protocol (version 1 or 2), which every trusted
    /// proxy must then speak
    #[arg(long, env = "PROXY_PROTOCOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub proxy_protocol: bool,

    /// URL of the control API, which this edge then serves too; not served if not set
    #[arg(long, env = "CONTROL_API_URL")]
    pub control_api_url: Option<Origin>,

    #[command(flatten)]
    pub portal: PortalOptions,

    /// Address for HTTP/1.1 and HTTP/2 without TLS
    #[arg(long, env = "EDGE_LISTEN", default_value = "0.0.0.0:8000")]
    pub edge_listen: SocketAddr,

    #[command(flatten)]
    pub tls: TlsOptions,

    /// Address of /metrics, /livez and /readyz; keep it private
    #[arg(long, env = "EDGE_OPS_LISTEN", default_value = "127.0.0.1:9000")]
    pub edge_ops_listen: SocketAddr,

    /// Threads that serve requests; one for each core if not set
    #[arg(long, env = "EDGE_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub edge_threads: Option<u16>,

    /// Secure attribute of the gateway's cookies; if not set, true unless the public origin is http
    #[arg(long, env = "COOKIE_SECURE", action = clap::ArgAction::Set)]
    pub cookie_secure: Option<bool>,

    /// SameSite attribute of the gateway's cookies
    #[arg(long, env = "COOKIE_SAMESITE", default_value = "lax")]
    pub cookie_samesite: SameSite,

    /// Whether a request must identify its device, by X-Device-ID or by the cookie that a browser
    /// gets when it signs in
    #[arg(long, env = "DEVICE_POLICY", default_value = "optional")]
    pub device_policy: DevicePolicy,

    /// Forward X-Access-Token to Zenzefi
    #[arg(long, env = "FORWARD_ACCESS_TOKEN", default_value_t = false, action = clap::ArgAction::Set)]
    pub forward_access_token: bool,

    /// Seconds that an assertion is valid, at least 10; 0 for none. An assertion is a signed
    /// header, X-Zenzefi-Assertion, that tells Zenzefi whose request it is
    #[arg(long, env = "ASSERTION_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub assertion_seconds: u64,

    /// Seconds between rotations of the key that signs assertions; at least ASSERTION_SECONDS
    #[arg(long, env = "ASSERTION_ROTATE_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(10..=2_592_000))]
    pub assertion_rotate_seconds: u64,

    /// Reserved paths that are forwarded to Zenzefi all the same, comma-separated, such as
    /// /health,/docs
    #[arg(long, env = "RESERVED_PREFIX_OFF", value_delimiter = ',')]
    pub reserved_prefix_off: Vec<String>,

    /// Whether Zenzefi's origins are replaced by the gateway's in response bodies; off if Zenzefi
    /// itself uses the gateway's name
    #[arg(long, env = "REWRITE", default_value = "origins")]
    pub rewrite: Rewrite,

    /// Add a script to Zenzefi's pages that shows, in the last ten minutes of a browser's token,
    /// how much time is left
    #[arg(long, env = "TIME_LEFT_NOTICE", default_value_t = false, action = clap::ArgAction::Set)]
    pub time_left_notice: bool,

    /// Seconds without a byte from Zenzefi after which a request gets 504
    #[arg(long, env = "UPSTREAM_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub upstream_timeout_seconds: u64,

    /// Seconds without contact to the change feed after which cached grants are looked up again
    #[arg(long, env = "REVOCATION_STALENESS_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub revocation_staleness_seconds: u64,

    /// Seconds that cached grants stay valid while Redis is down
    #[arg(long, env = "REDIS_OUTAGE_GRACE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub redis_outage_grace_seconds: u64,

    #[command(flatten)]
    pub limits: LimitOptions,

    /// Maximum grants in the cache
    #[arg(long, env = "GRANT_CACHE_ENTRIES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub grant_cache_entries: u32,

    /// Seconds that open requests may take to finish after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// Unix socket for zero-downtime upgrades: the new process receives the listening sockets of
    /// the running one
    #[arg(long, env = "UPGRADE_SOCKET")]
    pub upgrade_socket: Option<PathBuf>,

    /// Format of the log: text, or JSON with one object a line
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Log level, or a tracing filter such as info,edge_proxy=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = log_filter)]
    pub log_level: String,

    #[command(flatten)]
    pub tracing: TraceOptions,

    /// Development mode: PUBLIC_ORIGIN is optional (the edge then accepts any Host), and `migrate
    /// fresh` needs no confirmation
    #[arg(long, env = "DEBUG", default_value_t = false, action = clap::ArgAction::Set)]
    pub debug: bool,
}

impl Config {
    /// Checks what no single option shows; the error names the options.
    pub fn validate(&self) -> Result<(), String> {
        if self.public_origin.is_empty() && !self.debug {
            return Err("PUBLIC_ORIGIN is required (or DEBUG=true for development)".into());
        }
        for (option, seconds, sold) in [
            ("LEASE_SECONDS", self.lease_seconds, LEASE_SECONDS),
            ("TOKEN_HOUR_SECONDS", self.token_hour_seconds, TOKEN_HOUR_SECONDS),
        ] {
            if seconds != sold && !self.debug {
                return Err(format!("{option} must be {sold} unless DEBUG is set"));
            }
        }
        self.portal.validate(&self.public_origin, self.control_api_url.is_some())?;
        self.tls.validate(&self.served_origins())?;
        let unnamed = |origin: &Origin| origin.is_https() && origin.is_address();
        if self.zenzefi_url.iter().any(unnamed) && self.zenzefi_tls_verify && self.zenzefi_ca_file.is_none() {
            return Err(
                "ZENZEFI_URL: a certificate is checked against a name, and this is an address; use its name, pin its \
                        authority by ZENZEFI_CA_FILE, or set ZENZEFI_TLS_VERIFY=false"
                    .into(),
            );
        }
        if self.control_api_url.as_ref().is_some_and(unnamed) {
            return Err("CONTROL_API_URL: a certificate is checked against a name, and this is an address".into());
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err("PROXY_PROTOCOL=true requires TRUSTED_PROXIES".into());
        }
        self.limits.validate()?;
        if self.time_left_notice && self.rewrite == Rewrite::Off {
            return Err("TIME_LEFT_NOTICE needs REWRITE=origins: bodies stay as they are otherwise".into());
        }
        if (1..SHORTEST_ASSERTION_SECONDS).contains(&self.assertion_seconds) {
            return Err(format!("ASSERTION_SECONDS must be 0 or at least {SHORTEST_ASSERTION_SECONDS}"));
        }
        if self.assertion_rotate_seconds < self.assertion_seconds {
            return Err("ASSERTION_ROTATE_SECONDS must not be less than ASSERTION_SECONDS".into());
        }
        let known: BTreeSet<&str> = RESERVED.into_iter().collect();
        if let Some(unknown) = self.reserved_prefix_off.iter().find(|path| !known.contains(path.as_str())) {
            return Err(format!("RESERVED_PREFIX_OFF: {unknown:?} is not a reserved path; those are {known:?}"));
        }
        let insecure = self.cookie_secure == Some(false)
            || self.cookie_secure.is_none() && self.public_origin.iter().any(|origin| !origin.is_https());
        if self.cookie_samesite == SameSite::None && insecure {
            return Err("COOKIE_SAMESITE=none needs COOKIE_SECURE=true: browsers drop such a cookie otherwise".into());
        }
        Ok(())
    }

    /// Every origin that this edge serves, the console's too.
    pub fn served_origins(&self) -> Vec<Origin> {
        self.public_origin.iter().cloned().chain(self.portal.origin(&self.public_origin)).collect()
    }

    /// Which addresses may come.
    pub fn address_filter(&self) -> AddressFilter {
        AddressFilter { allowed: self.allowed_addresses.clone(), denied: self.denied_addresses.clone() }
    }

    /// How long the upstream may stay silent.
    pub fn upstream_timeout(&self) -> Duration {
        Duration::from_secs(self.upstream_timeout_seconds)
    }

    /// How long a device holds a token after its last request.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// How long an hour of a token lasts.
    pub fn token_hour(&self) -> Duration {
        Duration::from_secs(self.token_hour_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[&str]) -> Config {
        let given = ["edge-proxy", "serve", "--redis-url=redis://localhost:6379", "--zenzefi-url=https://zenzefi.test"];
        let cli = Cli::try_parse_from(given.iter().chain(options)).expect("what is required");
        let Command::Serve(config) = cli.command else { panic!("another command") };
        *config
    }

    #[test]
    fn leases_and_hours_are_as_sold_except_in_development() {
        let sold = config(&["--public-origin=https://gateway.test"]);
        assert_eq!(sold.validate(), Ok(()));
        assert_eq!((sold.lease(), sold.token_hour()), (Duration::from_secs(300), Duration::from_secs(3600)));
        for option in ["--lease-seconds=5", "--token-hour-seconds=5"] {
            let wrong = config(&["--public-origin=https://gateway.test", option]).validate().expect_err(option);
            let name = option.trim_start_matches('-').split('=').next().unwrap_or_default();
            assert!(wrong.starts_with(&name.replace('-', "_").to_uppercase()), "{wrong}");
            assert_eq!(config(&["--debug=true", option]).validate(), Ok(()));
        }
    }

    #[test]
    fn nobody_but_trusted_proxies_may_say_whom_a_connection_is_from() {
        let options = ["--public-origin=https://gateway.test", "--proxy-protocol=true"];
        assert!(config(&options).validate().is_err_and(|wrong| wrong.starts_with("PROXY_PROTOCOL")));
        assert_eq!(config(&[&options[..], &["--trusted-proxies=10.0.0.0/8"]].concat()).validate(), Ok(()));
    }

    #[test]
    fn assertions_are_good_for_a_while_and_no_longer_than_a_key_signs() {
        let validated = |options: &[&str]| config(&[&["--debug=true"], options].concat()).validate();
        for (options, wrong) in [
            (&["--assertion-seconds=0"][..], None),
            (&["--assertion-seconds=10", "--assertion-rotate-seconds=10"], None),
            (&["--assertion-seconds=9"], Some("ASSERTION_SECONDS")),
            (&["--assertion-seconds=60", "--assertion-rotate-seconds=59"], Some("ASSERTION_ROTATE_SECONDS")),
        ] {
            let refused = validated(options).err();
            assert_eq!(refused.as_deref().and_then(|refused| refused.split(' ').next()), wrong, "{options:?}");
        }
    }

    #[test]
    fn certificates_are_had_for_the_consoles_host_too() {
        let folder = std::env::temp_dir();
        let folder = format!("--acme-folder={}", folder.display());
        let config = config(&[
            "--public-origin=https://gateway.test",
            "--control-api-url=http://127.0.0.1:8001",
            "--console-host=console.test",
            "--acme-directory=https://authority.test/directory",
            "--edge-tls-listen=127.0.0.1:8443",
            &folder,
        ]);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.tls.acme_domains(&config.served_origins()), ["console.test", "gateway.test"]);
    }

    #[test]
    fn eviction_is_allowed_by_the_bare_flag() {
        assert!(!config(&[]).allow_eviction);
        assert!(config(&["--allow-eviction", "--debug=true"]).allow_eviction);
    }
}
