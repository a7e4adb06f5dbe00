//! The user's own data: problems with solutions to learn from, longer ones without, and a test set, as JSONL files.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use relay_tasks::{Codec, Example, Problem, TaskError};
use relay_train::{Batching, Curriculum, ExampleListSource, ExampleSource};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Corpus, FileSettings, PipelineError, Result, corpus::Unsolved};

/// Name of the task where a line names none.
pub const DEFAULT_TASK: &str = "data";

/// How many training problems one of every is set aside to watch the training with.
const VALID_SHARE: usize = 20;

/// A line of `--train` or `--test`.
#[derive(Debug, Deserialize)]
struct SolvedLine {
    #[serde(default = "default_task")]
    task: String,
    problem: String,
    steps: Vec<String>,
    answer: String,
    length: Option<usize>,
    // Lines of `generate_data` carry it; here the files themselves are the dialect.
    #[serde(rename = "dialect")]
    _dialect: Option<Value>,
}

/// A line of `--longer`.
#[derive(Debug, Deserialize)]
struct UnsolvedLine {
    #[serde(default = "default_task")]
    task: String,
    problem: String,
    iterations: usize,
    length: Option<usize>,
    width: Option<usize>,
}

fn default_task() -> String {
    DEFAULT_TASK.to_owned()
}

/// Problems from files.
#[derive(Debug)]
pub struct FileCorpus {
    codec: Codec,
    train: Vec<Example>,
    valid: Vec<Example>,
    test: Vec<Example>,
    original: Vec<Problem>,
    longer: Vec<Unsolved>,
    truth: BTreeMap<(String, String), Problem>,
    hash: String,
}

impl FileCorpus {
    /// Reads and checks the three files.
    ///
    /// The vocabulary is that of the training and the longer problems. A longer problem's window is as wide as `width`
    /// says, otherwise as its own text plus what the longest training step had beyond its problem.
    ///
    /// # Errors
    /// When a file cannot be read or is empty, or a line is not of the form or holds a token beyond the vocabulary; file
    /// and line are named.
    pub fn read(files: &FileSettings) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let solved: Vec<SolvedLine> = read_lines(&files.train, &mut hasher)?;
        let unsolved: Vec<UnsolvedLine> = read_lines(&files.longer, &mut hasher)?;
        let tests: Vec<SolvedLine> = read_lines(&files.test, &mut hasher)?;

        let original: Vec<Problem> = solved.into_iter().map(problem).collect();
        let longer: Vec<Problem> = unsolved.iter().map(bare).collect();
        let codec = Codec::from_problems(&original, &longer).map_err(|e| match e {
            // A record is a line of one of the two files.
            TaskError::Record {
                solved,
                number,
                source,
                ..
            } => at(
                if solved { &files.train } else { &files.longer },
                number - 1,
                &source,
            ),
            other => other.into(),
        })?;
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for (line, problem) in original.iter().enumerate() {
            let example = codec
                .encode(problem)
                .map_err(|e| at(&files.train, line, &e))?;
            if line % VALID_SHARE == VALID_SHARE - 1 {
                &mut valid
            } else {
                &mut train
            }
            .push(example);
        }
        let beyond = train
            .iter()
            .map(|e| e.width - e.prompt.len())
            .max()
            .unwrap_or(0);
        let longer = encode_longer(&codec, &files.longer, &unsolved, longer, beyond)?;
        let mut test = Vec::new();
        let mut truth = BTreeMap::new();
        for (line, problem) in tests.into_iter().map(problem).enumerate() {
            test.push(
                codec
                    .encode(&problem)
                    .map_err(|e| at(&files.test, line, &e))?,
            );
            truth.insert((problem.task.clone(), problem.prompt.clone()), problem);
        }
        let known: HashSet<_> = original
            .iter()
            .map(|p| (p.task.as_str(), p.prompt.as_str()))
            .collect();
        let shared = truth
            .keys()
            .filter(|(task, prompt)| known.contains(&(task.as_str(), prompt.as_str())))
            .count();
        if shared > 0 {
            tracing::warn!(
                "{shared} problems stand in both {} and {}",
                files.train.display(),
                files.test.display()
            );
        }
        test.sort_by_key(|example| (example.task, example.length));
        let hash = hasher.finalize().to_hex().to_string();
        Ok(Self {
            codec,
            train,
            valid,
            test,
            original,
            longer,
            truth,
            hash,
        })
    }
}

