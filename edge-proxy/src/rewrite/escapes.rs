//! Characters as texts escape them: percent-encoded, as in JSON and JavaScript, and as HTML
//! entities.

/// How long an entity's name may be: `colon`, `#x00003a`.
pub const LONGEST_ENTITY: usize = 10;

/// One character of a text, decoded, and how many bytes spell it.
pub enum Unit {
    Char(char, usize),
    End,
}

/// The character that begins there; `None` if it is not all there yet.
pub fn unit(text: &[u8], at: usize, is_end: bool) -> Option<Unit> {
    let rest = &text[at..];
    let Some(&first) = rest.first() else { return is_end.then_some(Unit::End) };
    let literal = Unit::Char(char::from(first), 1);
    let hex = |digits: &[u8]| {
        let digits =
            std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    };
    let escape = |head: usize, digits: usize| match rest.get(head..head + digits) {
        Some(escaped) => {
            Some(hex(escaped).map_or(Unit::Char(char::from(first), 1), |char| Unit::Char(char, head + digits)))
        }
        None if is_end || !rest[head.min(rest.len())..].iter().all(u8::is_ascii_hexdigit) => {
            Some(Unit::Char(char::from(first), 1))
        }
        None => None,
    };
    match first {
        b'%' => escape(1, 2),
        b'\\' => match rest.get(1) {
            Some(b'u' | b'U') => escape(2, 4),
            Some(b'x' | b'X') => escape(2, 2),
            None if !is_end => None,
            _ => Some(literal),
        },
        b'&' => {
            let body = rest[1..].iter().take(LONGEST_ENTITY);
            let length = body.clone().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#').count();
            match rest.get(1 + length) {
                Some(b';') => Some(entity(&rest[1..=length]).map_or(literal, |char| Unit::Char(char, length + 2))),
                None if !is_end => None,
                _ => Some(literal),
            }
        }
        _ => Some(literal),
    }
}

/// The text of an HTML attribute with its entities decoded, as far as they matter here.
pub fn without_entities(text: &str) -> String {
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let decoded = part.split_once(';').and_then(|(name, rest)| Some((entity(name.as_bytes())?, rest)));
        if let Some((char, rest)) = decoded {
            out.push(char);
            out.push_str(rest);
        } else {
            out.push('&');
            out.push_str(part);
        }
    }
    out
}

/// What an HTML entity stands for, as far as it matters here.
fn entity(name: &[u8]) -> Option<char> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?);
    }
    match name {
        "colon" => Some(':'),
        "sol" => Some('/'),
        "bsol" => Some('\\'),
        "Tab" => Some('\t'),
        "NewLine" => Some('\n'),
        "period" => Some('.'),
        "lowbar" | "UnderBar" => Some('_'),
        "hyphen" | "dash" => Some('-'),
        "commat" => Some('@'),
        _ => None,
    }
}
