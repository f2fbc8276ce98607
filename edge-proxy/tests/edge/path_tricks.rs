//! Paths that mean one thing to a gateway and another to the server behind it: whatever reaches the
//! upstream is what the scope opened, byte for byte.

use http::Method;
use shared::token::scope::{Closed, Scope};
use testbed::{
    clients::{http::Ask, raw_http::Wire},
    people::Token,
    stack::Stack,
    upstreams::recorder::Recorder,
};
use tokio::task::JoinSet;

const PATHS: usize = 3_000;
const AT_ONCE: usize = 8;
/// How many of the paths must have been let through, outside the scope and faulty, or nothing was
/// tried.
const EACH: usize = 100;

/// Draws paths, the same ones in each run.
struct Paths(u64);

impl Paths {
    const STARTS: [&[u8]; 10] = [
        b"/certificates/filter",
        b"/certificates/details/",
        b"/certificates/export/c-1",
        b"/certificates/activeForTesting/options/",
        b"/certificates/update/",
        b"/configurations/certificatesColumnOrder",
        b"/certificates",
        b"/Certificates/filter",
        b"/users/currentUser",
        b"/",
    ];
    const PIECES: [&[u8]; 51] = [
        b"..",
        b"%2e%2e",
        b".%2E",
        b"%2E.",
        b"%252e%252e",
        b"..;",
        b"..%00",
        b".",
        b"%2e",
        b"...",
        b"/",
        b"//",
        b"%2f",
        b"%2F",
        b"%252f",
        b"%5c",
        b"%5C",
        b"\\",
        b"..\\",
        b";",
        b"%3b",
        b"%3B",
        b";x=1",
        b"%c0%ae%c0%ae",
        b"%c0%af",
        b"%e0%80%af",
        b"%c1%9c",
        b"\xc0\xaf",
        b"%ef%bc%8f",
        "\u{ff0f}".as_bytes(),
        b"%00",
        b"\0",
        b"%0d%0a",
        b"\t",
        b"\x7f",
        b"%u002f",
        b"%",
        b"%2",
        b"%zz",
        b"%20",
        b"+",
        b"~",
        b"users",
        b"currentUser",
        b"certificates",
        b"filter",
        b"FILTER",
        b"%66ilter",
        b"a",
        b"c-1001",
        "ключ".as_bytes(),
    ];

    /// xorshift64 (Marsaglia, 2003).
    fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("less than a length")
    }
}

impl Iterator for Paths {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut path = Self::STARTS[self.draw(Self::STARTS.len())].to_vec();
        for _ in 0..self.draw(4) {
            if self.draw(2) == 0 {
                path.push(b'/');
            }
            path.extend(Self::PIECES[self.draw(Self::PIECES.len())]);
        }
        Some(path)
    }
}

/// What became of one path.
struct Tried {
    path: Vec<u8>,
    status: u16,
    /// The path that the upstream was asked for.
    received: Option<Vec<u8>>,
}

impl Tried {
    /// Whether this may have happened, and what the scope says to the path.
    fn verdict(&self) -> (bool, Option<Result<(), Closed>>) {
        // What is no URI may be refused by its first reader.
        let is_uri = self.path.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'\\');
        let decided = std::str::from_utf8(&self.path).ok().map(|path| Scope::CertificatesOnly.opens(path));
        let is_refused_with = |statuses: &[u16]| self.received.is_none() && statuses.contains(&self.status);
        let is_right = match decided {
            Some(Ok(())) => {
                (self.status == 200 && self.received.as_deref() == Some(&self.path))
                    || (!is_uri && is_refused_with(&[400]))
            }
            Some(Err(Closed::Outside)) => is_refused_with(if is_uri { &[403] } else { &[400, 403] }),
            Some(Err(Closed::Fault(_))) | None => is_refused_with(&[400]),
        };
        (is_right, decided)
    }
}

