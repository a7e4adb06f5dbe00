//! RELAY's side of the comparison: one JSON request a line on standard input, one JSON answer a line.
//!
//! A request names a kind of work, its shape, and how often to run it; the answer holds the seconds of every run.
//! `peers/compare.py` asks this program and the one of the other library in turn.

mod work;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use relay_benches::{Result, Shape};
use serde::Deserialize;
use serde_json::{Value, json};

use work::{Kind, Work};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is asked for: what this program is, or to run some work.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Request {
    Measure {
        kind: Kind,
        shape: Shape,
        repeats: usize,
    },
    About {
        #[serde(rename = "about")]
        _about: bool,
    },
}

/// Runs the work; seconds of each run. Before the clock starts it is run briefly: the other side has had the caches.
fn measure(work: &mut Work, repeats: usize) -> Result<Value> {
    let mut seconds = Vec::with_capacity(repeats);
    let mut checked = work.warm_up()?;
    for _ in 0..repeats {
        let start = Instant::now();
        let result = work.run()?;
        seconds.push(start.elapsed().as_secs_f64());
        checked = result;
    }
    Ok(json!({ "seconds": seconds, "checked": checked }))
}

fn answer(line: &str, ready: &mut HashMap<(Kind, Shape), Work>) -> Result<Value> {
    match serde_json::from_str(line)? {
        Request::About { .. } => Ok(json!({
            "relay": env!("CARGO_PKG_VERSION"),
            "threads": rayon::current_num_threads(),
            "device": if cfg!(feature = "cuda") { "cuda" } else { "cpu" },
        })),
        Request::Measure {
            kind,
            shape,
            repeats,
        } => {
            let work = match ready.entry((kind, shape)) {
                Entry::Occupied(ready) => ready.into_mut(),
                Entry::Vacant(new) => new.insert(Work::prepare(kind, shape)?),
            };
            measure(work, repeats)
        }
    }
}

fn main() -> Result<()> {
    let mut ready = HashMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &mut ready)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
