//! The languages of the pages that people see, on both planes. Each text stands in both where it is
//! used, so that none can be missing.

/// The language of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    Russian,
}

impl Language {
    /// What was chosen, else what the browser likes best of ours by its `Accept-Language` (RFC 9110
    /// §12.5.4).
    pub fn of(chosen: Option<&str>, accepted: Option<&str>) -> Self {
        chosen.and_then(Self::by_tag).or_else(|| accepted.and_then(Self::best_of)).unwrap_or_default()
    }

    /// The language that a tag such as `ru-RU` names, if it is one of ours.
    pub fn by_tag(tag: &str) -> Option<Self> {
        match tag.split('-').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "ru" => Some(Self::Russian),
            _ => None,
        }
    }

    fn best_of(accepted: &str) -> Option<Self> {
        let ranges = accepted.split(',').filter_map(|range| {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
            (weight > 0.0).then_some((Self::by_tag(tag)?, weight))
        });
        // Of those that are liked alike, the first.
        ranges.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(language, _)| language)
    }

    /// Its tag, as `lang` has it.
    pub fn tag(self) -> &'static str {
        self.say("en", "ru")
    }

    /// The one to switch to.
    pub fn other(self) -> Self {
        match self {
            Self::English => Self::Russian,
            Self::Russian => Self::English,
        }
    }

    /// What it calls itself.
    pub fn name(self) -> &'static str {
        self.say("English", "Русский")
    }

    /// The text in this language.
    pub fn say<'a>(self, english: &'a str, russian: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Russian => russian,
        }
    }

    /// The word that goes with a number: in English for one and for others; in Russian for 1, for 2
    /// and for 5 (the plural rules of CLDR).
    pub fn plural<'a>(self, count: u64, english: [&'a str; 2], russian: [&'a str; 3]) -> &'a str {
        match self {
            Self::English => english[usize::from(count != 1)],
            Self::Russian => match (count % 10, count % 100) {
                (1, tens) if tens != 11 => russian[0],
                (2..=4, tens) if !(12..=14).contains(&tens) => russian[1],
                _ => russian[2],
            },
        }
    }

    /// A number of hours in words.
    pub fn hours(self, hours: u64) -> String {
        format!("{hours} {}", self.plural(hours, ["hour", "hours"], ["час", "часа", "часов"]))
    }

    /// How long that is, by its two largest units: `3 d 4 h`, `12 min 5 s`.
    pub fn lasting(self, seconds: u64) -> String {
        let units = [
            (seconds / 86_400, self.say("d", "д")),
            (seconds / 3_600 % 24, self.say("h", "ч")),
            (seconds / 60 % 60, self.say("min", "мин")),
            (seconds % 60, self.say("s", "с")),
        ];
        let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
        let shown = units[first..].iter().take(2).filter(|(count, _)| *count > 0 || seconds == 0);
        shown.map(|(count, unit)| format!("{count}\u{a0}{unit}")).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_comes_before_what_the_browser_likes() {
        assert_eq!(Language::of(Some("ru"), Some("en")), Language::Russian);
        assert_eq!(Language::of(Some("xx"), Some("en")), Language::English);
        assert_eq!(Language::of(None, None), Language::English);
    }

    #[test]
    fn the_browsers_own_order_decides() {
        let of = |accepted| Language::of(None, Some(accepted));
        assert_eq!(of("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7"), Language::Russian);
        assert_eq!(of("en;q=0.5, ru;q=0.8"), Language::Russian);
        assert_eq!(of("de-DE,de;q=0.9,en;q=0.8,ru;q=0.2"), Language::English);
        assert_eq!(of("ru;q=0, en;q=0.1"), Language::English);
        assert_eq!(of("de, fr;q=nonsense, *"), Language::English);
    }

    #[test]
    fn a_count_has_its_words_form() {
        let russian = [1, 2, 5, 11, 12, 21, 22, 25, 111, 112].map(|hours| Language::Russian.hours(hours));
        let expected = [
            "1 час",
            "2 часа",
            "5 часов",
            "11 часов",
            "12 часов",
            "21 час",
            "22 часа",
            "25 часов",
            "111 часов",
            "112 часов",
        ];
        assert_eq!(russian, expected);
        assert_eq!([1, 2].map(|hours| Language::English.hours(hours)), ["1 hour", "2 hours"]);
    }

    #[test]
    fn a_length_of_time_has_its_two_largest_units() {
        let english = [0, 59, 60, 3_661, 86_400, 273_600]
            .map(|seconds| Language::English.lasting(seconds).replace('\u{a0}', " "));
        assert_eq!(english, ["0 s", "59 s", "1 min", "1 h 1 min", "1 d", "3 d 4 h"]);
    }
}