#[tokio::test]
async fn whatever_reaches_the_upstream_is_what_the_scope_opened_byte_for_byte() {
    let recorder = Recorder::start().await.expect("a port");
    let stack = Stack::plan().edge_env("ZENZEFI_URL", &recorder.url()).start_edges().await;
    let token = stack.token_of(Scope::CertificatesOnly).await;
    let edge = stack.edge().url();
    let (mut paths, mut tried) = (Paths(0x9E37_79B9_7F4A_7C15).take(PATHS).enumerate(), Vec::new());
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < AT_ONCE
            && let Some((number, path)) = paths.next()
        {
            asking.spawn(status_of(edge.to_owned(), token.clone(), number, path));
        }
        let Some(asked) = asking.join_next().await else { break };
        tried.push(asked.expect("an answer"));
    }
    let received = recorder.take();
    let tried = tried.into_iter().map(|(number, path, status)| {
        let query = format!("?case={number}");
        let received = received.iter().find_map(|received| received.target().strip_suffix(query.as_bytes()));
        Tried { path, status, received: received.map(<[u8]>::to_vec) }
    });
    let (mut wrong, mut let_through, mut outside, mut faults) = (Vec::new(), 0, 0, 0);
    for tried in tried {
        let (is_right, decided) = tried.verdict();
        let_through += usize::from(tried.received.is_some());
        outside += usize::from(decided == Some(Err(Closed::Outside)));
        faults += usize::from(matches!(decided, Some(Err(Closed::Fault(_)))));
        if !is_right {
            let (path, received) =
                (tried.path.escape_ascii(), tried.received.map(|path| path.escape_ascii().to_string()));
            wrong.push(format!("{path}: {decided:?} but {} and the upstream received {received:?}", tried.status));
        }
    }
    assert!(wrong.is_empty(), "{} of {PATHS}:\n{}", wrong.len(), wrong.join("\n"));
    let fewest = outside.min(faults).min(let_through);
    assert!(fewest >= EACH, "{let_through} let through, {outside} outside, {faults} faulty: too few of one kind");
    assert_eq!(received.len(), let_through, "the upstream received what nobody asked for");
    stack.finish().await;
}

/// Asks for a path in one of the ways in which a request can name it, with the number of the case
/// as its query.
async fn status_of(edge: String, token: Token, number: usize, path: Vec<u8>) -> (usize, Vec<u8>, u16) {
    let host = edge.trim_start_matches("http://");
    let before = match number % 3 {
        0 => "",
        1 => "/api/v1/proxy",
        _ => edge.as_str(),
    };
    let after = format!("?case={number} HTTP/1.1\r\nHost: {host}\r\nX-Access-Token: {}\r\n\r\n", token.text);
    let mut wire = Wire::connect(&edge).await.expect("a connection");
    wire.send([b"GET ", before.as_bytes(), &path, after.as_bytes()].concat()).await.expect("sent");
    let status = wire.answer().await.expect("an answer").status;
    (number, path, status)
}

#[tokio::test]
async fn where_a_copy_would_go_must_be_open_too() {
    let stack = Stack::start_edges().await;
    let token = stack.token_of(Scope::CertificatesOnly).await;
    let (edge, copied) = (stack.edge().url().to_owned(), "/certificates/filter");
    let copy = async |destinations: &[&str]| {
        let method = Method::from_bytes(b"COPY").expect("a method");
        let request = stack.edge().with(&token, method, copied);
        let request = destinations.iter().fold(request, |request, to| request.header("destination", *to));
        request.answer().await.status
    };
    let seen = || stack.standin.seen(copied).requests;
    for outside in ["/users/currentUser", "/api/v1/proxy/users/currentUser"] {
        assert_eq!(copy(&[outside]).await, 403, "{outside}");
        assert_eq!(copy(&[&format!("{edge}{outside}")]).await, 403, "{outside} of the gateway");
        assert_eq!(copy(&[&format!("https://elsewhere.example{outside}")]).await, 403, "{outside} elsewhere");
    }
    for faulty in ["certificates/filter", "/certificates/../users", "\u{e9}", ""] {
        assert_eq!(copy(&[faulty]).await, 400, "{faulty}");
    }
    assert_eq!(seen(), 0, "none of these reached the upstream");
    for open in ["/certificates/details/1", "/api/v1/proxy/certificates/details/1"] {
        assert!(![400, 403].contains(&copy(&[&format!("{edge}{open}")]).await), "{open}");
    }
    // Of two only the first is read, and only the first is passed on.
    assert!(![400, 403].contains(&copy(&["/certificates/details/1", "/users/currentUser"]).await));
    assert_eq!(seen(), 3);
    stack.finish().await;
}
