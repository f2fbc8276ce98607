//! What the program is told from outside: options and environment in, one checked [`Config`] out.
//!
//! Options hold text as it was given and [`ServeOptions::check`] reads it, so that a wrong value is
//! named by its option and never repeated: it may be a secret. Nothing else reads the environment.

mod hour;
mod payments;
pub mod prices;
mod value;

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use rust_decimal::Decimal;
use shared::{
    net::address::{AddressFilter, Networks, TrustedProxies},
    process::trace::TraceOptions,
    redis::{ACTIVATIONS_RETOLD_WITHIN_MS, LEASE_MS},
};
use url::Url;

pub use hour::TokenHour;
pub use payments::{PaymentProvider, Payments, Shop};
pub use value::{ConfigError, Secret};

use prices::Prices;
use value::wrong;

/// The password for `user create` and `user set-password`, where the environment has one. It is no
/// option, for the arguments of a process can be seen by others on the machine.
pub fn user_password() -> Option<Secret> {
    std::env::var("USER_PASSWORD").ok().map(Secret::new)
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// What every subcommand takes.
#[derive(Args, Debug)]
pub struct CommonOptions {
    /// Format of the log: text, or JSON with one object a line
    #[arg(long, env = "LOG_FORMAT", global = true, default_value = "text")]
    pub log_format: LogFormat,
    /// Log level, or a tracing filter such as info,edge_proxy=debug
    #[arg(long, env = "LOG_LEVEL", global = true, default_value = "info")]
    pub log_level: String,
    /// Development mode: PUBLIC_ORIGIN is optional (the edge then accepts any Host), and `migrate
    /// fresh` needs no confirmation
    #[arg(long, env = "DEBUG", global = true, default_value = "false", num_args = 0..=1, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    pub debug: bool,
}

/// Where the truth is kept.
#[derive(Args, Debug)]
pub struct DatabaseOptions {
    /// Postgres, as postgres://user:password@host:port/database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// Maximum connections of the pool; the outbox relay uses one more
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value = "20")]
    pub database_max_connections: u32,
}

impl DatabaseOptions {
    /// The URL of Postgres.
    pub fn url(&self) -> Result<&Secret, ConfigError> {
        let url = self.database_url.as_ref().ok_or_else(|| wrong("DATABASE_URL", "is required"))?;
        match Url::parse(url.expose()) {
            Ok(parsed) if matches!(parsed.scheme(), "postgres" | "postgresql") => Ok(url),
            _ => Err(wrong("DATABASE_URL", "must be a postgres:// URL")),
        }
    }
}

/// What the state of a token depends on.
#[derive(Args, Debug)]
pub struct TokenOptions {
    /// Seconds in an hour of a token; the same for both programs, and changed only with DEBUG
    #[arg(long, env = "TOKEN_HOUR_SECONDS", default_value_t = TOKEN_HOUR_SECONDS)]
    token_hour_seconds: u64,
}

impl TokenOptions {
    /// How long an hour of a token lasts.
    pub fn hour(&self, debug: bool) -> Result<TokenHour, ConfigError> {
        seconds("TOKEN_HOUR_SECONDS", self.token_hour_seconds, TOKEN_HOUR_SECONDS, debug).map(TokenHour)
    }
}

/// Seconds that are what they are but for who tries things out, and at least one.
fn seconds(option: &'static str, given: u64, sold: u64, debug: bool) -> Result<Duration, ConfigError> {
    if !(1..=MOST_SECONDS).contains(&given) {
        return Err(wrong(option, format!("must be from 1 to {MOST_SECONDS}")));
    }
    if given != sold && !debug {
        return Err(wrong(option, format!("must be {sold} (another number only with DEBUG=true)")));
    }
    Ok(Duration::from_secs(given))
}

