//! How the pages look that people see, on both planes: one stylesheet, so that the sign-in page and
//! the console are one product.

/// The stylesheet: colours of both themes, type, forms, buttons, notices, cards, tables. Each plane
/// may add its own after it.
pub const STYLESHEET: &str = include_str!("../../assets/look.css");

/// The icon, as SVG.
pub const ICON: &str = include_str!("../../assets/icon.svg");