fn problem(line: SolvedLine) -> Problem {
    let length = line.length.unwrap_or(line.steps.len());
    Problem {
        task: line.task,
        length,
        prompt: line.problem,
        steps: line.steps,
        answer: line.answer,
    }
}

fn bare(line: &UnsolvedLine) -> Problem {
    let length = line.length.unwrap_or(line.iterations);
    let (steps, answer) = (Vec::new(), String::new());
    Problem {
        task: line.task.clone(),
        length,
        prompt: line.problem.clone(),
        steps,
        answer,
    }
}

fn encode_longer(
    codec: &Codec,
    file: &Path,
    lines: &[UnsolvedLine],
    problems: Vec<Problem>,
    beyond: usize,
) -> Result<Vec<Unsolved>> {
    let encode = |(number, (line, problem)): (usize, (&UnsolvedLine, Problem))| {
        if line.iterations == 0 {
            return Err(PipelineError::corrupt(
                file,
                format!("line {}: iterations is 0, must be at least 1", number + 1),
            ));
        }
        // The tag of the task stands before the problem.
        let width = line
            .width
            .unwrap_or(problem.prompt.split_whitespace().count() + 1 + beyond);
        let example = codec
            .encode_prompt(
                &problem.task,
                problem.length,
                &problem.prompt,
                line.iterations,
                width,
            )
            .map_err(|e| at(file, number, &e))?;
        Ok(Unsolved { problem, example })
    };
    lines.iter().zip(problems).enumerate().map(encode).collect()
}

fn at(file: &Path, line: usize, error: &dyn std::fmt::Display) -> PipelineError {
    PipelineError::corrupt(file, format!("line {}: {error}", line + 1))
}

fn read_lines<T: for<'a> Deserialize<'a>>(
    file: &Path,
    hasher: &mut blake3::Hasher,
) -> Result<Vec<T>> {
    let reader = BufReader::new(File::open(file).map_err(|e| PipelineError::io("open", file, e))?);
    let mut lines = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| PipelineError::io("read", file, e))?;
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
        lines.push(serde_json::from_str(&line).map_err(|e| at(file, number, &e))?);
    }
    if lines.is_empty() {
        return Err(PipelineError::corrupt(
            file,
            "is empty; one problem a line is needed",
        ));
    }
    Ok(lines)
}

impl Corpus for FileCorpus {
    fn codec(&self) -> &Codec {
        &self.codec
    }

    fn train_lengths(&self) -> Vec<[usize; 2]> {
        let mut lengths = vec![[usize::MAX, 0]; self.codec.tasks.len()];
        for example in &self.train {
            let range = &mut lengths[example.task];
            *range = [range[0].min(example.length), range[1].max(example.length)];
        }
        lengths
    }

    fn source(
        &self,
        batching: &Batching,
        _: Option<&Curriculum>,
        seed: u64,
    ) -> Result<Box<dyn ExampleSource>> {
        Ok(Box::new(ExampleListSource::new(
            self.train.clone(),
            batching.clone(),
            seed,
        )?))
    }

    fn valid(&self, samples: usize) -> Result<Vec<Example>> {
        Ok(self
            .valid
            .iter()
            .take(samples * self.codec.tasks.len())
            .cloned()
            .collect())
    }

    fn test(&self, samples: usize) -> Result<Vec<Example>> {
        let mut taken: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let within = |example: &&Example| {
            let count = taken.entry((example.task, example.length)).or_insert(0);
            *count += 1;
            *count <= samples
        };
        Ok(self.test.iter().filter(within).cloned().collect())
    }

    fn original(&self) -> Result<Vec<Problem>> {
        Ok(self.original.clone())
    }

    fn longer(&self, round: usize) -> Result<Vec<Unsolved>> {
        Ok(if round == 0 {
            self.longer.clone()
        } else {
            Vec::new()
        })
    }

    fn originals(&self, _each: usize) -> Result<Vec<Problem>> {
        Ok(self.original.clone())
    }

    fn phase(&self, _phase: usize, _round: usize) -> Result<Vec<Unsolved>> {
        Ok(Vec::new())
    }

    fn truth(&self, problem: &Problem) -> Option<Problem> {
        self.truth
            .get(&(problem.task.clone(), problem.prompt.clone()))
            .cloned()
    }

    fn fingerprint(&self) -> Result<Value> {
        Ok(json!({ "files": self.hash }))
    }
}