/// What `serve` and `check-config` take.
#[derive(Args, Debug)]
pub struct ServeOptions {
    #[command(flatten)]
    pub database: DatabaseOptions,
    /// URL of the Redis that both programs share: redis://[user:password@]host:port[/database], or
    /// redis-sentinel://host:port?sentinelServiceName=name
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: Option<Secret>,
    #[command(flatten)]
    pub tracing: TraceOptions,
    /// Start even if Redis may evict keys, which can lose tokens that were paid for
    #[arg(long, env = "ALLOW_EVICTION", default_value = "false", num_args = 0..=1, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    allow_eviction: bool,
    /// Seconds that a device holds a token after its last request; the same for both programs, and
    /// changed only with DEBUG
    #[arg(long, env = "LEASE_SECONDS", default_value_t = LEASE_SECONDS)]
    lease_seconds: u64,
    #[command(flatten)]
    token: TokenOptions,
    /// Seconds without refunds after Redis was rebuilt, in which edges report what it lost; changed
    /// only with DEBUG
    #[arg(long, env = "REFUND_HOLD_SECONDS", default_value_t = REFUND_HOLD_SECONDS)]
    refund_hold_seconds: u64,
    /// Signs logins: at least 32 random bytes, the same for every replica
    #[arg(long, env = "SECRET_KEY", hide_env_values = true)]
    secret_key: Option<Secret>,
    /// Address of the API
    #[arg(long, env = "CONTROL_LISTEN", default_value = "127.0.0.1:8001")]
    control_listen: SocketAddr,
    /// Address of /metrics, /livez and /readyz; keep it private
    #[arg(long, env = "CONTROL_OPS_LISTEN", default_value = "127.0.0.1:9001")]
    control_ops_listen: SocketAddr,
    /// Origin under which users reach CONTROL_LISTEN, for links [default: http:// and
    /// CONTROL_LISTEN]
    #[arg(long, env = "CONTROL_ORIGIN")]
    control_origin: Option<String>,
    /// Origins of the edge as users see them, comma-separated; links use the first, and a request
    /// for another Host gets 421. Required unless DEBUG
    #[arg(long, env = "PUBLIC_ORIGIN", value_delimiter = ',')]
    public_origin: Vec<String>,
    /// How many minutes a login lasts
    #[arg(long, env = "ACCESS_TOKEN_EXPIRE_MINUTES", default_value = "60")]
    access_token_expire_minutes: u32,
    /// Origins whose pages may call the API with credentials, comma-separated
    #[arg(
        long,
        env = "CORS_ORIGINS",
        value_delimiter = ',',
        default_value = "http://localhost:61000,https://localhost:61000,http://127.0.0.1:61000,https://127.0.0.1:61000"
    )]
    cors_origins: Vec<String>,
    /// Proxies whose X-Forwarded-For is trusted: addresses or networks, comma-separated; for
    /// control-api the edges are proxies too
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Allowed client addresses or networks (CIDR), comma-separated. Empty: allow all
    #[arg(long, env = "ALLOWED_ADDRESSES", value_delimiter = ',')]
    allowed_addresses: Vec<String>,
    /// Blocked client addresses or networks; takes precedence over ALLOWED_ADDRESSES,
    /// comma-separated
    #[arg(long, env = "DENIED_ADDRESSES", value_delimiter = ',')]
    denied_addresses: Vec<String>,
    /// How many logins may fail from one address in an hour; 0 for no limit
    #[arg(long, env = "LOGIN_FAILURES_PER_HOUR", default_value = "30")]
    login_failures_per_hour: u32,
    /// How many accounts may be opened from one address in an hour, after 10 at once; 0 for no
    /// limit
    #[arg(long, env = "REGISTRATIONS_PER_HOUR", default_value = "5", value_parser = clap::value_parser!(u32).range(..=MOST_TIMES))]
    registrations_per_hour: u32,
    /// How many calls a user may make a minute; 0 for no limit
    #[arg(long, env = "USER_REQUESTS_PER_MINUTE", default_value = "100", value_parser = clap::value_parser!(u32).range(..=MOST_TIMES))]
    user_requests_per_minute: u32,
    /// How many days the audit log is kept
    #[arg(long, env = "AUDIT_RETENTION_DAYS", default_value = "30", value_parser = clap::value_parser!(u16).range(1..=3650))]
    audit_retention_days: u16,
    /// What a token for 1 hour costs, in ZNC; all prices 0 make tokens free
    #[arg(long, env = "TOKEN_PRICE_1H", default_value = "1.00")]
    token_price_1h: Decimal,
    /// What a token for 12 hours costs, in ZNC
    #[arg(long, env = "TOKEN_PRICE_12H", default_value = "10.00")]
    token_price_12h: Decimal,
    /// What a token for 24 hours costs, in ZNC
    #[arg(long, env = "TOKEN_PRICE_24H", default_value = "18.00")]
    token_price_24h: Decimal,
    /// What a token for 7 days costs, in ZNC
    #[arg(long, env = "TOKEN_PRICE_7D", default_value = "100.00")]
    token_price_7d: Decimal,
    /// What a token for 30 days costs, in ZNC
    #[arg(long, env = "TOKEN_PRICE_30D", default_value = "300.00")]
    token_price_30d: Decimal,
    #[command(flatten)]
    payments: payments::PaymentOptions,
}

