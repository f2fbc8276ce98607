//! What payments for credits are taken with.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rust_decimal::Decimal;
use shared::net::address::Networks;
use url::Url;

use super::value::{ConfigError, Secret, wrong};

/// Where YooKassa says that its notices come from
/// (<https://yookassa.ru/developers/using-api/webhooks>).
const YOOKASSA_SENDERS: &str =
    "185.71.76.0/27,185.71.77.0/27,77.75.153.0/25,77.75.154.128/25,77.75.156.11,77.75.156.35,2a02:5180::/32";
const WEBHOOK_SECRET_BYTES: usize = 32;
/// How many roubles a credit may be; with the most credits that are sold at once it is an amount of
/// ten digits.
const RATE_MAX: u32 = 1_000;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProviderName {
    None,
    Mock,
    Yookassa,
}

/// What `serve` and `check-config` take about payments.
#[derive(Args, Debug)]
pub struct PaymentOptions {
    /// Who takes payments for credits: nobody, a mock-up for development (only with DEBUG), or
    /// YooKassa
    #[arg(long, env = "PAYMENT_PROVIDER", default_value = "none")]
    payment_provider: ProviderName,
    /// Signs the notices of PAYMENT_PROVIDER=mock: at least 32 bytes
    #[arg(long, env = "PAYMENT_WEBHOOK_SECRET", hide_env_values = true)]
    payment_webhook_secret: Option<Secret>,
    /// How many minutes a payment may take before it counts as expired, if the provider then says
    /// that it will not be paid
    #[arg(long, env = "PAYMENT_EXPIRE_MINUTES", default_value = "60", value_parser = clap::value_parser!(u16).range(5..=1380))]
    payment_expire_minutes: u16,
    /// How many roubles a ZNC costs
    #[arg(long, env = "ZNC_TO_RUB_RATE", default_value = "10.00")]
    znc_to_rub_rate: Decimal,
    /// The shop's id at YooKassa
    #[arg(long, env = "YOOKASSA_SHOP_ID")]
    yookassa_shop_id: Option<String>,
    /// The shop's secret key at YooKassa
    #[arg(long, env = "YOOKASSA_SECRET_KEY", hide_env_values = true)]
    yookassa_secret_key: Option<Secret>,
    /// The API of YooKassa; http only with DEBUG
    #[arg(long, env = "YOOKASSA_API_URL", default_value = "https://api.yookassa.ru/v3")]
    yookassa_api_url: String,
    /// Addresses that may send YooKassa webhooks, comma-separated. Empty: any
    #[arg(long, env = "YOOKASSA_SENDERS", value_delimiter = ',', default_value = YOOKASSA_SENDERS)]
    yookassa_senders: Vec<String>,
}

/// How payments are taken.
#[derive(Clone, Debug)]
pub struct Payments {
    pub provider: PaymentProvider,
    pub rub_per_znc: Decimal,
    /// How long a payment may take before it counts as expired.
    pub lifetime: Duration,
}

/// Who takes them.
#[derive(Clone, Debug)]
pub enum PaymentProvider {
    None,
    Mock { webhook_secret: Secret },
    Yookassa(Shop),
}

/// A shop at YooKassa.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Without a trailing slash.
    pub api_url: String,
    pub id: String,
    pub secret_key: Secret,
    /// Whose notices count; everybody's if there are none.
    pub senders: Networks,
}

impl PaymentOptions {
    pub fn check(&self, debug: bool) -> Result<Payments, ConfigError> {
        let rate = self.znc_to_rub_rate;
        if rate <= Decimal::ZERO || rate > Decimal::from(RATE_MAX) {
            return Err(wrong("ZNC_TO_RUB_RATE", format!("must be more than 0 and at most {RATE_MAX}")));
        }
        let provider = match self.payment_provider {
            ProviderName::None => PaymentProvider::None,
            ProviderName::Mock if !debug => {
                return Err(wrong("PAYMENT_PROVIDER", "may be mock only with DEBUG=true: it takes no money"));
            }
            ProviderName::Mock => PaymentProvider::Mock { webhook_secret: self.webhook_secret()? },
            ProviderName::Yookassa => PaymentProvider::Yookassa(self.shop(debug)?),
        };
        let lifetime = Duration::from_secs(60 * u64::from(self.payment_expire_minutes));
        Ok(Payments { provider, rub_per_znc: rate, lifetime })
    }

