//! What a bundle is made of.

use rust_decimal::Decimal;
use serde_json::Value;
use shared::token::state::DURATIONS_HOURS;

use super::{fault::Fault, scalar::Scalar};

pub const TOKENS_MAX: i32 = 100;
/// How many tokens are sold at once.
#[derive(Clone, Copy)]
pub struct TokenCount(pub i32);

impl Scalar for TokenCount {
    fn read(value: Value) -> Result<Self, Fault> {
        let count = value.as_i64().and_then(|count| i32::try_from(count).ok());
        count.filter(|count| (1..=TOKENS_MAX).contains(count)).map(Self).ok_or(Fault::TokenCount)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// A number of hours that tokens are sold for.
#[derive(Clone, Copy)]
pub struct SoldHours(pub i32);

impl Scalar for SoldHours {
    fn read(value: Value) -> Result<Self, Fault> {
        let sold = value.as_i64().filter(|&hours| DURATIONS_HOURS.iter().any(|&sold| i64::from(sold) == hours));
        let hours = sold.and_then(|hours| i32::try_from(hours).ok());
        hours.map(Self).ok_or(Fault::Duration)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// A part of a price: a text with two decimals in answers, a text or a number in requests, never
/// computed as a float.
#[derive(Clone, Copy)]
pub struct Percent(pub Decimal);

impl Scalar for Percent {
    fn read(value: Value) -> Result<Self, Fault> {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return Err(Fault::Percent),
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent: Decimal = text.parse().ok().filter(|_| is_plain).ok_or(Fault::Percent)?;
        if percent.normalize().scale() > 2 {
            Err(Fault::TooManyDecimals)
        } else if percent > Decimal::ONE_HUNDRED {
            Err(Fault::Percent)
        } else {
            Ok(Self(percent))
        }
    }

    fn render(&self) -> Value {
        format!("{:.2}", self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_discount_is_between_0_and_100_with_two_decimals_at_most() {
        for (given, shown) in
            [(json!("15"), "15.00"), (json!(0), "0.00"), (json!("100.000"), "100.00"), (json!(12.25), "12.25")]
        {
            assert_eq!(Percent::read(given).map(|percent| percent.render()), Ok(json!(shown)));
        }
        for bad in [json!("100.01"), json!(-1), json!("1.001"), json!("NaN"), json!(""), json!(true), json!("1e1")] {
            assert!(Percent::read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_sold_makes_a_bundle() {
        for bad in [json!(0), json!(2), json!(24.0), json!("24"), json!(-24), json!(u64::MAX)] {
            assert!(SoldHours::read(bad.clone()).is_err(), "{bad}");
        }
        assert!(DURATIONS_HOURS.iter().all(|&sold| SoldHours::read(json!(sold)).is_ok()));
        for bad in [json!(0), json!(101), json!(1.5), json!("1"), json!(u64::MAX)] {
            assert!(TokenCount::read(bad.clone()).is_err(), "{bad}");
        }
    }
}
