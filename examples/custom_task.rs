//! A task of your own, without touching the crates: chains of assignments modulo 7.
//!
//! A problem of length 3 is `a = 3 ; b = a + 2 ; c = b * a ; <sep>`; step t lists the values of the first t variables, `3 5 ;`
//! for t = 2; the answer is the value of the last one. The program trains a looped model on it and shows what it writes; with
//! `--whole` it runs all stages, to the report.
//!
//! ```text
//! cargo run --release --example custom_task -- --steps 2000 --run-dir runs/custom
//! cargo run --release --example custom_task -- --whole --run-dir runs/custom-whole
//! ```

use std::{ops::RangeInclusive, path::PathBuf, process::ExitCode, sync::Arc};

use burn::{module::AutodiffModule, tensor::backend::AutodiffBackend};
use clap::Parser;
use relay_examples::{
    CliError, CommandLine, Computing, DeviceName, Program, finish, on_device, parse_args, print,
    start_logging, stop_on_signals,
};
use relay_models::{LoopedConfig, TransformerConfig};
use relay_pipeline::{
    About, DataSettings, Existing, GeneratedCorpus, OwnTask, Pipeline, PipelineError,
    own_data_preset, table,
};
use relay_tasks::{
    ChainFormat, Codec, Dialect, GroupLimits, Problem, Solution, Split, Stream, Task, TaskError,
    score,
};
use relay_train::{
    Batching, LoopedObjective, Resume, StopFlag, TaskSource, TrainConfig, TrainError, Trainer,
    write_looped_chains,
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Chains of assignments modulo a prime.
#[derive(Debug)]
struct Assignments {
    prime: u64,
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

impl Assignments {
    /// The values of all variables.
    fn values(&self, prompt: &str) -> Result<Vec<u64>, TaskError> {
        let bad = |what: &str| TaskError::prompt(self.name(), prompt, what);
        let statements = prompt
            .strip_suffix("; <sep>")
            .ok_or_else(|| bad("must end in `; <sep>`"))?;
        let mut values: Vec<u64> = Vec::new();
        for (index, statement) in statements.split(';').enumerate() {
            let words: Vec<&str> = statement.split_whitespace().collect();
            let value = |word: &str| match NAMES.iter().position(|name| *name == word) {
                Some(variable) => values
                    .get(variable)
                    .copied()
                    .ok_or_else(|| bad("uses a variable before it is set")),
                // `+3` and `06` are numbers for the standard library, but no tokens.
                None => word
                    .parse()
                    .ok()
                    .filter(|v: &u64| *v < self.prime && v.to_string() == word)
                    .ok_or_else(|| bad("holds a number out of range")),
            };
            let next = match words[..] {
                [name, "=", x] if NAMES.get(index) == Some(&name) => value(x)?,
                [name, "=", x, "+", y] if NAMES.get(index) == Some(&name) => {
                    (value(x)? + value(y)?) % self.prime
                }
                [name, "=", x, "*", y] if NAMES.get(index) == Some(&name) => {
                    (value(x)? * value(y)?) % self.prime
                }
                _ => return Err(bad("needs statements like `b = a + 2`, variables in order")),
            };
            values.push(next);
        }
        Ok(values)
    }
}

impl Task for Assignments {
    fn name(&self) -> &str {
        "let"
    }

    fn dialect(&self) -> Dialect {
        Dialect::new([("prime", json!(self.prime))])
    }

    fn tokens(&self) -> Vec<String> {
        let numbers = (0..self.prime).map(|n| n.to_string());
        ["+", "*", "=", ";"]
            .into_iter()
            .chain(NAMES)
            .map(str::to_owned)
            .chain(numbers)
            .collect()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=NAMES.len()
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat {
            step_end: Some(";".into()),
            answer_is_last_step: false,
        }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem, TaskError> {
        let mut prompt = String::new();
        for (index, name) in NAMES.iter().take(length).enumerate() {
            let number = stream.below(self.prime);
            let operator = ["+", "*"][stream.below(2) as usize];
            let right = match index {
                0 => number.to_string(),
                _ => format!(
                    "{} {operator} {number}",
                    NAMES[stream.below(index as u64) as usize]
                ),
            };
            prompt.push_str(&format!("{name} = {right} ; "));
        }
        prompt.push_str("<sep>");
        let Solution { steps, answer } = self.solve(&prompt)?;
        Ok(Problem {
            task: self.name().into(),
            length,
            prompt,
            steps,
            answer,
        })
    }

    fn length(&self, prompt: &str) -> Result<usize, TaskError> {
        Ok(self.values(prompt)?.len())
    }

    fn iterations(&self, prompt: &str) -> Result<usize, TaskError> {
        self.length(prompt)
    }

    fn step_width(&self, prompt: &str) -> Result<usize, TaskError> {
        Ok(self.length(prompt)? + 1)
    }

    fn solve(&self, prompt: &str) -> Result<Solution, TaskError> {
        let values: Vec<String> = self.values(prompt)?.iter().map(u64::to_string).collect();
        let steps = (1..=values.len())
            .map(|t| format!("{} ;", values[..t].join(" ")))
            .collect();
        Ok(Solution {
            steps,
            answer: values.last().cloned().unwrap_or_default(),
        })
    }
}

/// Trains a looped model on a task that the crates do not know.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Updates of the weights, with `--whole` of every model [default: 2000, with `--whole` those of `mini`].
    #[arg(long)]
    steps: Option<u64>,
    /// Directory of the checkpoints, with `--whole` of the run [default: runs/custom, with `--whole` runs/custom-whole].
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Run all stages with the models of `mini`: the looped model, the auto-regressive one, and what it learns from chains that the
    /// looped one writes for longer problems.
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    computing: Computing,
}

impl Args {
    fn run_dir(&self) -> PathBuf {
        let default = if self.whole {
            "runs/custom-whole"
        } else {
            "runs/custom"
        };
        self.run_dir.clone().unwrap_or_else(|| default.into())
    }

    /// The command that repeats the run of all stages.
    fn command(&self, device: DeviceName) -> String {
        CommandLine::new(device, "custom_task")
            .flag("--whole", true)
            .each("--steps", self.steps)
            .each("--precision", self.computing.precision)
            .option("--device", device)
            .to_string()
    }
}

fn main() -> ExitCode {
    start_logging();
    finish(parse_args().and_then(|args: Args| {
        let device = args.computing.device()?;
        let stop = StopFlag::default();
        let signal = stop_on_signals(&stop.shared()).map_err(CliError::failure)?;
        let training = Training { args, device, stop };
        let outcome = on_device(device, training).map_err(CliError::usage)?;
        outcome.map_err(|error| {
            let of_run = error.downcast_ref::<PipelineError>();
            let (interrupted, usage) = match (of_run, error.downcast_ref()) {
                (Some(error), _) => (error.is_interrupted(), error.is_usage()),
                (_, Some(TrainError::Interrupted { .. })) => (true, false),
                (_, Some(TrainError::Setting { .. } | TrainError::Input { .. })) => (false, true),
                _ => (false, false),
            };
            match (interrupted, usage) {
                (true, _) => CliError::interrupted(error, &signal),
                (_, true) => CliError::usage(error),
                _ => CliError::failure(error),
            }
        })
    }))
}

struct Training {
    args: Args,
    device: DeviceName,
    stop: StopFlag,
}

impl Training {
    /// The whole method: models and trainings are those of `mini`, problems are those of the task.
    fn whole<B: AutodiffBackend>(
        self,
        task: Arc<dyn Task>,
        device: B::Device,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let data = DataSettings::Own(task.name().to_owned());
        let mut settings = own_data_preset("mini", data, 1)?;
        if let Some(precision) = self.args.computing.precision {
            settings.set_precision(precision);
        }
        if let Some(steps) = self.args.steps {
            settings
                .stages_mut()
                .for_each(|stage| stage.train.steps = steps);
        }
        let lengths = OwnTask {
            task,
            train: [1, 5],
            test: [1, 8],
            original: 10_000,
            longer: [6, 7, 8].map(|length| (length, 3_000)).into(),
        };
        let corpus = GeneratedCorpus::of_tasks(vec![lengths], settings.seed)?;
        let about = About {
            device: self.device.to_string(),
            command: self.args.command(self.device),
        };
        let run_dir = self.args.run_dir();
        let pipeline = Pipeline::<B>::open_with(
            Arc::new(corpus),
            settings,
            &run_dir,
            Existing::Resume,
            about,
            device,
            self.stop,
        )?;
        let jobs = self.args.computing.jobs(self.device);
        let results = pipeline.side_by_side(jobs).run()?;
        let report = run_dir.join("report.html");
        print(format_args!(
            "{}report: {}\n",
            table(&results),
            report.display()
        ))?;
        Ok(())
    }
}

impl Program for Training {
    type Output = Result<(), Box<dyn std::error::Error>>;

    fn run<B: AutodiffBackend>(self, device: B::Device) -> Self::Output {
        let task: Arc<dyn Task> = Arc::new(Assignments { prime: 7 });
        if self.args.whole {
            return self.whole::<B>(task, device);
        }
        let codec = Codec::for_tasks(&[Arc::clone(&task)])?;
        let transformer = TransformerConfig {
            vocab: codec.vocab.len(),
            d_model: 64,
            dropout: 0.0,
            ..TransformerConfig::default()
        };
        let config = LoopedConfig {
            transformer,
            ..LoopedConfig::default()
        };

        let train = TrainConfig {
            steps: self.args.steps.unwrap_or(2000),
            precision: self.args.computing.precision.unwrap_or_default(),
            ..TrainConfig::default()
        };
        let batching = Batching::OneLength { tokens: 1024 };
        let source = TaskSource::new(
            vec![Arc::clone(&task)],
            vec![1..=5],
            codec.clone(),
            batching,
            None,
            train.seed,
        )?;
        let objective =
            LoopedObjective::aligned(1.0, vec![1.0], GroupLimits::default(), codec.clone());
        let mut problems = Vec::new();
        for index in 0..100 {
            let problem = task.generate(1, Split::Test, index, 2 + index as usize % 6)?;
            problems.push(codec.encode_for(task.as_ref(), &problem)?);
        }

        let model = config.init::<B>(&device, train.seed);
        let settings = serde_json::to_value(&config)?;
        let trainer = Trainer::new(
            train,
            objective,
            codec.clone(),
            settings,
            device.clone(),
            &self.args.run_dir(),
        )?;
        let trained = trainer.run(
            model,
            &source,
            &problems[..20],
            Resume::Continue,
            &self.stop,
        )?;

        let chains = write_looped_chains(&trained.model.valid(), &problems, &device)?;
        let right = problems
            .iter()
            .zip(&chains)
            .filter(|(problem, chain)| score(problem, chain).answer)
            .count();
        let chain = serde_json::to_string_pretty(&codec.decode_chain(&problems[5], &chains[5]))?;
        print(format_args!(
            "{right} of {} answers right, lengths 2 to 7, trained on 1 to 5\n{chain}\n",
            problems.len()
        ))?;
        Ok(())
    }
}
