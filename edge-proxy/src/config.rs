//! Everything that an operator can set, one struct. Read once at start, from the environment and `.env`; what is wrong or
//! missing is named and ends the program with exit status 2.

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::origin::Origin;

/// How long a device holds a token after its last request.
const LEASE_SECONDS: u64 = shared::redis::LEASE_MS / 1_000;
/// How long an hour of a token lasts.
const TOKEN_HOUR_SECONDS: u64 = 3_600;

/// The data plane: lets holders of access tokens through to Zenzefi, as long as their time lasts.
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
    /// Read the configuration, say what is wrong with it, and do nothing else.
    CheckConfig(Box<Config>),
}

/// When a request must say which device it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DevicePolicy {
    Optional,
    Required,
    Off,
}

/// The `SameSite` attribute of the gateway's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// What becomes of text in the bodies of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rewrite {
    /// Names of Zenzefi's origins become the origin under which its pages are shown.
    Origins,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The options of `edge-proxy serve`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Redis, which both programs share: redis://[user:password@]host:port[/database], or redis-sentinel://host:port?sentinelServiceName=name
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    pub redis_url: SecretUrl,

    /// Start although Redis may evict keys, and with them tokens that were paid for
    #[arg(long, env = "ALLOW_EVICTION", default_value = "false", num_args = 0..=1, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    pub allow_eviction: bool,

    /// Seconds that a device holds a token after its last request, for both programs; other values only with DEBUG
    #[arg(long, env = "LEASE_SECONDS", default_value_t = LEASE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub lease_seconds: u64,

    /// Seconds that an hour of a token lasts, for both programs; other values only with DEBUG
    #[arg(long, env = "TOKEN_HOUR_SECONDS", default_value_t = TOKEN_HOUR_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub token_hour_seconds: u64,

    /// The Zenzefi server: https://host[:port] or http://host[:port]
    #[arg(long, env = "ZENZEFI_URL")]
    pub zenzefi_url: Origin,

    /// Other origins by which Zenzefi calls itself, comma-separated
    #[arg(long, env = "ZENZEFI_ALIASES", value_delimiter = ',')]
    pub zenzefi_aliases: Vec<Origin>,

    /// PEM file of the authority that signed Zenzefi's certificate; the system's roots otherwise
    #[arg(long, env = "ZENZEFI_CA_FILE")]
    pub zenzefi_ca_file: Option<PathBuf>,

    /// Whether Zenzefi's certificate is verified; false only for a self-signed server on a private network
    #[arg(long, env = "ZENZEFI_TLS_VERIFY", default_value_t = true, action = clap::ArgAction::Set)]
    pub zenzefi_tls_verify: bool,

    /// HTTP Basic credentials that are added towards Zenzefi: user:password
    #[arg(long, env = "ZENZEFI_BASIC_AUTH", hide_env_values = true, value_parser = basic_auth)]
    pub zenzefi_basic_auth: Option<Secret>,

    /// The edge's origins as people see them, comma-separated: links name the first, another Host is 421. Required unless DEBUG
    #[arg(long, env = "PUBLIC_ORIGIN", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,

    /// The control API that this edge is also the front door of; off if not set
    #[arg(long, env = "CONTROL_API_URL")]
    pub control_api_url: Option<Origin>,

    /// Where the edge listens for HTTP/1.1 and HTTP/2 without TLS
    #[arg(long, env = "EDGE_LISTEN", default_value = "0.0.0.0:8000")]
    pub edge_listen: SocketAddr,

    /// Where the edge listens for TLS; needs the certificate and the key
    #[arg(long, env = "EDGE_TLS_LISTEN", requires_all = ["edge_tls_cert_file", "edge_tls_key_file"])]
    pub edge_tls_listen: Option<SocketAddr>,

    /// PEM file of the certificate chain for EDGE_TLS_LISTEN
    #[arg(long, env = "EDGE_TLS_CERT_FILE")]
    pub edge_tls_cert_file: Option<PathBuf>,

    /// PEM file of the private key for EDGE_TLS_LISTEN
    #[arg(long, env = "EDGE_TLS_KEY_FILE")]
    pub edge_tls_key_file: Option<PathBuf>,

    /// Where /metrics, /livez and /readyz are served; keep it private
    #[arg(long, env = "EDGE_OPS_LISTEN", default_value = "127.0.0.1:9000")]
    pub edge_ops_listen: SocketAddr,

    /// Threads that serve requests; as many as there are cores if not set
    #[arg(long, env = "EDGE_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub edge_threads: Option<u16>,

    /// Whether the gateway's cookies are Secure; true unless the public origin is http, if not set
    #[arg(long, env = "COOKIE_SECURE", action = clap::ArgAction::Set)]
    pub cookie_secure: Option<bool>,

    /// SameSite of the gateway's cookies
    #[arg(long, env = "COOKIE_SAMESITE", default_value = "lax")]
    pub cookie_samesite: SameSite,

    /// Whether a request must name its device: by X-Device-ID, or by the cookie that a browser gets when it signs in
    #[arg(long, env = "DEVICE_POLICY", default_value = "optional")]
    pub device_policy: DevicePolicy,

    /// Whether X-Access-Token is forwarded to Zenzefi
    #[arg(long, env = "FORWARD_ACCESS_TOKEN", default_value_t = false, action = clap::ArgAction::Set)]
    pub forward_access_token: bool,

    /// Reserved paths that are given back to Zenzefi, comma-separated, such as /health,/docs
    #[arg(long, env = "RESERVED_PREFIX_OFF", value_delimiter = ',')]
    pub reserved_prefix_off: Vec<String>,

    /// Whether Zenzefi's origins become the gateway's in the bodies of answers; off if Zenzefi knows the gateway's name itself
    #[arg(long, env = "REWRITE", default_value = "origins")]
    pub rewrite: Rewrite,

    /// Seconds that Zenzefi may stay silent before a request ends with 504
    #[arg(long, env = "UPSTREAM_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub upstream_timeout_seconds: u64,

    /// Seconds without a word from the change feed after which cached grants are asked for again
    #[arg(long, env = "REVOCATION_STALENESS_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub revocation_staleness_seconds: u64,

    /// Seconds that grants held by this edge go on while Redis is down
    #[arg(long, env = "REDIS_OUTAGE_GRACE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub redis_outage_grace_seconds: u64,

    /// How many unknown tokens an address may try a minute; 0 for no limit
    #[arg(long, env = "UNKNOWN_TOKENS_PER_MINUTE", default_value_t = 20)]
    pub unknown_tokens_per_minute: u32,

    /// How many grants are kept in memory
    #[arg(long, env = "GRANT_CACHE_ENTRIES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub grant_cache_entries: u32,

    /// Seconds that open requests may take to finish after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,

    /// Unix socket at which a new edge takes over the listening sockets of the one that serves, so that an upgrade refuses nobody
    #[arg(long, env = "UPGRADE_SOCKET")]
    pub upgrade_socket: Option<PathBuf>,

    /// How log lines look
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Which log lines are written: a level, or a tracing filter such as info,edge_proxy=debug
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = crate::telemetry::parse_filter)]
    pub log_level: String,

    /// Development: PUBLIC_ORIGIN may be missing, the edge then serves any Host, and `migrate fresh` asks nothing
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
        for path in [&self.zenzefi_ca_file, &self.edge_tls_cert_file, &self.edge_tls_key_file].into_iter().flatten() {
            std::fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        }
        let unnamed = |origin: &Origin| origin.is_https() && origin.is_address();
        if unnamed(&self.zenzefi_url) && self.zenzefi_tls_verify && self.zenzefi_ca_file.is_none() {
            return Err(
                "ZENZEFI_URL: a certificate is checked against a name, and this is an address; use its name, pin its \
                        authority by ZENZEFI_CA_FILE, or set ZENZEFI_TLS_VERIFY=false"
                    .into(),
            );
        }
        if self.control_api_url.as_ref().is_some_and(unnamed) {
            return Err("CONTROL_API_URL: a certificate is checked against a name, and this is an address".into());
        }
        let known: BTreeSet<&str> = crate::route::RESERVED.into_iter().collect();
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

