//! What tokens cost.

use rust_decimal::Decimal;
use shared::grant::DURATIONS_HOURS;

/// The price of each duration that is sold, in ZNC. All zero makes tokens free.
#[derive(Clone, Debug)]
pub struct Prices([Decimal; DURATIONS_HOURS.len()]);

impl Prices {
    /// Prices in the order of [`DURATIONS_HOURS`], none negative, with at most two decimals.
    pub fn new(prices: [Decimal; DURATIONS_HOURS.len()]) -> Self {
        Self(prices)
    }

    /// What so many hours cost; `None` if they are not sold.
    pub fn of(&self, duration_hours: i64) -> Option<Decimal> {
        let position = DURATIONS_HOURS.iter().position(|&sold| i64::from(sold) == duration_hours)?;
        Some(self.0[position])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sold_has_a_price() {
        let prices = Prices::new([1, 2, 3, 4, 5].map(Decimal::from));
        assert_eq!(prices.of(24), Some(Decimal::from(3)));
        assert_eq!(prices.of(720), Some(Decimal::from(5)));
        for not_sold in [0, 2, 23, -1, i64::MAX] {
            assert_eq!(prices.of(not_sold), None);
        }
    }
}
