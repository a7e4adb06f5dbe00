//! The user's own data: problems with solutions to learn from, longer ones without, and a test set, as JSONL files.

use std::collections::BTreeMap;

use relay_tasks::{Codec, Example, Problem, TaskError};
use relay_train::{Batching, Curriculum, ExampleListSource, ExampleSource};
use serde_json::{Value, json};

use crate::{
    Corpus, DataUse, FileSettings, PipelineError, Question, Result,
    corpus::{Sizes, Unsolved},
    json::to_value,
    line_file::at,
};

mod aside;
mod checks;
mod encode;
mod lines;

use aside::{set_aside, split};
use checks::{
    check_sizes, check_training_sizes, first_of_each, most_of, warn_of_gaps, warn_of_odd_lines,
    warn_of_shared, warn_of_unwatched, widest_step,
};
use encode::{encode_all, encode_longer, width_of};
use lines::{SolvedLine, UnsolvedLine, bare, problem, read_lines};

/// Name of the task where a line names none.
pub const DEFAULT_TASK: &str = "data";

/// Number of the rules by which lines are set aside, windows are widened and test problems counted: what was made by others is
/// made anew.
const RULES: u32 = 7;

/// Problems from files.
#[derive(Debug)]
pub struct FileCorpus {
    codec: Codec,
    train: Vec<Example>,
    valid: Vec<Example>,
    test: Vec<Example>,
    original: Vec<Problem>,
    longer: Vec<Unsolved>,
    /// How many tokens the widest training step had beyond its problem.
    beyond: usize,
    /// How large a problem may be.
    most: Sizes,
    truth: BTreeMap<(String, String), Problem>,
    hashes: Hashes,
}

/// What the three files hold, and the vocabulary of the first two, as hashes.
#[derive(Debug, Default)]
struct Hashes {
    codec: String,
    train: String,
    longer: String,
    test: String,
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
        let (solved, train_hash) = read_lines::<SolvedLine>(&files.train)?;
        let (unsolved, longer_hash) = read_lines::<UnsolvedLine>(&files.longer)?;
        let (tests, test_hash) = read_lines::<SolvedLine>(&files.test)?;

        let original: Vec<Problem> = solved.into_iter().map(problem).collect();
        let longer: Vec<Problem> = unsolved.iter().map(bare).collect();
        let codec = codec_of(&original, &longer, files)?;
        let codec_hash = blake3::hash(to_value(&codec)?.to_string().as_bytes());
        let mut train = encode_all(&codec, &files.train, &original)?;
        check_training_sizes(&train, &files.train)?;
        let (beyond, most) = (widest_step(&train, &files.train)?, most_of(&train));
        widen(&mut train, beyond);
        let aside = set_aside(&original);
        let (valid, train) = split(train, &aside);
        let longer = encode_longer(&codec, &files.longer, &unsolved, longer, beyond)?;
        check_sizes(longer.iter().map(|one| &one.example), most, &files.longer)?;
        let longer = first_of_each(longer, |one| &one.problem, &files.longer);
        let tests: Vec<Problem> = tests.into_iter().map(problem).collect();
        let test = encode_all(&codec, &files.test, &tests)?;
        check_sizes(test.iter(), most, &files.test)?;
        let both = tests.into_iter().zip(test).collect();
        let both = first_of_each(both, |(problem, _)| problem, &files.test);
        let (tests, mut test): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        widen(&mut test, beyond);
        test.sort_by_key(|example| (example.task, example.length));
        warn_of_shared(&original, &longer, &tests, files);
        warn_of_odd_lines(&codec, &original, &files.train);
        warn_of_unwatched(&codec, &valid, &files.train);
        warn_of_gaps(&codec, &train, &test, &files.test);
        // What watches a training is not learnt from in any of them.
        let (_, original) = split(original, &aside);
        let key = |problem: &Problem| (problem.task.clone(), problem.prompt.clone());
        let truth = tests.into_iter().map(|problem| (key(&problem), problem));
        Ok(Self {
            codec,
            train,
            valid,
            test,
            original,
            longer,
            beyond,
            most,
            truth: truth.collect(),
            hashes: Hashes {
                codec: codec_hash.to_hex().to_string(),
                train: train_hash,
                longer: longer_hash,
                test: test_hash,
            },
        })
    }
}

