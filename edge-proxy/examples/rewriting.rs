//! How fast bodies are rewritten where no network takes part: a line for each way, in gigabytes a
//! second of one core. What `make bench` calls.
#![expect(clippy::print_stdout, reason = "a command that prints what it finds")]

use std::{fs, io, sync::Arc};

use bytes::Bytes;
use edge_proxy::{
    origin::Origin,
    rewrite::{
        body::{Rewriter, Transforms},
        html::integrity::Integrity,
        origins::OriginPatterns,
    },
};

const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// What is read from a connection at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Two gibibytes in all: the kernel adds processor time up by the tick, which is milliseconds.
const ROUNDS: usize = 128;

fn main() -> io::Result<()> {
    let page = page();
    for (what, is_html) in [("as text", false), ("as HTML", true)] {
        println!("A page with few matches, {what} {:.3}", bytes_a_nanosecond(&page, is_html)?);
    }
    Ok(())
}

fn bytes_a_nanosecond(page: &Bytes, is_html: bool) -> io::Result<f64> {
    let origin = |text: &str| text.parse::<Origin>().expect("an origin");
    let (upstreams, shown) = (["https://zenzefi.local"].map(origin), origin("https://gateway.example"));
    let spellings = Arc::new(OriginPatterns::of(&upstreams));
    let began = processor_nanoseconds()?;
    for _ in 0..ROUNDS {
        let mut work = Transforms {
            integrity: is_html.then(|| Integrity::new(Arc::clone(&spellings), shown.clone())),
            rewriter: Some(Rewriter::new(Arc::clone(&spellings), shown.clone())),
            notice: None,
        };
        let (mut rest, mut out) = (page.clone(), 0);
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(CHUNK_BYTES));
            out += work.pass(chunk, rest.is_empty())?.len();
        }
        assert!(work.done().replaced > 0 && out > page.len(), "there are a few to rewrite");
    }
    let spent = processor_nanoseconds()? - began;
    Ok(ROUNDS as f64 * page.len() as f64 / spent as f64)
}

/// A page that names its origin once in a hundred lines.
fn page() -> Bytes {
    let line = |number: usize| match number % 100 {
        0 => format!("<p><a href=\"https://zenzefi.local/certificates/export/{number}\">export</a></p>\n"),
        _ => format!(
            "<p class=\"row\" id=\"c-{number}\">Certificate {number} was issued by https://ca-{}.example/ for the back end of a plant, \
             is valid until 2031-01-17 and can be renewed by whoever holds its key; all that was done with it stands in its \
             <a href=\"/certificates/details/{number}\">details</a>, the newest entry first.<br></p>\n",
            number % 7
        ),
    };
    let mut page: Vec<u8> = (0..).flat_map(|number| line(number).into_bytes()).take(PAGE_BYTES).collect();
    page.extend_from_slice(b"</html>");
    Bytes::from(page)
}

/// Processor time of this thread, as proc_pid_schedstat(5) counts it.
fn processor_nanoseconds() -> io::Result<u64> {
    let figures = fs::read_to_string("/proc/thread-self/schedstat")?;
    let spent = figures.split(' ').next().and_then(|figure| figure.parse().ok());
    spent.ok_or_else(|| io::Error::other("the kernel does not say"))
}
