//! A small chart of bars, drawn as SVG, with a table for screen readers.

use askama::{Template, filters::HtmlSafe};

/// How wide a bar's place is and how high the tallest bar, in the drawing's own units; the page
/// stretches it to fit.
const PLACE: usize = 10;
const BAR: usize = 8;
const HEIGHT: u64 = 100;

/// Amounts in their order, as `{{ bars }}` shows them in a page.
#[derive(Clone, Template)]
#[template(path = "console/chart.html")]
pub struct Bars {
    pub title: String,
    /// What each is called, how much it is and how that is shown.
    pub bars: Vec<(String, u64, String)>,
}

/// It renders by a template of its own, which escapes.
impl HtmlSafe for Bars {}

/// Where one bar stands.
struct Drawn<'a> {
    x: usize,
    y: u64,
    width: usize,
    height: u64,
    label: &'a str,
    shown: &'a str,
}

impl Bars {
    /// What its elements are called; of two charts on a page, each has another title.
    fn id(&self) -> String {
        let hash = self
            .title
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("chart-{hash:x}")
    }

    fn width(&self) -> usize {
        self.bars.len().max(1) * PLACE
    }

    fn height(&self) -> u64 {
        HEIGHT
    }

    fn tallest(&self) -> Option<&(String, u64, String)> {
        // Of several alike, the first.
        self.bars.iter().rev().max_by_key(|(_, value, _)| *value)
    }

    /// From the first to the last, and which is the most.
    fn summary(&self) -> String {
        let (Some((first, ..)), Some((last, ..)), Some((most, _, shown))) =
            (self.bars.first(), self.bars.last(), self.tallest())
        else {
            return "\u{2013}".to_owned();
        };
        format!("{first} \u{2013} {last}. max: {most}, {shown}")
    }

    /// Each as high as its share of the most; what is more than nothing is seen.
    fn drawn(&self) -> impl Iterator<Item = Drawn<'_>> {
        let most = u128::from(self.tallest().map_or(0, |(_, value, _)| *value).max(1));
        self.bars.iter().enumerate().map(move |(index, (label, value, shown))| {
            let share = u128::from(*value) * u128::from(HEIGHT) / most;
            let height = u64::try_from(share).unwrap_or(HEIGHT).max(u64::from(*value > 0));
            Drawn { x: index * PLACE + (PLACE - BAR) / 2, y: HEIGHT - height, width: BAR, height, label, shown }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: &[u64]) -> Bars {
        let bars = values.iter().map(|value| (format!("<day {value}>"), *value, format!("{value} ZNC")));
        Bars { title: "Revenue".to_owned(), bars: bars.collect() }
    }

    #[test]
    fn the_tallest_bar_fills_the_chart_and_what_is_more_than_nothing_is_seen() {
        let heights = |values: &[u64]| bars(values).drawn().map(|bar| bar.height).collect::<Vec<_>>();
        assert_eq!(heights(&[0, 1, 5_000, 10_000, u64::MAX]), [0, 1, 1, 1, 100]);
        assert_eq!(heights(&[0, 5, 10]), [0, 50, 100]);
        assert_eq!(heights(&[0, 0]), [0, 0]);
        assert_eq!(heights(&[]), Vec::<u64>::new());
    }

    #[test]
    fn what_is_drawn_is_also_told_and_no_name_is_markup() {
        let html = bars(&[3, 9, 9]).render().expect("it renders");
        assert!(html.contains("&#60;day 3&#62; \u{2013} &#60;day 9&#62;. max: &#60;day 9&#62;, 9 ZNC"), "{html}");
        assert!(html.contains(r#"role="img""#) && html.contains("<td>9 ZNC</td>") && !html.contains("<day"), "{html}");
        assert!(bars(&[]).render().expect("it renders").contains("<desc"));
    }
}