/// What `serve` runs on: every value checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: Secret,
    pub database_max_connections: u32,
    pub redis_url: Secret,
    /// Whether to serve though Redis may evict keys.
    pub allow_eviction: bool,
    /// How long a device holds a token after its last request.
    pub lease: Duration,
    pub hour: TokenHour,
    /// How long after Redis was filled an activation that it lost may still be on its way.
    pub refund_hold: Duration,
    pub secret_key: Secret,
    pub listen: SocketAddr,
    pub ops_listen: SocketAddr,
    /// Without a trailing slash, as are all origins here.
    pub control_origin: String,
    pub public_origin: String,
    pub cors_origins: Vec<String>,
    pub trusted_proxies: TrustedProxies,
    /// Which addresses may come.
    pub address_filter: AddressFilter,
    /// From one address; 0 for any number.
    pub login_failures_per_hour: u32,
    /// From one address; 0 for any number.
    pub registrations_per_hour: u32,
    /// 0 for any number.
    pub user_requests_per_minute: u32,
    pub audit_retention_days: u16,
    pub jwt_lifetime: Duration,
    pub prices: Prices,
    pub payments: Payments,
    /// Where who has paid may be sent: every origin of ours, and those whose pages may call the
    /// API.
    pub return_origins: Vec<String>,
}

impl Config {
    /// Whether people reach the console and Zenzefi by one host name, other than on the machine
    /// itself.
    pub fn shares_host(&self) -> bool {
        let host = |origin: &str| Url::parse(origin).ok()?.host_str().map(str::to_owned);
        let (control, public) = (host(&self.control_origin), host(&self.public_origin));
        control == public && !matches!(control.as_deref(), Some("localhost" | "127.0.0.1" | "[::1]"))
    }
}

const SECRET_KEY_BYTES: usize = 32;
const TOKEN_HOUR_SECONDS: u64 = 3_600;
const LEASE_SECONDS: u64 = LEASE_MS / 1_000;
const REFUND_HOLD_SECONDS: u64 = ACTIVATIONS_RETOLD_WITHIN_MS.unsigned_abs() / 1_000;
const MOST_SECONDS: u64 = 86_400;
/// The highest limit that is one: beyond it what one time costs could not be told in microseconds.
const MOST_TIMES: i64 = 1_000_000;

/// Parts of sample keys that were published, with this product or the one before it.
const SAMPLE_KEY_PARTS: [&str; 6] = ["change-me", "changeme", "change_me", "change-this", "your-secret-key", "example"];

/// A key of fewer different bytes than this was typed, not drawn.
const SECRET_KEY_DISTINCT_BYTES: usize = 8;

