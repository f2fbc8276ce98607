//! The edge beside nginx, HAProxy and a bare Pingora: how much each takes, what a request costs it,
//! and how long it takes at half of that.

mod field;

use std::{path::Path, time::Duration};

use anyhow::Context;

use field::{BARE, EDGE, EDGE_ASKING, Field, NGINX_ASKING, NGINX_CACHING};

use super::{
    Pace,
    load::{
        Spoken, Way,
        closed::{self, Round},
        open,
    },
    nginx::LARGE_BYTES,
    plot::{self, Bar},
    spread::Spread,
};
use crate::bench::report::{Bound, Goal, Report};

const CACHED: Goal = Goal {
    what: "CPU with a cached token, as a multiple of the bare Pingora's",
    bound: Bound::AtMost,
    goal: 1.05,
    held: 2.0,
    unit: "",
};
const LOOKED_UP: Goal = Goal {
    what: "CPU with a token looked up, as a multiple of nginx + Lua's",
    bound: Bound::AtMost,
    goal: 0.8,
    held: 4.6,
    unit: "",
};
const P99: Goal = Goal {
    what: "p99 at half load, as a multiple of the bare Pingora's",
    bound: Bound::AtMost,
    goal: 1.2,
    held: 2.5,
    unit: "",
};
/// How many requests a second the open load sends in time: each takes some 30 µs of the processor
/// that it has.
const TIMED_AT_MOST: f64 = 20_000.0;

/// What was measured of one way, round by round.
struct Measured {
    name: &'static str,
    rounds: Vec<Round>,
    /// The 50th and the 99th percentile at half load, in microseconds; none where the open load
    /// does not speak as it does, or is too slow for it.
    latencies: Vec<[f64; 2]>,
    /// The 99th percentile of how late the load itself was then, in microseconds.
    lateness: Vec<f64>,
}