    fn webhook_secret(&self) -> Result<Secret, ConfigError> {
        const OPTION: &str = "PAYMENT_WEBHOOK_SECRET";
        let secret = self.payment_webhook_secret.as_ref();
        let secret = secret.ok_or_else(|| wrong(OPTION, "is required with PAYMENT_PROVIDER=mock"))?;
        if secret.expose().len() < WEBHOOK_SECRET_BYTES {
            return Err(wrong(OPTION, format!("must have at least {WEBHOOK_SECRET_BYTES} bytes")));
        }
        Ok(secret.clone())
    }

    fn shop(&self, debug: bool) -> Result<Shop, ConfigError> {
        let required = |option| move || wrong(option, "is required with PAYMENT_PROVIDER=yookassa");
        let id = self.yookassa_shop_id.clone().filter(|id| !id.is_empty());
        let secret_key = self.yookassa_secret_key.clone().filter(|key| !key.expose().is_empty());
        Ok(Shop {
            api_url: self.api_url(debug)?,
            id: id.ok_or_else(required("YOOKASSA_SHOP_ID"))?,
            secret_key: secret_key.ok_or_else(required("YOOKASSA_SECRET_KEY"))?,
            senders: Networks::parse(self.yookassa_senders.iter().map(String::as_str))
                .map_err(|error| wrong("YOOKASSA_SENDERS", error.to_string()))?,
        })
    }

    fn api_url(&self, debug: bool) -> Result<String, ConfigError> {
        let url = Url::parse(&self.yookassa_api_url).ok();
        let is_bare = |url: &Url| {
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none()
        };
        let is_safe = |url: &Url| url.scheme() == "https" || url.scheme() == "http" && debug;
        let url = url.filter(|url| is_bare(url) && is_safe(url));
        let url =
            url.ok_or_else(|| wrong("YOOKASSA_API_URL", "must be an https:// URL (http:// only with DEBUG=true)"))?;
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        payments: PaymentOptions,
    }

    fn check(options: &[&str], debug: bool) -> Result<Payments, String> {
        let cli = Cli::parse_from(["test"].iter().chain(options));
        cli.payments.check(debug).map_err(|error| error.to_string())
    }

    const MOCK: [&str; 4] =
        ["--payment-provider", "mock", "--payment-webhook-secret", "0123456789abcdef0123456789abcdef"];
    const SHOP: [&str; 6] =
        ["--payment-provider", "yookassa", "--yookassa-shop-id", "54401", "--yookassa-secret-key", "test_key"];

    #[test]
    fn the_mock_needs_debug_and_a_secret_of_32_bytes() {
        assert!(check(&MOCK, true).is_ok());
        assert!(check(&MOCK, false).expect_err("no DEBUG").starts_with("PAYMENT_PROVIDER"));
        let short = ["--payment-provider", "mock", "--payment-webhook-secret", "0123456789abcdef0123456789abcde"];
        for bad in [&MOCK[..2], &short] {
            assert!(check(bad, true).expect_err("no secret").starts_with("PAYMENT_WEBHOOK_SECRET"));
        }
    }

    #[test]
    fn a_shop_needs_an_id_and_a_key_and_is_spoken_to_by_https() {
        let payments = check(&SHOP, false).expect("a shop");
        let PaymentProvider::Yookassa(shop) = payments.provider else { panic!("another provider") };
        assert_eq!(shop.api_url, "https://api.yookassa.ru/v3");
        assert!(shop.senders.contains("77.75.156.35".parse().expect("an address")));
        assert!(check(&SHOP[..4], false).expect_err("no key").starts_with("YOOKASSA_SECRET_KEY"));
        assert!(check(&SHOP[..2], false).expect_err("no id").starts_with("YOOKASSA_SHOP_ID"));
        for (url, debug, is_good) in [
            ("http://localhost:1/v3/", false, false),
            ("http://localhost:1/v3/", true, true),
            ("https://user@api.yookassa.ru/v3", false, false),
            ("ftp://api.yookassa.ru", true, false),
        ] {
            let options = [&SHOP[..], &["--yookassa-api-url", url]].concat();
            assert_eq!(check(&options, debug).is_ok(), is_good, "{url}");
        }
        let options = [&SHOP[..], &["--yookassa-senders", "localhost"]].concat();
        assert!(check(&options, false).expect_err("no network").starts_with("YOOKASSA_SENDERS"));
    }
}