/// A text that must not be seen in a log.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A URL that may hold a password; shown without it.
#[derive(Clone)]
pub struct SecretUrl(url::Url);

impl SecretUrl {
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }
}

fn redis_url(text: &str) -> Result<SecretUrl, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    match (url.scheme(), url.host_str(), fred::types::config::Config::from_url(text)) {
        ("redis" | "redis-sentinel", Some(_), Ok(_)) => Ok(SecretUrl(url)),
        _ => Err("must be redis://[user:password@]host:port[/database], or \
                  redis-sentinel://host:port?sentinelServiceName=name"
            .into()),
    }
}

fn basic_auth(text: &str) -> Result<Secret, String> {
    let (user, _) = text.split_once(':').ok_or("must be user:password")?;
    if user.is_empty() { Err("the user is empty".into()) } else { Ok(Secret(text.to_owned())) }
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
    fn eviction_is_allowed_by_the_bare_flag() {
        assert!(!config(&[]).allow_eviction);
        assert!(config(&["--allow-eviction", "--debug=true"]).allow_eviction);
    }

    #[test]
    fn redis_is_named_by_its_address_or_by_its_sentinels_and_never_shown_with_its_password() {
        for url in ["redis://localhost:6379/1", "redis-sentinel://u:secret@one:26379?sentinelServiceName=gateway"] {
            let url = redis_url(url).expect(url);
            assert!(!format!("{url:?}").contains("secret"));
        }
        for url in ["redis-sentinel://one:26379", "redis-cluster://one:6379", "http://one", "redis://", "one:6379"] {
            let refusal = redis_url(url).expect_err(url);
            assert!(!refusal.contains("one:"), "{refusal}");
        }
    }
}