impl ServeOptions {
    /// Checks every option.
    pub fn check(&self, debug: bool) -> Result<Config, ConfigError> {
        let redis_url = self.redis_url.clone().ok_or_else(|| wrong("REDIS_URL", "is required"))?;
        fred::types::config::Config::from_url(redis_url.expose())
            .map_err(|_| wrong("REDIS_URL", "must be a redis:// or redis-sentinel:// URL"))?;
        if self.access_token_expire_minutes == 0 {
            return Err(wrong("ACCESS_TOKEN_EXPIRE_MINUTES", "must be at least 1"));
        }
        if self.database.database_max_connections < 2 {
            return Err(wrong("DATABASE_MAX_CONNECTIONS", "must be at least 2"));
        }
        let control_origin = match &self.control_origin {
            Some(given) => origin("CONTROL_ORIGIN", given)?,
            None => format!("http://{}", self.control_listen),
        };
        let public_origins = self.public_origins(debug)?;
        let cors_origins = origins("CORS_ORIGINS", &self.cors_origins)?;
        let return_origins = [&public_origins[..], &cors_origins, std::slice::from_ref(&control_origin)].concat();
        Ok(Config {
            database_url: self.database.url()?.clone(),
            database_max_connections: self.database.database_max_connections,
            redis_url,
            allow_eviction: self.allow_eviction,
            lease: seconds("LEASE_SECONDS", self.lease_seconds, LEASE_SECONDS, debug)?,
            hour: self.token.hour(debug)?,
            refund_hold: seconds("REFUND_HOLD_SECONDS", self.refund_hold_seconds, REFUND_HOLD_SECONDS, debug)?,
            secret_key: self.secret_key()?,
            listen: self.control_listen,
            ops_listen: self.control_ops_listen,
            control_origin,
            public_origin: public_origins[0].clone(),
            cors_origins,
            trusted_proxies: TrustedProxies::parse(self.trusted_proxies.iter().map(String::as_str))
                .map_err(|error| wrong("TRUSTED_PROXIES", error.to_string()))?,
            address_filter: AddressFilter {
                allowed: networks("ALLOWED_ADDRESSES", &self.allowed_addresses)?,
                denied: networks("DENIED_ADDRESSES", &self.denied_addresses)?,
            },
            login_failures_per_hour: self.login_failures_per_hour,
            registrations_per_hour: self.registrations_per_hour,
            user_requests_per_minute: self.user_requests_per_minute,
            audit_retention_days: self.audit_retention_days,
            jwt_lifetime: Duration::from_secs(60 * u64::from(self.access_token_expire_minutes)),
            prices: self.prices()?,
            payments: self.payments.check(debug)?,
            return_origins,
        })
    }

    fn secret_key(&self) -> Result<Secret, ConfigError> {
        let key = self.secret_key.as_ref().ok_or_else(|| wrong("SECRET_KEY", "is required"))?;
        let bytes = key.expose().as_bytes();
        if bytes.len() < SECRET_KEY_BYTES {
            return Err(wrong("SECRET_KEY", format!("must have at least {SECRET_KEY_BYTES} bytes")));
        }
        let lower = key.expose().to_ascii_lowercase();
        let distinct: std::collections::BTreeSet<u8> = bytes.iter().copied().collect();
        if SAMPLE_KEY_PARTS.iter().any(|part| lower.contains(part)) || distinct.len() < SECRET_KEY_DISTINCT_BYTES {
            return Err(wrong("SECRET_KEY", "is a sample; draw your own, for example by: openssl rand -base64 48"));
        }
        Ok(key.clone())
    }

    /// At least one.
    fn public_origins(&self, debug: bool) -> Result<Vec<String>, ConfigError> {
        let given = origins("PUBLIC_ORIGIN", &self.public_origin)?;
        match given.is_empty() {
            false => Ok(given),
            true if debug => Ok(vec!["http://127.0.0.1:8000".to_owned()]),
            true => Err(wrong("PUBLIC_ORIGIN", "is required unless DEBUG is set")),
        }
    }

