//! Whether a long run stayed as it began: memory and speed of every stage, from what the run wrote of itself.
//!
//! ```text
//! cargo run --release --example multitask_relay -- --preset mini --jobs 1 --arms looped_aligned --set looped_aligned.curriculum=null
//! cargo run --release --example soak -- runs/mini-seed-1 --at-least 10 --record docs/results/reliability/soak-seed-1
//! ```

use std::{
    fs, iter,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use relay_examples::{CliError, finish, parse_args, print, write_json};
use relay_pipeline::{Figure, Machine, Results, Traces};
use serde::{Deserialize, Serialize};

/// Compares the last quarter of every stage with its second one: memory may grow by 1 %, an update's processor time by 5 %.
/// Both are those of the whole process, so only a run with `--jobs 1`, one stage after the other, can be judged.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Directory of a run that is complete.
    run: PathBuf,
    /// Stages that took less are drawn, but not judged: batches differ in shape, and so does what the allocator keeps.
    #[arg(long, default_value_t = 60.0, value_name = "MINUTES")]
    at_least: f64,
    /// Write the numbers and the figure to FILE.json, FILE.svg, FILE.png and FILE.csv.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Most that memory may grow by.
const GROWTH: f64 = 0.01;
/// Most that an update's processor time may grow by.
const SLOWER: f64 = 0.05;

/// Fewest times of updates of which quarters can be told apart.
const FEWEST: usize = 8;

/// A line of `times.jsonl`.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Sample {
    step: u64,
    seconds: f64,
    processor_seconds: f64,
    resident_mib: f64,
}

/// One stage: medians of its second and its last quarter.
#[derive(Debug, Serialize)]
struct Stage {
    stage: String,
    minutes: f64,
    updates: u64,
    resident_mib: [f64; 2],
    processor_milliseconds_an_update: [f64; 2],
    judged: bool,
}

/// What is recorded.
#[derive(Debug, Serialize)]
struct Record<'a> {
    command: &'a str,
    preset: &'a str,
    seed: u64,
    version: &'a str,
    machine: &'a Machine,
    minutes: f64,
    largest_growth_of_memory: f64,
    largest_growth_of_processor_time: f64,
    stages: &'a [Stage],
}

/// The files of times of a stage: of its training, or of each of its phases.
fn times(run: &Path, stage: &str) -> Vec<(String, PathBuf)> {
    let phases = (1..).map(|phase| format!("{stage}/phase-{phase}"));
    let phases = phases.take_while(|phase| run.join(phase).is_dir());
    iter::once((stage.to_owned(), run.join(stage)))
        .chain(phases.map(|phase| (phase.clone(), run.join(phase).join("model"))))
        .map(|(name, dir)| (name, dir.join("times.jsonl")))
        .filter(|(_, file)| file.is_file())
        .collect()
}

fn main() -> ExitCode {
    finish(parse_args().and_then(run))
}

fn run(args: Args) -> Result<(), CliError> {
    let results = Results::load(&args.run.join("results.json")).map_err(CliError::usage)?;
    let Course {
        stages,
        minutes,
        memory,
        time,
    } = Course::of(&args, &results)?;
    let judged = || stages.iter().filter(|stage| stage.judged);
    let growth = |pick: fn(&Stage) -> [f64; 2]| {
        let each = judged().map(|stage| pick(stage)[1] / pick(stage)[0] - 1.0);
        each.fold(f64::NEG_INFINITY, f64::max)
    };
    if judged().count() == 0 {
        let (run, minutes) = (args.run.display(), args.at_least);
        return Err(CliError::usage(format!(
            "{run}: no stage took {minutes} minutes or longer and has {FEWEST} lines of times"
        )));
    }
    let record = Record {
        command: &results.command,
        preset: &results.preset,
        seed: results.seed,
        version: &results.version,
        machine: &results.machine,
        minutes,
        largest_growth_of_memory: growth(|stage| stage.resident_mib),
        largest_growth_of_processor_time: growth(|stage| stage.processor_milliseconds_an_update),
        stages: &stages,
    };
    if let Some(base) = &args.record {
        // Not `with_extension`: what follows a dot in the name is part of it.
        let mut file = base.clone().into_os_string();
        file.push(".json");
        write_json(file.as_ref(), &record)?;
        draw(base, memory, time)?;
    }
    judge(&record)
}

/// Of each stage its name, and minutes and what was measured then.
type Lines = Vec<(String, Vec<(f64, f64)>)>;

/// How a run went, one stage after the other.
struct Course {
    stages: Vec<Stage>,
    minutes: f64,
    memory: Lines,
    time: Lines,
}

impl Course {
    fn of(args: &Args, results: &Results) -> Result<Self, CliError> {
        let mut course = Self {
            stages: Vec::new(),
            minutes: 0.0,
            memory: Vec::new(),
            time: Vec::new(),
        };
        let names = results.seconds.keys();
        for (name, file) in names.flat_map(|name| times(&args.run, name)) {
            let samples = read(&file)?;
            let stage = Stage::new(&name, &samples, args.at_least);
            let minutes = |sample: &Sample| course.minutes + sample.seconds / 60.0;
            let resident = samples.iter().map(|s| (minutes(s), s.resident_mib));
            let updates = an_update(&samples).map(|(s, ms)| (minutes(s), ms));
            course.memory.push((name.clone(), resident.collect()));
            course.time.push((name, updates.collect()));
            course.minutes += stage.minutes;
            course.stages.push(stage);
        }
        Ok(course)
    }
}

