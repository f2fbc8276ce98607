//! Lists that page: which page is asked for, and the links to the others, which keep what is filtered by.

use shared::language::Language;

use super::fields::Fields;

/// Lines of a page.
const LINES: u64 = 20;
/// How far the lines of a list are counted.
const COUNTED: u64 = 10_000;

/// Which page of a list is asked for.
#[derive(Clone, Copy)]
pub struct Asked {
    pub limit: u64,
    pub offset: u64,
}

impl Asked {
    /// The page that a query names, from 1; the first if it names none.
    pub fn of(query: &Fields) -> Self {
        let page = query.number("page").unwrap_or(1).clamp(1, 1_000_000);
        Self { limit: LINES, offset: (page - 1) * LINES }
    }

    /// What stands below the list: `path` is the list's own, `query` what it was asked with.
    pub fn pager(self, path: &str, query: &Fields, total: u64) -> Pager {
        let page = self.offset / self.limit + 1;
        let link = |page: u64| {
            let mut query = query.clone();
            query.remove("done");
            query.set("page", &page.to_string());
            format!("{path}?{}", query.encoded())
        };
        let has_next = self.offset + self.limit < total || total >= COUNTED;
        Pager {
            first: if total >= COUNTED { self.offset + 1 } else { (self.offset + 1).min(total) },
            last: if total >= COUNTED { self.offset + self.limit } else { (self.offset + self.limit).min(total) },
            total,
            previous: (page > 1).then(|| link(page - 1)),
            next: has_next.then(|| link(page + 1)),
        }
    }
}

/// Where a page of a list stands among the others.
pub struct Pager {
    first: u64,
    last: u64,
    total: u64,
    pub previous: Option<String>,
    pub next: Option<String>,
}

impl Pager {
    /// Whether there is but one page.
    pub fn is_single(&self) -> bool {
        self.previous.is_none() && self.next.is_none()
    }

    /// Which lines are shown, of how many.
    pub fn shown(&self, lang: Language) -> String {
        let Self { first, last, total, .. } = self;
        let more = if *total >= COUNTED { lang.say(" or more", " или больше") } else { "" };
        format!("{first}–{last} {} {total}{more}", lang.say("of", "из"))
    }
}
