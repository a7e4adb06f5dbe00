//! Progress that people can read: a bar on a terminal, plain lines in a log or a pipe.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{prefix} {bar:30} {pos}/{len} steps, {eta} left{msg}";

/// At most one plain line in this time, besides the first and the last.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The bars of all runs of this process, below each other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Shows how far a run is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A bar at the bottom of a terminal.
    Bar(ProgressBar),
    /// Lines through `tracing`.
    Lines {
        name: String,
        from: u64,
        steps: u64,
        start: Instant,
        last: Option<Instant>,
    },
    /// Nothing.
    Quiet,
}

impl Progress {
    pub fn new(name: &str, from: u64, steps: u64, quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                name: name.to_owned(),
                from,
                steps,
                start: Instant::now(),
                last: None,
            };
        }
        let bar = BARS.add(ProgressBar::new(steps));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.set_position(from);
        // What was done before a break says nothing about the speed now.
        bar.reset_eta();
        Self::Bar(bar)
    }

    /// The run goes on from another step than the one before; how long it took to there says nothing of the rest.
    pub fn start_from(&mut self, step: u64) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(step);
                bar.reset_eta();
            }
            Self::Lines { from, start, .. } => (*from, *start) = (step, Instant::now()),
            Self::Quiet => {}
        }
    }

    /// An update is done.
    pub fn step(&self, step: u64) {
        if let Self::Bar(bar) = self {
            bar.set_position(step);
        }
    }

    /// New means of loss and accuracy.
    pub fn numbers(&mut self, step: u64, loss: f64, accuracy: f64) {
        let numbers = format!("loss {loss:.4}, accuracy {:.1} %", 100.0 * accuracy);
        match self {
            Self::Bar(bar) => bar.set_message(format!(", {numbers}")),
            Self::Lines {
                name,
                from,
                steps,
                start,
                last,
            } => {
                let now = Instant::now();
                if step < *steps && last.is_some_and(|last| now - last < BETWEEN_LINES) {
                    return;
                }
                *last = Some(now);
                let per_step =
                    (now - *start).as_secs_f64() / step.saturating_sub(*from).max(1) as f64;
                let left = per_step * steps.saturating_sub(step) as f64;
                let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
                tracing::info!(
                    "{name}: step {step}/{steps}, {} left, {numbers}",
                    HumanDuration(left)
                );
            }
            Self::Quiet => {}
        }
    }

    /// A line of its own, such as the result of a validation.
    pub fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines { name, .. } => tracing::info!("{name}: {text}"),
            Self::Quiet => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}
