//! Addresses of pages, with their query.

use crate::links::SET_PASSWORD;

/// What is below it is a page for people, and never for scripts of another origin.
pub const ROOT: &str = "/console";

/// Whether a path is the console's.
pub fn is_page(path: &str) -> bool {
    is_below_root(path) || ["/register", SET_PASSWORD].contains(&path)
}

pub fn is_below_root(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Where somebody goes on who opens a path that only takes a form, as by logging in anew or
/// reloading: to the page above, which has that form.
pub fn above(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above).filter(|above| is_below_root(above))
}

/// The address of a page with these parameters, of which those that are empty are left out.
pub fn address<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.into_iter().filter(|(_, value)| !value.is_empty()));
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