    fn prices(&self) -> Result<Prices, ConfigError> {
        let given = [
            ("TOKEN_PRICE_1H", self.token_price_1h),
            ("TOKEN_PRICE_12H", self.token_price_12h),
            ("TOKEN_PRICE_24H", self.token_price_24h),
            ("TOKEN_PRICE_7D", self.token_price_7d),
            ("TOKEN_PRICE_30D", self.token_price_30d),
        ];
        for (option, price) in given {
            if price.is_sign_negative() || price.normalize().scale() > 2 || price > Decimal::from(1_000_000) {
                return Err(wrong(option, "must be from 0 to 1000000 with at most two decimals"));
            }
        }
        Ok(Prices::new(given.map(|(_, price)| price)))
    }
}

fn networks(option: &'static str, given: &[String]) -> Result<Networks, ConfigError> {
    Networks::parse(given.iter().map(String::as_str)).map_err(|error| wrong(option, error.to_string()))
}

fn origins(option: &'static str, given: &[String]) -> Result<Vec<String>, ConfigError> {
    given.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(|text| origin(option, text)).collect()
}

/// Reads an origin: scheme, host and port, nothing else.
fn origin(option: &'static str, text: &str) -> Result<String, ConfigError> {
    let refuse = || wrong(option, "must be an origin such as https://gateway.example:8443");
    let url = Url::parse(text).map_err(|_| refuse())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || !bare || url.password().is_some() {
        return Err(refuse());
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeOptions,
    }

    const KEY: &str = "kJ8s0dLm2QpXv7RtYw4ZbN6cHf1Ga9Ue";

    fn check(changes: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut options = vec![
            ("--database-url", "postgres://u@localhost/d"),
            ("--redis-url", "redis://localhost:6379"),
            ("--secret-key", KEY),
            ("--public-origin", "https://gateway.example"),
        ];
        for &(name, value) in changes {
            options.retain(|(given, _)| *given != name);
            options.push((name, value));
        }
        let line = options.into_iter().flat_map(|(name, value)| [name, value]);
        Cli::parse_from(["test"].into_iter().chain(line)).serve.check(false)
    }

    #[test]
    fn a_whole_configuration_is_taken() {
        let config = check(&[("--public-origin", "https://a.example:8443/, http://b.example")]).expect("a good one");
        assert_eq!(config.public_origin, "https://a.example:8443");
        assert_eq!(config.cors_origins.len(), 4);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_option_and_not_repeated() {
        for (option, value, named) in [
            ("--secret-key", "short", "SECRET_KEY"),
            ("--secret-key", "your-secret-key-here-min-32-characters-long", "SECRET_KEY"),
            ("--secret-key", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "SECRET_KEY"),
            ("--database-url", "mysql://secret", "DATABASE_URL"),
            ("--redis-url", "http//secret", "REDIS_URL"),
            ("--public-origin", "without.scheme", "PUBLIC_ORIGIN"),
            ("--public-origin", "https://other.example/path", "PUBLIC_ORIGIN"),
            ("--token-price-24h", "0.001", "TOKEN_PRICE_24H"),
            ("--cors-origins", "*", "CORS_ORIGINS"),
            ("--lease-seconds", "17", "LEASE_SECONDS"),
            ("--token-hour-seconds", "17", "TOKEN_HOUR_SECONDS"),
            ("--refund-hold-seconds", "17", "REFUND_HOLD_SECONDS"),
            ("--znc-to-rub-rate", "1001", "ZNC_TO_RUB_RATE"),
        ] {
            let error = check(&[(option, value)]).expect_err(option).to_string();
            assert!(error.starts_with(named), "{error}");
            assert!(!error.contains(value), "{error}");
        }
    }
}