fn draw(base: &Path, memory: Lines, time: Lines) -> Result<(), CliError> {
    let panel = |title: &str, unit: &str, lines| Traces {
        title: title.into(),
        unit: unit.into(),
        from_zero: true,
        lines,
    };
    let panels = vec![
        panel("Memory in use", "MiB", memory),
        panel("Processor time of an update", "ms", time),
    ];
    let (title, across) = ("Memory and speed of a long run", "minutes of training");
    let figure = Figure::of_traces("soak", title, across, panels);
    figure.write(base).map_err(CliError::failure)?;
    Ok(())
}

fn judge(record: &Record) -> Result<(), CliError> {
    let mut text = String::new();
    for stage in record.stages {
        let ([memory, memory_at_last], [time, time_at_last]) =
            (stage.resident_mib, stage.processor_milliseconds_an_update);
        text += &format!(
            "{}: {:.1} minutes, memory {memory:.1} then {memory_at_last:.1} MiB, an update {time:.1} then {time_at_last:.1} ms{}\n",
            stage.stage,
            stage.minutes,
            if stage.judged {
                ""
            } else {
                " (short, not judged)"
            }
        );
    }
    let [memory, time] = [
        record.largest_growth_of_memory,
        record.largest_growth_of_processor_time,
    ];
    text += &format!(
        "{:.0} minutes: memory {:+.2} %, processor time of an update {:+.2} % at most\n",
        record.minutes,
        100.0 * memory,
        100.0 * time
    );
    print(text)?;
    if memory > GROWTH || time > SLOWER {
        return Err(CliError::failure(format!(
            "memory may grow by {} %, an update's processor time by {} %",
            100.0 * GROWTH,
            100.0 * SLOWER
        )));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Sample>, CliError> {
    let text = fs::read_to_string(file)
        .map_err(|error| CliError::failure(format!("{}: {error}", file.display())))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            CliError::failure(format!(
                "{}:{}: {error}; a run on Linux has memory and processor time there",
                file.display(),
                number + 1
            ))
        })
    };
    text.lines().enumerate().map(line).collect()
}

/// Processor milliseconds of an update, where the process was not started anew.
fn an_update(samples: &[Sample]) -> impl Iterator<Item = (&Sample, f64)> {
    samples.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let passed = after.processor_seconds - before.processor_seconds;
        let updates = after
            .step
            .checked_sub(before.step)
            .filter(|&updates| updates > 0)?;
        (passed > 0.0).then(|| (after, 1e3 * passed / updates as f64))
    })
}

impl Stage {
    fn new(name: &str, samples: &[Sample], at_least: f64) -> Self {
        let minutes = samples.last().map_or(0.0, |last| last.seconds / 60.0);
        let resident: Vec<f64> = samples.iter().map(|sample| sample.resident_mib).collect();
        let times: Vec<f64> = an_update(samples).map(|(_, time)| time).collect();
        Self {
            stage: name.to_owned(),
            minutes,
            updates: samples.last().map_or(0, |last| last.step),
            resident_mib: quarters(&resident),
            processor_milliseconds_an_update: quarters(&times),
            judged: minutes >= at_least && times.len() >= FEWEST,
        }
    }
}

/// Medians of the second and of the last quarter: the first one is for warming up.
fn quarters(values: &[f64]) -> [f64; 2] {
    let quarter = values.len() / 4;
    let median = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part.get(part.len() / 2).copied().unwrap_or(f64::NAN)
    };
    [
        median(&values[quarter..2 * quarter]),
        median(&values[values.len() - quarter..]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_slowness_are_seen() {
        let at = |i: u64, memory, ms: f64| Sample {
            step: 100 * i,
            seconds: 60.0 * i as f64,
            processor_seconds: i as f64 * ms / 10.0,
            resident_mib: memory,
        };
        let flat: Vec<Sample> = (1..=40).map(|i| at(i, 100.0, 50.0)).collect();
        let stage = Stage::new("flat", &flat, 10.0);
        assert_eq!(stage.resident_mib, [100.0, 100.0]);
        assert!((stage.processor_milliseconds_an_update[1] - 50.0).abs() < 1e-6);
        assert!(stage.judged && stage.updates == 4000);
        let growing: Vec<Sample> = (1..=40).map(|i| at(i, 100.0 + i as f64, 50.0)).collect();
        let stage = Stage::new("growing", &growing, 10.0);
        assert_eq!(stage.resident_mib, [116.0, 136.0]);
        assert!(!Stage::new("short", &flat[..5], 10.0).judged);
    }

    #[test]
    fn a_process_that_was_started_anew_is_no_jump() {
        let sample = |step, processor_seconds| Sample {
            step,
            seconds: step as f64,
            processor_seconds,
            resident_mib: 1.0,
        };
        let samples = [
            sample(100, 10.0),
            sample(200, 20.0),
            sample(300, 5.0),
            sample(400, 15.0),
        ];
        let times: Vec<f64> = an_update(&samples).map(|(_, ms)| ms).collect();
        assert_eq!(times, [100.0, 100.0]);
    }
}
