//! Requests as nobody's library would send them: whatever is malformed is refused and leaves no
//! trace at the upstream, whatever is legal arrives byte for byte, and what stands behind a request
//! on the wire is never taken for a part of it.

mod bodies;
mod heads;
mod lines;

use std::{
    fmt::{self, Write},
    time::Duration,
};

use testbed::{
    clients::raw_http::{Wire, WireAnswer},
    people::Token,
    stack::Stack,
    upstreams::recorder::{Received, Recorder},
};
use tokio::task::JoinSet;

const AT_ONCE: usize = 8;
/// What stands for the gateway's host, a token and the number of the case.
const HOST: &str = "@HOST";
const TOKEN: &str = "@TOKEN";
const NUMBER: &str = "@N";
const CLOSES_WITHIN: Duration = Duration::from_secs(20);

/// One request and what must become of it.
#[derive(Clone, Debug)]
struct Case {
    wire: Vec<u8>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Refused(u16),
    /// With `400`, once its head has gone on: bodies are streamed.
    BrokenOff,
    Passed {
        body: Vec<u8>,
        /// A header that arrives with these values, none of them where it is taken out.
        header: Option<(String, Vec<Vec<u8>>)>,
    },
}

impl Case {
    /// Of the lines before the empty one, without those that every request has.
    fn refused(line: impl AsRef<[u8]>, headers: impl AsRef<[u8]>, body: &[u8], status: u16) -> Self {
        Self { wire: request(line.as_ref(), headers.as_ref(), body), outcome: Outcome::Refused(status) }
    }

    fn broken_off(headers: &str, body: &[u8]) -> Self {
        Self { wire: request(post().as_bytes(), headers.as_bytes(), body), outcome: Outcome::BrokenOff }
    }

    fn passed(line: impl AsRef<[u8]>, headers: impl AsRef<[u8]>, wire: &[u8], body: &[u8]) -> Self {
        let outcome = Outcome::Passed { body: body.to_vec(), header: None };
        Self { wire: request(line.as_ref(), headers.as_ref(), wire), outcome }
    }

    /// Says with which values a header arrives.
    fn with(mut self, name: &str, values: &[&[u8]]) -> Self {
        if let Outcome::Passed { header, .. } = &mut self.outcome {
            *header = Some((name.to_owned(), values.iter().map(|value| value.to_vec()).collect()));
        }
        self
    }

    /// What is wrong with what came of it.
    fn fault(
        &self,
        number: usize,
        answer: &Result<WireAnswer, String>,
        closes: bool,
        seen: &Seen<'_>,
    ) -> Option<String> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Some(format!("no answer: {error}")),
        };
        match &self.outcome {
            Outcome::Refused(_) | Outcome::BrokenOff => {
                let is_broken_off = matches!(self.outcome, Outcome::BrokenOff);
                let status = if let Outcome::Refused(status) = self.outcome { status } else { 400 };
                if answer.status != status || answer.header("content-type") != "application/problem+json" {
                    return Some(format!("instead of a problem of {status}: {answer:?}"));
                }
                if !closes || answer.header("connection") != "close" {
                    return Some(format!("the connection is kept after {status}"));
                }
                let is_no_trace = |own: &&Received| is_broken_off && !own.is_whole;
                let is_clean = seen.own.iter().all(is_no_trace) && seen.after.is_empty();
                (!is_clean).then(|| format!("the upstream saw {seen:?}"))
            }
            Outcome::Passed { body, header } => {
                let [own] = seen.own.as_slice() else {
                    return Some(format!("{} and {} at the upstream", answer.status, seen.own.len()));
                };
                if answer.status != 200 || !own.is_whole || own.body != *body {
                    return Some(format!("{} and {own:?}", answer.status));
                }
                if own.target() != format!("/case/{number}").as_bytes() {
                    return Some(format!("another target: {own:?}"));
                }
                if let Some((name, values)) = header
                    && own.values(name) != *values
                {
                    return Some(format!("{name} arrives as {:?}", own.values(name)));
                }
                let is_sound = |after: &&Received| after.is_whole && after.body.is_empty();
                (seen.after.len() > 1 || !seen.after.iter().all(is_sound)).then(|| format!("what follows: {seen:?}"))
            }
        }
    }
}

