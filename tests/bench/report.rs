//! What was measured: a line each, printed at once and kept for the report.

use std::{
    fmt::{self, Write},
    fs, mem,
    time::{Duration, Instant},
};

use anyhow::bail;

/// What a figure is to reach, and what of it is guarded. The two differ where more than the goal
/// was reached, or less: neither is to be lost unseen.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub what: &'static str,
    pub bound: Bound,
    pub goal: f64,
    /// What was reached, with room for noise: a figure beyond it is an error.
    pub held: f64,
    /// Written behind each figure, as it is.
    pub unit: &'static str,
}

/// On which side of a figure a [`Goal`] lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    AtMost,
    AtLeast,
}

impl Bound {
    fn is_kept(self, figure: f64, limit: f64) -> bool {
        match self {
            Self::AtMost => figure <= limit,
            Self::AtLeast => figure >= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMost => "at most",
            Self::AtLeast => "at least",
        })
    }
}

/// The report so far.
pub struct Report {
    text: String,
    /// A row of the table of goals for each that was looked at.
    goals: Vec<Vec<String>>,
    broken: Vec<String>,
}

impl Report {
    pub fn new() -> anyhow::Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown processor", |(_, model)| model);
        let cores = std::thread::available_parallelism()?;
        let mut report = Self { text: String::new(), goals: Vec::new(), broken: Vec::new() };
        report.line("# What was measured");
        report.line("");
        report.line(&format!(
            "Release build, {cores} cores of {model}; load, upstream, Postgres and Redis on the same cores."
        ));
        Ok(report)
    }

    pub fn section(&mut self, title: &str) {
        self.line("");
        self.line(&format!("## {title}"));
        self.line("");
    }

    pub fn figure(&mut self, what: &str, figure: &str) {
        self.line(&format!("- {what}: {figure}"));
    }

    /// A figure that is promised.
    pub fn promise(&mut self, what: &str, figure: &str, promise: &str, is_kept: bool) {
        let verdict = if is_kept { "kept" } else { "BROKEN" };
        self.line(&format!("- {what}: {figure} (promised: {promise}; {verdict})"));
        if !is_kept {
            self.broken.push(format!("{what}: {figure}, promised {promise}"));
        }
    }

    /// A figure that has a goal; `told` is how it is told, without the unit.
    pub fn goal(&mut self, goal: &Goal, figure: f64, told: &str) {
        let Goal { what, bound, unit, .. } = *goal;
        let [guarded, aimed] = [goal.held, goal.goal].map(|limit| format!("{bound} {limit}{unit}"));
        let verdict = match [goal.held, goal.goal].map(|limit| bound.is_kept(figure, limit)) {
            [true, true] => "reached",
            [true, false] => "held, not reached",
            [false, _] => "LOST",
        };
        self.line(&format!("- {what}: {told}{unit} (guarded: {guarded}; goal: {aimed}; {verdict})"));
        self.goals.push([what, &format!("{told}{unit}"), &guarded, &aimed, verdict].map(str::to_owned).into());
        if verdict == "LOST" {
            self.broken.push(format!("{what}: {told}{unit}, guarded {guarded} (goal: {aimed})"));
        }
    }

    /// Every goal that was looked at, once more.
    pub fn goals(&mut self) {
        let goals = mem::take(&mut self.goals);
        if !goals.is_empty() {
            self.section("Goals");
            self.table(&["", "figure", "guarded", "goal", ""], &goals);
        }
    }

    /// Rows of cells below their titles.
    pub fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) {
        self.line(&format!("| {} |", titles.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(titles.len())));
        for row in rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
        self.line("");
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn verdict(&self) -> anyhow::Result<()> {
        if self.broken.is_empty() { Ok(()) } else { bail!("lost, or a promise broken:\n{}", self.broken.join("\n")) }
    }

    pub fn line(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.text, "{line}").expect("memory takes text");
    }
}

/// Durations of the same thing.
#[derive(Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn push_since(&mut self, start: Instant) {
        self.push(start.elapsed());
    }

    /// The duration of a percentile.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last * percent).div_ceil(100)).copied().unwrap_or_default()
    }

    pub fn summary(&self) -> String {
        let [p50, p99, most] = [50, 99, 100].map(|percent| milliseconds(self.percentile(percent)));
        format!("p50 {p50}, p99 {p99}, most {most} ({} times)", self.0.len())
    }
}

pub fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "a rounded figure for people")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
