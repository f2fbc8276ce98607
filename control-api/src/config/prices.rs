//! What tokens and bundles cost, and how an amount is shared out.

use rust_decimal::{Decimal, RoundingStrategy};
use shared::token::state::DURATIONS_HOURS;

/// The price of each duration that is sold, in ZNC. All zero makes tokens free.
#[derive(Clone, Debug)]
pub struct Prices([Decimal; DURATIONS_HOURS.len()]);

/// What a bundle costs, in ZNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundlePrice {
    /// At least one.
    pub token_count: usize,
    /// What its tokens cost one by one.
    pub base: Decimal,
    /// What is paid.
    pub total: Decimal,
    /// What that is less.
    pub savings: Decimal,
    /// Rounded: the shares of the single tokens may differ by a cent.
    pub per_token: Decimal,
}

impl Prices {
    /// Prices in the order of [`DURATIONS_HOURS`], none negative, with at most two decimals.
    pub fn new(prices: [Decimal; DURATIONS_HOURS.len()]) -> Self {
        Self(prices)
    }

    /// The price of this number of hours; `None` if it is not sold.
    pub fn of(&self, duration_hours: i64) -> Option<Decimal> {
        let position = DURATIONS_HOURS.iter().position(|&sold| i64::from(sold) == duration_hours)?;
        Some(self.0[position])
    }

    /// The price of this number of tokens of these hours at once; `None` if it is 0 or the hours
    /// are not sold.
    pub fn of_bundle(&self, token_count: usize, duration_hours: i64, discount_percent: Decimal) -> Option<BundlePrice> {
        let count = Decimal::from(token_count);
        let base = self.of(duration_hours)? * count;
        let total = to_cents(base * (Decimal::ONE_HUNDRED - discount_percent) / Decimal::ONE_HUNDRED);
        let per_token = to_cents(total.checked_div(count)?);
        Some(BundlePrice { token_count, base, total, savings: base - total, per_token })
    }
}

/// Rounds an amount to cents, half to even.
pub fn to_cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven)
}

/// Splits an amount of whole cents into this number of shares, so that the shares sum to it exactly
/// and differ by a cent at most: the first ones get the cents that are left over.
pub fn shares(amount: Decimal, among: usize) -> Vec<Decimal> {
    let cents = amount * Decimal::ONE_HUNDRED;
    let count = Decimal::from(among);
    let Some(each) = cents.checked_div(count).map(|each| each.floor()) else { return Vec::new() };
    let left_over = cents - each * count;
    let share = |number: usize| if Decimal::from(number) < left_over { each + Decimal::ONE } else { each };
    (0..among).map(|number| share(number) / Decimal::ONE_HUNDRED).collect()
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
            assert_eq!(prices.of_bundle(1, not_sold, Decimal::ZERO), None);
        }
        assert_eq!(prices.of_bundle(0, 24, Decimal::ZERO), None);
    }

    #[test]
    fn a_bundle_costs_its_tokens_less_the_discount_rounded_half_to_even() {
        let prices = Prices::new([Decimal::new(5, 2), Decimal::ONE, Decimal::from(18), Decimal::ONE, Decimal::ONE]);
        let price = |count, hours, discount: &str| {
            let price = prices.of_bundle(count, hours, discount.parse().expect("a number")).expect("it is sold");
            [price.base, price.total, price.savings, price.per_token].map(|amount| format!("{amount:.2}"))
        };
        assert_eq!(price(10, 24, "15"), ["180.00", "153.00", "27.00", "15.30"]);
        assert_eq!(price(1, 1, "10"), ["0.05", "0.04", "0.01", "0.04"], "0.045 is 0.04");
        assert_eq!(price(3, 1, "10"), ["0.15", "0.14", "0.01", "0.05"], "0.135 is 0.14");
        assert_eq!(price(7, 24, "33.33"), ["126.00", "84.00", "42.00", "12.00"]);
        assert_eq!(price(2, 24, "100"), ["36.00", "0.00", "36.00", "0.00"]);
    }

    #[test]
    fn shares_sum_to_the_amount_and_differ_by_a_cent_at_most() {
        for cents in (0..=2_000).chain([15_299, 15_301, 999_999_999_999]) {
            for among in [1, 2, 3, 7, 10, 19, 64, 97, 100] {
                let amount = Decimal::new(cents, 2);
                let shares = shares(amount, among);
                assert_eq!(shares.len(), among);
                assert_eq!(shares.iter().sum::<Decimal>(), amount, "{cents} among {among}");
                let (first, last) = (shares[0], shares[among - 1]);
                assert!(shares.is_sorted_by(|one, next| one >= next) && first - last <= Decimal::new(1, 2));
                assert!(shares.iter().all(|share| share.normalize().scale() <= 2 && !share.is_sign_negative()));
            }
        }
        assert!(shares(Decimal::ONE, 0).is_empty());
    }
}