/// What the upstream saw of one case, and of the request that stood behind it on the wire.
struct Seen<'a> {
    own: Vec<&'a Received>,
    after: Vec<&'a Received>,
}

impl fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for received in self.own.iter().chain(&self.after) {
            let (target, body) = (received.target().escape_ascii(), received.body.escape_ascii());
            write!(f, "{target} with {body}, whole: {} ", received.is_whole)?;
        }
        Ok(())
    }
}

fn request(line: &[u8], headers: &[u8], body: &[u8]) -> Vec<u8> {
    let every = format!("Host: {HOST}\r\nX-Access-Token: {TOKEN}\r\n");
    let headers = if headers.is_empty() { Vec::new() } else { [headers, b"\r\n"].concat() };
    [line, b"\r\n", every.as_bytes(), &headers, b"\r\n", body].concat()
}

fn post() -> String {
    format!("POST /case/{NUMBER} HTTP/1.1")
}

fn get() -> String {
    format!("GET /case/{NUMBER} HTTP/1.1")
}

/// Puts in what is known only once the gateway runs.
fn filled(template: &[u8], number: usize, host: &str, token: &Token) -> Vec<u8> {
    let mut wire = Vec::with_capacity(template.len() + 128);
    let mut rest = template;
    let holes = [(HOST, host.to_owned()), (TOKEN, token.text.clone()), (NUMBER, number.to_string())];
    while let Some(&byte) = rest.first() {
        match holes.iter().find(|(hole, _)| rest.starts_with(hole.as_bytes())) {
            Some((hole, value)) => {
                wire.extend_from_slice(value.as_bytes());
                rest = &rest[hole.len()..];
            }
            None => {
                wire.push(byte);
                rest = &rest[1..];
            }
        }
    }
    wire
}

/// Sends one case with a request behind it, and reads the first answer.
async fn send(origin: String, wire: Vec<u8>) -> (Result<WireAnswer, String>, bool) {
    let mut connection = Wire::connect(&origin).await.expect("a connection");
    // What was refused early may be closed before all of it was sent.
    let _ = connection.send(wire).await;
    let answer = connection.answer().await.map_err(|error| error.to_string());
    let is_refused = answer.as_ref().is_ok_and(|answer| answer.status != 200);
    let closes = is_refused && connection.closes(CLOSES_WITHIN).await;
    (answer, closes)
}

async fn check(cases: Vec<Case>, fewest: usize) {
    assert!(cases.len() >= fewest, "only {} cases", cases.len());
    let recorder = Recorder::start().await.expect("a port");
    let mut stack = Stack::plan().edge_env("ZENZEFI_URL", &recorder.url()).start_edges().await;
    stack.announce(501);
    stack.announce(505);
    let token = stack.token().await;
    let (origin, host) = (stack.edge().url().to_owned(), stack.edge().url().trim_start_matches("http://").to_owned());
    let behind = request(format!("GET /after/{NUMBER} HTTP/1.1").as_bytes(), b"", b"");
    let (mut left, mut answers, mut asking) = (cases.iter().enumerate(), Vec::new(), JoinSet::new());
    loop {
        while asking.len() < AT_ONCE
            && let Some((number, case)) = left.next()
        {
            let wire = filled(&[case.wire.as_slice(), &behind].concat(), number, &host, &token);
            let origin = origin.clone();
            asking.spawn(async move { (number, send(origin, wire).await) });
        }
        let Some(answered) = asking.join_next().await else { break };
        answers.push(answered.expect("a case that ran to its end"));
    }
    let received = recorder.take();
    let at = |path: String| received.iter().filter(|one| one.target() == path.as_bytes()).collect::<Vec<_>>();
    let (mut faults, mut accounted) = (String::new(), 0);
    for (number, (answer, closes)) in answers {
        let seen = Seen { own: at(format!("/case/{number}")), after: at(format!("/after/{number}")) };
        accounted += seen.own.len() + seen.after.len();
        if let Some(fault) = cases[number].fault(number, &answer, closes, &seen) {
            writeln!(faults, "{}\n    {fault}", cases[number].wire.escape_ascii()).expect("a text takes all");
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert_eq!(accounted, received.len(), "the upstream saw what nobody sent: {received:?}");
    stack.finish().await;
}
