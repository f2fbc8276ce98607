//! What the pages of both programs share: cookie names, languages, the stylesheet.

pub mod cookie;
pub mod language;
pub mod style;
