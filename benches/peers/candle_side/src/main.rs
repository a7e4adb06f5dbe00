//! Candle's side of the comparison: one JSON request a line on standard input, one JSON answer a line.
//!
//! The requests are those that the other sides understand. With 0 repeats the work is only made ready and run
//! briefly.

mod model;
mod works;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use candle_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use model::Shape;
use works::{Kind, Work};

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

/// Runs the work; seconds of each run. Before the clock starts it is run briefly: the other sides have had the caches.
fn measure(work: &mut Work, repeats: usize) -> Result<Value> {
    let mut checked = work.warm_up()?;
    let mut seconds = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        checked = work.run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds, "checked": checked }))
}

fn answer(line: &str, ready: &mut HashMap<(Kind, Shape), Work>) -> Result<Value> {
    match serde_json::from_str(line).map_err(Error::wrap)? {
        Request::About { .. } => Ok(json!({
            "candle": "0.11.1",
            "threads": candle_core::utils::get_num_threads(),
            "mkl": candle_core::utils::has_mkl(),
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
