//! Everything that is not a text: numbers, amounts, moments, names of a list.

use chrono::{DateTime, SecondsFormat, Utc};
use rust_decimal::Decimal;
use serde_json::Value;
use shared::token::scope;
use uuid::Uuid;

use super::{
    fault::Fault,
    scalar::{Parameter, Scalar},
};
use crate::domain::ledger;

/// A number of hours, at least one.
#[derive(Clone, Copy)]
pub struct Hours(pub i64);

impl Scalar for Hours {
    fn read(value: Value) -> Result<Self, Fault> {
        match value.as_i64() {
            Some(hours) if hours >= 1 => Ok(Self(hours)),
            Some(_) => Err(Fault::BelowOne),
            None => Err(Fault::NotInteger),
        }
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// Which paths a token opens.
#[derive(Clone, Copy)]
pub struct Scope(pub scope::Scope);

impl Scalar for Scope {
    fn read(value: Value) -> Result<Self, Fault> {
        let scope = value.as_str().and_then(|name| name.parse().ok());
        scope.map(Self).ok_or(Fault::Scope)
    }

    fn render(&self) -> Value {
        self.0.as_str().into()
    }
}

#[derive(Clone, Copy)]
pub struct Flag(pub bool);

impl Scalar for Flag {
    fn read(value: Value) -> Result<Self, Fault> {
        value.as_bool().map(Self).ok_or(Fault::Flag)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

#[derive(Clone, Copy)]
pub struct Id(pub Uuid);

impl Scalar for Id {
    fn read(value: Value) -> Result<Self, Fault> {
        let id = value.as_str().and_then(|text| text.parse().ok());
        id.map(Self).ok_or(Fault::Id)
    }

    fn render(&self) -> Value {
        self.0.to_string().into()
    }
}

pub const OFFSET_MAX: u32 = 1_000_000_000;

/// How many items a page has at most.
#[derive(Clone, Copy)]
pub struct Limit(pub u64);

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl Limit {
    fn checked(limit: u64) -> Result<Self, Fault> {
        if (1..=100).contains(&limit) { Ok(Self(limit)) } else { Err(Fault::Limit) }
    }
}

impl Scalar for Limit {
    fn read(value: Value) -> Result<Self, Fault> {
        value.as_u64().ok_or(Fault::Limit).and_then(Self::checked)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// How many days are looked back on.
#[derive(Clone, Copy)]
pub struct Days(pub u64);

impl Default for Days {
    fn default() -> Self {
        Self(30)
    }
}

impl Days {
    fn checked(days: u64) -> Result<Self, Fault> {
        if (1..=366).contains(&days) { Ok(Self(days)) } else { Err(Fault::Days) }
    }
}

impl Scalar for Days {
    fn read(value: Value) -> Result<Self, Fault> {
        value.as_u64().ok_or(Fault::Days).and_then(Self::checked)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// How many items come before a page.
#[derive(Clone, Copy, Default)]
pub struct Offset(pub u64);

impl Offset {
    fn checked(offset: u64) -> Result<Self, Fault> {
        if offset <= u64::from(OFFSET_MAX) { Ok(Self(offset)) } else { Err(Fault::Offset) }
    }
}

impl Scalar for Offset {
    fn read(value: Value) -> Result<Self, Fault> {
        value.as_u64().ok_or(Fault::Offset).and_then(Self::checked)
    }

    fn render(&self) -> Value {
        self.0.into()
    }
}

/// Why credits moved.
#[derive(Clone, Copy)]
pub struct TransactionType(pub ledger::Kind);

impl Scalar for TransactionType {
    fn read(value: Value) -> Result<Self, Fault> {
        let kind = value.as_str().and_then(|name| ledger::Kind::ALL.into_iter().find(|kind| kind.as_str() == name));
        kind.map(Self).ok_or(Fault::TransactionType)
    }

    fn render(&self) -> Value {
        self.0.as_str().into()
    }
}

/// The largest amount that is taken.
const ZNC_MAX: u32 = 1_000_000_000;

/// An amount of ZNC: a text with two decimals in answers, a text or a number in requests, never
/// computed as a float.
#[derive(Clone, Copy)]
pub struct Znc(pub Decimal);

impl Scalar for Znc {
    fn read(value: Value) -> Result<Self, Fault> {
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return Err(Fault::NotAmount),
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let amount: Decimal = text.parse().ok().filter(|_| plain).ok_or(Fault::NegativeAmount)?;
        if amount.normalize().scale() > 2 {
            Err(Fault::TooManyDecimals)
        } else if amount > Decimal::from(ZNC_MAX) {
            Err(Fault::TooLarge)
        } else {
            Ok(Self(amount))
        }
    }

    fn render(&self) -> Value {
        znc(self.0).into()
    }
}

/// The most ZNC that are bought at once.
const TOP_UP_MAX: u32 = 1_000_000;

/// How many ZNC are bought. Only in requests.
#[derive(Clone, Copy)]
pub struct TopUp(pub Decimal);

impl Scalar for TopUp {
    fn read(value: Value) -> Result<Self, Fault> {
        match Znc::read(value)?.0 {
            amount if amount.is_zero() => Err(Fault::NotPositive),
            amount if amount > Decimal::from(TOP_UP_MAX) => Err(Fault::AboveTopUpMax),
            amount => Ok(Self(amount)),
        }
    }

    fn render(&self) -> Value {
        znc(self.0).into()
    }
}

/// An amount of ZNC that moved a balance, up or down. Only in answers.
#[derive(Clone, Copy)]
pub struct SignedZnc(pub Decimal);

impl Scalar for SignedZnc {
    fn read(_: Value) -> Result<Self, Fault> {
        Err(Fault::ReadOnly)
    }

    fn render(&self) -> Value {
        znc(self.0).into()
    }
}

/// An amount of ZNC as people read it.
pub fn znc(amount: Decimal) -> String {
    format!("{amount:.2}")
}

/// A moment, as RFC 3339 in UTC with `Z`.
#[derive(Clone, Copy)]
pub struct Timestamp(pub DateTime<Utc>);

impl Scalar for Timestamp {
    fn read(value: Value) -> Result<Self, Fault> {
        let moment = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        moment.map(|moment| Self(moment.to_utc())).ok_or(Fault::Timestamp)
    }

    fn render(&self) -> Value {
        self.0.to_rfc3339_opts(SecondsFormat::Micros, true).into()
    }
}

impl Parameter for Days {
    fn read_parameter(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| Fault::Days).and_then(Self::checked)
    }
}

impl Parameter for Flag {
    fn read_parameter(text: &str) -> Result<Self, Fault> {
        match text {
            "true" | "1" => Ok(Self(true)),
            "false" | "0" => Ok(Self(false)),
            _ => Err(Fault::Flag),
        }
    }
}

impl Parameter for Id {}

impl Parameter for Limit {
    fn read_parameter(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| Fault::Limit).and_then(Self::checked)
    }
}

impl Parameter for Offset {
    fn read_parameter(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| Fault::Offset).and_then(Self::checked)
    }
}

impl Parameter for TransactionType {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_amount_is_decimal_and_shown_with_two_decimals() {
        for (given, shown) in
            [(json!("482"), "482.00"), (json!(18.5), "18.50"), (json!("0.10"), "0.10"), (json!(0), "0.00")]
        {
            assert_eq!(Znc::read(given).map(|amount| amount.render()), Ok(json!(shown)));
        }
        for bad in [
            json!("-1"),
            json!(-1),
            json!("1.001"),
            json!("1e3"),
            json!("NaN"),
            json!(true),
            json!("1000000000.01"),
            json!(""),
        ] {
            assert!(Znc::read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_bought_is_more_than_nothing_and_no_more_than_a_million() {
        for good in [json!("0.01"), json!(1), json!("1000000"), json!("1000000.00"), json!(18.5)] {
            assert!(TopUp::read(good.clone()).is_ok(), "{good}");
        }
        for bad in [json!(0), json!("0.00"), json!("1000000.01"), json!("0.001"), json!("-1"), json!(1e7)] {
            assert!(TopUp::read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_shown_in_utc_with_z() {
        let moment = Timestamp::read(json!("2026-11-22T20:00:00+02:00")).map(|moment| moment.render());
        assert_eq!(moment, Ok(json!("2026-11-22T18:00:00.000000Z")));
    }

    #[test]
    fn a_text_is_no_number_and_no_flag() {
        for bad in [json!("24"), json!(24.0), json!(0), json!(-1), json!(null)] {
            assert!(Hours::read(bad.clone()).is_err(), "{bad}");
        }
        assert!(Flag::read(json!("true")).is_err());
        assert!(Scope::read(json!("everything")).is_err());
    }
}
