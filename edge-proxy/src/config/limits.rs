//! How much, and for how long: what bounds requests, connections and tokens.

use std::time::Duration;

use clap::Args;

/// The highest limit that is one: beyond it what a request costs could not be told in microseconds.
const MOST_PER_MINUTE: i64 = 1_000_000;

/// The options that bound.
#[derive(Args, Clone, Debug)]
pub struct LimitOptions {
    /// Maximum bytes of a request line; a longer one gets 414
    #[arg(long, env = "MAX_REQUEST_LINE_BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(256..=65_536))]
    pub max_request_line_bytes: u32,

    /// Maximum headers of a request; more get 431
    #[arg(long, env = "MAX_HEADERS", default_value_t = 100, value_parser = clap::value_parser!(u16).range(16..=250))]
    pub max_headers: u16,

    /// Maximum bytes of a request's line and headers together; more get 431
    #[arg(long, env = "MAX_HEAD_BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1_024..=524_288))]
    pub max_head_bytes: u32,

    /// Maximum bytes of a request's body; more get 413; 0 for no limit, as bodies are streamed
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = 0)]
    pub max_body_bytes: u64,

    /// Seconds within which a request's line and headers must arrive
    #[arg(long, env = "HEADER_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub header_timeout_seconds: u64,

    /// Seconds within which the next KiB of a request's body, or its end, must arrive
    #[arg(long, env = "BODY_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub body_timeout_seconds: u64,

    /// Seconds without progress after which a client that does not read its response is
    /// disconnected
    #[arg(long, env = "SEND_TIMEOUT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub send_timeout_seconds: u64,

    /// Seconds that a connection is kept open without a request
    #[arg(long, env = "IDLE_TIMEOUT_SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub idle_timeout_seconds: u64,

    /// How many unknown tokens an address may try a minute; 0 for no limit
    #[arg(long, env = "UNKNOWN_TOKENS_PER_MINUTE", default_value_t = 20)]
    pub unknown_tokens_per_minute: u32,

    /// How many requests a token may make a minute, on all edges together; 0 for no limit
    #[arg(long, env = "TOKEN_REQUESTS_PER_MINUTE", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=MOST_PER_MINUTE))]
    pub token_requests_per_minute: u32,

    /// How many requests a token may have open at once at this edge, WebSockets aside; 0 for no
    /// limit
    #[arg(long, env = "TOKEN_OPEN_REQUESTS", default_value_t = 200)]
    pub token_open_requests: u32,

    /// How many WebSockets a token may have open at once at this edge; 0 for no limit
    #[arg(long, env = "TOKEN_OPEN_WEBSOCKETS", default_value_t = 50)]
    pub token_open_websockets: u32,

    /// How many requests and WebSockets this edge serves at once in all; 0 for no limit
    #[arg(long, env = "OPEN_REQUESTS", default_value_t = 20_000)]
    pub open_requests: u32,
}

impl LimitOptions {
    /// Checks what no single option shows; the error names the options.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_request_line_bytes > self.max_head_bytes {
            return Err("MAX_REQUEST_LINE_BYTES is part of MAX_HEAD_BYTES, and cannot be more".into());
        }
        Ok(())
    }

    /// How long a client may take over the next piece of a body.
    pub fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds)
    }

    /// How long a client may take nothing of what is sent to it.
    pub fn send_timeout(&self) -> Duration {
        Duration::from_secs(self.send_timeout_seconds)
    }
}