impl FileCorpus {
    /// How many tokens a step may have beyond its problem where nobody knows how many those of the training data have.
    pub(crate) const ROOM: usize = 64;

    /// Data of which nothing is left but what a model knows of them: it can be asked.
    pub(crate) fn lost(codec: Codec) -> Self {
        Self {
            codec,
            train: Vec::new(),
            valid: Vec::new(),
            test: Vec::new(),
            original: Vec::new(),
            longer: Vec::new(),
            beyond: Self::ROOM,
            most: most_of(&[]),
            truth: BTreeMap::new(),
            hashes: Hashes::default(),
        }
    }
}

/// Gives solved problems the windows of those that are not solved yet. One that just fits the true steps would cut what a model writes
/// too much, and count it as right; and a model that is only trained on such windows never learns what stands left of a step.
fn widen(examples: &mut [Example], beyond: usize) {
    for example in examples {
        example.width = example.width.max(example.prompt.len() + beyond);
    }
}

/// The vocabulary of the training and the longer problems.
fn codec_of(original: &[Problem], longer: &[Problem], files: &FileSettings) -> Result<Codec> {
    Codec::from_problems(original, longer).map_err(|error| match error {
        // A record is a line of one of the two files.
        TaskError::Record {
            solved,
            number,
            error,
            ..
        } => {
            let file = if solved { &files.train } else { &files.longer };
            at(file, number - 1, &error)
        }
        other => other.into(),
    })
}

/// Up to `most` examples of each kind, in their order.
fn up_to<'a, K: Ord>(
    most: usize,
    examples: &'a [Example],
    kind: impl Fn(&Example) -> K + 'a,
) -> impl Iterator<Item = &'a Example> {
    let mut taken: BTreeMap<K, usize> = BTreeMap::new();
    examples.iter().filter(move |example| {
        let count = taken.entry(kind(example)).or_insert(0);
        *count += 1;
        *count <= most
    })
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
        let of_task = up_to(samples, &self.valid, |example| example.task);
        Ok(of_task.cloned().collect())
    }

    fn test(&self, samples: usize) -> Result<Vec<Example>> {
        let of_length = up_to(samples, &self.test, |example| {
            (example.task, example.length)
        });
        Ok(of_length.cloned().collect())
    }

    fn original(&self, _batching: &Batching) -> Result<Vec<Problem>> {
        Ok(self.original.clone())
    }

    fn longer(&self, round: usize) -> Result<Vec<Unsolved>> {
        Ok(if round == 0 {
            self.longer.clone()
        } else {
            Vec::new()
        })
    }

    fn phase_start(&self, _batching: &Batching, _each: usize) -> Result<Vec<Problem>> {
        Ok(self.original.clone())
    }

    fn phase(&self, _phase: usize, _round: usize) -> Result<Vec<Unsolved>> {
        Ok(Vec::new())
    }

    fn asked(&self, question: &Question) -> Result<Unsolved> {
        let text = &question.problem;
        let Some(iterations) = question.iterations else {
            let right = "said: data from files do not tell how many steps a problem takes";
            return Err(PipelineError::question(
                "the number of iterations",
                "not said",
                right,
            ));
        };
        let sizes = Sizes {
            iterations,
            width: question.width.unwrap_or(width_of(text, self.beyond)),
        };
        question.encoded(&self.codec, iterations, sizes, self.most)
    }

    fn truth(&self, problem: &Problem) -> Option<Problem> {
        self.truth
            .get(&(problem.task.clone(), problem.prompt.clone()))
            .cloned()
    }

    fn fingerprint(&self, of: DataUse) -> Result<Value> {
        let Hashes {
            codec,
            train,
            longer,
            test,
        } = &self.hashes;
        Ok(match of {
            DataUse::Original | DataUse::Phase(_) => json!({ "train": train, "rules": RULES }),
            // Of the longer problems a model that learns knows the tokens alone.
            DataUse::Training => json!({ "train": train, "codec": codec, "rules": RULES }),
            // As does what it is asked at the end.
            DataUse::Test => {
                json!({ "train": train, "codec": codec, "test": test, "rules": RULES })
            }
            // Where the test problems hold the truth of a longer one, it is counted how many chains are right.
            DataUse::Longer => {
                json!({ "train": train, "longer": longer, "test": test, "rules": RULES })
            }
        })
    }
}

#[cfg(test)]
mod tests;
