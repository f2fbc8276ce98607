//! Validators of answers (RFC 9110 §8.8) whose bytes the gateway changes: its text has the same
//! meaning as the upstream's, not the same bytes, so their tags are weak.

/// An `ETag` as a weak one.
pub fn weak(tag: &str) -> String {
    if is_weak(tag) { tag.to_owned() } else { format!("W/{}", tag.trim()) }
}

/// An `If-Match` with the strong form of each weak tag beside it: the client may have its tag from
/// an answer whose tag was made weak, and the upstream compares byte for byte.
pub fn if_match(tags: &str) -> String {
    let strong: Vec<&str> = split(tags).filter_map(|tag| tag.strip_prefix("W/")).collect();
    [tags].into_iter().chain(strong).collect::<Vec<_>>().join(", ")
}

/// Whether `tags`, an `If-None-Match`, has this tag in its weak form: then the client knows it from
/// an answer whose tag was made weak.
pub fn is_known_as_weak(tags: &str, tag: &str) -> bool {
    let weak = weak(tag);
    !is_weak(tag) && split(tags).any(|known| known == weak)
}

fn is_weak(tag: &str) -> bool {
    tag.trim_start().starts_with("W/")
}

/// The tags of a list. A comma within a tag's quotes does not part two.
fn split(tags: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    tags.split(move |char| {
        is_quoted ^= char == '"';
        char == ',' && !is_quoted
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_made_weak_once() {
        assert_eq!(weak("\"a\""), "W/\"a\"");
        assert_eq!(weak("W/\"a\""), "W/\"a\"");
    }

    #[test]
    fn the_upstream_finds_its_own_tag_beside_the_weak_one() {
        assert_eq!(if_match("W/\"a,b\", \"c\""), "W/\"a,b\", \"c\", \"a,b\"");
        assert_eq!(if_match("*"), "*");
    }

    #[test]
    fn a_tag_that_the_client_knows_as_weak_stays_weak() {
        assert!(is_known_as_weak("\"x\", W/\"a\"", "\"a\""));
        assert!(!is_known_as_weak("\"a\"", "\"a\""));
        assert!(!is_known_as_weak("W/\"a\"", "W/\"a\""));
        assert!(!is_known_as_weak("*", "\"a\""));
    }
}