impl Measured {
    fn each(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    fn cpu(&self) -> Vec<f64> {
        self.each(|round| round.cpu_micros)
    }

    fn p99(&self) -> Vec<f64> {
        self.latencies.iter().map(|[_, p99]| *p99).collect()
    }
}

/// How often and how long each way is loaded, by turns: with all that it takes, and with half of
/// that, where one bad moment spoils a round sooner.
struct Turns {
    rounds: usize,
    seconds: u64,
    half_rounds: usize,
    half_seconds: u64,
}

pub async fn measure(pace: Pace, plots: &Path, report: &mut Report) -> anyhow::Result<()> {
    let (tokens, turns) = match pace {
        Pace::Full => (100_000, Turns { rounds: 5, seconds: 3, half_rounds: 5, half_seconds: 2 }),
        Pace::Quick => (5_000, Turns { rounds: 3, seconds: 2, half_rounds: 7, half_seconds: 1 }),
    };
    let field = Field::start(tokens).await?;
    report.section("The edge beside others");
    report.figure(
        "Of each",
        &format!("one thread on one processor; {tokens} tokens where they are looked up; median (least–most) of {} rounds of {} s by turns", turns.rounds, turns.seconds),
    );
    report.figure("Latency", "at half of each one's own most requests, from when a request was due; where the load itself was late, from when it came");
    let ways = if pace == Pace::Full { field.all() } else { field.guarded() };
    let mut all = saturate(&ways, &turns).await?;
    // What is rewritten does not tell its length, and a connection ends with a refusal.
    let is_spoken = |way: &Way<'_>| way.spoken == Spoken::Http1 && way.path == "/" && way.status == 200;
    let timed = |way: &Way<'_>| is_spoken(way) && (pace == Pace::Full || [BARE, EDGE].contains(&way.name));
    at_half_load(&ways, &mut all, &turns, timed).await?;
    tell(&all, report);
    goals(&all, report)?;
    draw(&all, plots)?;
    if pace == Pace::Full {
        sizes(&field.of_sizes(), &turns, report).await?;
    }
    field.finish().await;
    Ok(())
}

/// As many requests as each takes.
async fn saturate(ways: &[Way<'_>], turns: &Turns) -> anyhow::Result<Vec<Measured>> {
    let measured =
        |way: &Way<'_>| Measured { name: way.name, rounds: Vec::new(), latencies: Vec::new(), lateness: Vec::new() };
    let mut all: Vec<_> = ways.iter().map(measured).collect();
    for round in 0..=turns.rounds {
        for (way, measured) in ways.iter().zip(&mut all) {
            // The first is to warm up, and counts for nothing.
            if round == 0 {
                closed::load(way, 1).await?;
            } else {
                measured.rounds.push(closed::load(way, turns.seconds).await?);
            }
        }
    }
    Ok(all)
}

/// Half of what each of those that are `timed` took.
async fn at_half_load(
    ways: &[Way<'_>],
    all: &mut [Measured],
    turns: &Turns,
    timed: impl Fn(&Way<'_>) -> bool,
) -> anyhow::Result<()> {
    for _ in 0..turns.half_rounds {
        for (way, measured) in ways.iter().zip(all.iter_mut()).filter(|(way, _)| timed(way)) {
            let most = Spread::of(&measured.each(|round| round.requests_per_second)).median;
            if most / 2.0 > TIMED_AT_MOST {
                continue;
            }
            let latencies = open::load(way, most / 2.0, turns.half_seconds).await?;
            measured.latencies.push([50, 99].map(|percent| micros(latencies.answers.percentile(percent))));
            measured.lateness.push(micros(latencies.starts.percentile(99)));
        }
    }
    Ok(())
}

fn tell(all: &[Measured], report: &mut Report) {
    let titles = [
        "",
        "requests/s",
        "CPU, µs a request",
        "p50 at half load, µs",
        "p99 at half load, µs",
        "the load itself late, p99, µs",
        "peak memory, MiB",
    ];
    let row = |measured: &Measured| {
        let latency = |index: usize| match measured.latencies[..] {
            [] => "–".to_owned(),
            _ => format!("{:.0}", Spread::of(&measured.latencies.iter().map(|both| both[index]).collect::<Vec<_>>())),
        };
        let own = match measured.lateness[..] {
            [] => "–".to_owned(),
            _ => format!("{:.0}", Spread::of(&measured.lateness)),
        };
        vec![
            measured.name.to_owned(),
            format!("{:.0}", Spread::of(&measured.each(|round| round.requests_per_second))),
            format!("{:.1}", Spread::of(&measured.cpu())),
            latency(0),
            latency(1),
            own,
            format!("{:.1}", Spread::of(&measured.each(|round| round.peak_mib)).most),
        ]
    };
    report.line("");
    report.table(&titles, &all.iter().map(row).collect::<Vec<_>>());
}

fn goals(all: &[Measured], report: &mut Report) -> anyhow::Result<()> {
    let named = |name| all.iter().find(|measured| measured.name == name).with_context(|| format!("no {name}"));
    let (bare, edge, edge_asking) = (named(BARE)?, named(EDGE)?, named(EDGE_ASKING)?);
    let cpu = |of: &Measured, to: &Measured| Spread::of_ratios(&of.cpu(), &to.cpu());
    let p99 = Spread::of_ratios(&edge.p99(), &bare.p99());
    let looked_up = cpu(edge_asking, named(NGINX_ASKING)?);
    for (goal, ratio) in [(&CACHED, cpu(edge, bare)), (&LOOKED_UP, looked_up), (&P99, p99)] {
        report.goal(goal, ratio.median, &format!("{ratio:.2}"));
    }
    if let Ok(caching) = named(NGINX_CACHING) {
        let aim = cpu(edge, caching);
        report.figure("CPU with a cached token, as a multiple of nginx + Lua's (the aim: 1.0)", &format!("{aim:.2}"));
    }
    Ok(())
}

fn draw(all: &[Measured], plots: &Path) -> anyhow::Result<()> {
    let bar =
        |measured: &Measured, figures: Vec<f64>| Bar { name: measured.name.to_owned(), spread: Spread::of(&figures) };
    let cpu: Vec<Bar> = all.iter().map(|measured| bar(measured, measured.cpu())).collect();
    plot::bars(&plots.join("cpu.svg"), "CPU time of the proxy for one request, in microseconds", &cpu)?;
    let timed = all.iter().filter(|measured| !measured.latencies.is_empty());
    let p99: Vec<Bar> = timed.map(|measured| bar(measured, measured.p99())).collect();
    plot::bars(&plots.join("p99.svg"), "99th percentile of latency at half load, in microseconds", &p99)
}

async fn sizes(ways: &[Way<'_>], turns: &Turns, report: &mut Report) -> anyhow::Result<()> {
    report.section("Large answers and uploads");
    let all = saturate(ways, turns).await?;
    let per_mb = 1e6 / f64::from(u32::try_from(LARGE_BYTES)?);
    let row = |measured: &Measured| {
        let cpu = Spread::of(&measured.cpu());
        vec![
            measured.name.to_owned(),
            format!("{:.0}", Spread::of(&measured.each(|round| round.requests_per_second))),
            format!("{cpu:.1}"),
            format!("{:.0}", cpu.median * per_mb),
        ]
    };
    let titles = ["", "requests/s", "CPU, µs a request", "CPU, µs a MB"];
    report.table(&titles, &all.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
