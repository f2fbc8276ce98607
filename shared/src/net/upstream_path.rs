//! Which paths may go to the upstream at all. The check reads the very bytes that are forwarded and
//! changes none of them, so what policy saw and what the upstream receives cannot differ.

/// Why a path is refused with `400`, whatever the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("The path must start with a slash")]
    NotAbsolute,
    #[error("The path contains a control character")]
    ControlByte,
    #[error("The path contains a dot segment")]
    DotSegment,
    /// Only where a scope restricts: the upstream might read these bytes as another path than the
    /// matcher does.
    #[error(
        "The path contains an encoded slash, a backslash, a semicolon or an empty segment, which this token's scope does not allow"
    )]
    Ambiguous,
}

/// Checks what holds for every token: no control bytes, raw or encoded, and no segment that decodes
/// to `.` or `..`. Encoded ones are refused with the raw ones because the edge's server escapes a
/// raw one before anybody sees it.
///
/// `path` is the path as received, without its query. A backslash counts as a separator here,
/// because a Windows server reads it as one.
pub fn check(path: &str) -> Result<(), PathFault> {
    if !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    let decoded = percent_decode(path.as_bytes());
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(PathFault::ControlByte);
    }
    // `..;x` is a dot segment to servers that strip path parameters.
    let is_dot = |segment: &[u8]| {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    if decoded.split(|&byte| byte == b'/' || byte == b'\\').any(is_dot) {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

/// Checks what restricted scopes refuse on top: `%2F`, `%5C`, `\`, `;` and empty segments.
pub fn check_restricted(path: &str) -> Result<(), PathFault> {
    let lower = path.to_ascii_lowercase();
    let ambiguous = lower.contains("%2f")
        || lower.contains("%5c")
        || lower.contains("%3b")
        || path.contains(['\\', ';'])
        || (path != "/" && path.split('/').skip(1).any(str::is_empty));
    if ambiguous { Err(PathFault::Ambiguous) } else { Ok(()) }
}

/// The path as a lenient server might read it: percent-decoded once, runs of slashes made one. For
/// recognising other spellings of a reserved path, never for forwarding.
pub fn lenient(path: &str) -> Vec<u8> {
    let mut lenient = percent_decode(path.as_bytes());
    for byte in &mut lenient {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    lenient.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    lenient
}

/// Decodes `%XX` once; what is no such escape stays as it is.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte = escape.and_then(|digits| {
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok().map(|()| byte[0])
        });
        decoded.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        for path in [
            "/a/../b",
            "/..",
            "/a/.",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/%2e",
            "/a%2f..%2fb",
            "/a/..\\b",
            "/a/..;x/b",
            "/%2e%2e%5cb",
        ] {
            assert_eq!(check(path), Err(PathFault::DotSegment), "{path}");
        }
    }

    #[test]
    fn control_bytes_are_refused_raw_and_encoded() {
        for path in ["/a\u{1}", "/a\tb", "/a%00b", "/a%0d%0aB", "/%7F", "/\u{7f}"] {
            assert_eq!(check(path), Err(PathFault::ControlByte), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_pass_as_they_are() {
        for path in ["/", "/a/b.c", "/...", "/a/..b", "/a%2Fb", "/a//b", "/%zz", "/%", "/a;b=c", "/%E2%82%AC"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn restricted_scopes_refuse_what_two_servers_could_read_differently() {
        for path in ["/a%2fb", "/a%2Fb", "/a%5Cb", "/a\\b", "/a;b", "/a%3bb", "//a", "/a//b", "/a/"] {
            assert_eq!(check_restricted(path), Err(PathFault::Ambiguous), "{path}");
        }
        assert_eq!(check_restricted("/a/b%20c"), Ok(()));
    }

    #[test]
    fn lenient_reading_sees_through_encodings_and_doubled_slashes() {
        assert_eq!(lenient("//health"), b"/health");
        assert_eq!(lenient("/%68ealth"), b"/health");
        assert_eq!(lenient("/api\\v1"), b"/api/v1");
        assert_eq!(lenient("/_gateway%2Fx"), b"/_gateway/x");
    }
}
