//! Examples from a list in memory: merged data of Stage II, and data of one's own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use relay_tasks::{Example, Stream};
use serde_json::{Value, json};

use crate::{Batching, ExampleSource, Result, TrainError};

/// The examples of a list, epoch after epoch, each in an order of its own that depends on the seed alone.
///
/// With [`Batching::OneLength`] every task goes through its own examples at its own pace, in batches of one length.
#[derive(Debug)]
pub struct ExampleListSource {
    examples: Vec<Example>,
    batching: Batching,
    /// What is shuffled each epoch: all examples at once, or the batches of each task.
    decks: Vec<Deck>,
    seed: u64,
    /// BLAKE3 hash of the examples.
    hash: String,
}

impl ExampleListSource {
    /// A source over solved examples.
    ///
    /// # Errors
    /// When a setting is wrong, there is no example, or one is not solved.
    pub fn new(examples: Vec<Example>, batching: Batching, seed: u64) -> Result<Self> {
        batching.validate()?;
        if examples.is_empty() {
            let what = "the list of examples";
            let expected = "at least one example long";
            return Err(TrainError::input(what, "empty", expected));
        }
        if let Some(at) = examples
            .iter()
            .position(|e| e.answer.is_none() || e.steps.is_empty())
        {
            let what = format!("`examples[{at}]`");
            let expected = "a problem with steps and answer";
            return Err(TrainError::input(what, "not solved", expected));
        }
        let decks = match batching {
            Batching::Mixed { .. } => vec![Deck::new(
                0,
                vec![Bucket::new((0..examples.len()).collect(), 1)],
            )],
            Batching::OneLength { tokens } => one_length_decks(&examples, tokens),
        };
        Ok(Self {
            hash: hash_examples(&examples),
            examples,
            batching,
            decks,
            seed,
        })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Never: a source needs an example.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }
}

impl ExampleSource for ExampleListSource {
    fn examples(&self, step: u64) -> Result<Vec<Example>> {
        let take = match self.batching {
            Batching::Mixed { samples } => samples as u64,
            Batching::OneLength { .. } => 1,
        };
        let mut examples = Vec::new();
        for deck in &self.decks {
            for place in step * take..(step + 1) * take {
                examples.extend(
                    deck.batch(self.seed, place)
                        .iter()
                        .map(|&index| self.examples[index].clone()),
                );
            }
        }
        Ok(examples)
    }

    fn settings(&self) -> Value {
        json!({
            "examples": self.examples.len(), "hash": self.hash, "batching": self.batching, "seed": self.seed,
        })
    }
}

/// BLAKE3 hash of all that is in the examples, in their order.
pub fn hash_examples(examples: &[Example]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut number = |number: usize| {
        hasher.update(&(number as u64).to_le_bytes());
    };
    for example in examples {
        let Example {
            task,
            length,
            iterations,
            width,
            prompt,
            steps,
            answer,
        } = example;
        // How many follow comes before them: no two lists are the same numbers.
        for shape in [*task, *length, *iterations, *width, steps.len()] {
            number(shape);
        }
        for tokens in [prompt].into_iter().chain(steps) {
            number(tokens.len());
            tokens.iter().for_each(|token| number(*token as usize));
        }
        number(answer.map_or(usize::MAX, |token| token as usize));
    }
    hasher.finalize().to_hex().to_string()
}

/// One deck for each task, one bucket for each of its lengths.
fn one_length_decks(examples: &[Example], tokens: usize) -> Vec<Deck> {
    let mut tasks: BTreeMap<usize, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        tasks
            .entry(example.task)
            .or_default()
            .entry(example.length)
            .or_default()
            .push(index);
    }
    let bucket = |members: Vec<usize>| {
        let width = members
            .iter()
            .map(|&index| examples[index].width)
            .max()
            .unwrap_or(1)
            .max(1);
        Bucket::new(members, (tokens / width).max(1))
    };
    let deck = |(task, lengths): (usize, BTreeMap<usize, Vec<usize>>)| {
        Deck::new(task as u64, lengths.into_values().map(bucket).collect())
    };
    tasks.into_iter().map(deck).collect()
}

/// Examples that may stand in one batch.
#[derive(Debug)]
struct Bucket {
    members: Vec<usize>,
    batches: usize,
}

impl Bucket {
    fn new(members: Vec<usize>, size: usize) -> Self {
        let batches = members.len().div_ceil(size);
        Self { members, batches }
    }
}

/// The batches of one epoch, as indices of examples.
type Epoch = Arc<Vec<Vec<usize>>>;

/// Batches that are gone through in epochs.
#[derive(Debug)]
struct Deck {
    name: u64,
    buckets: Vec<Bucket>,
    batches: u64,
    /// The epoch used last: asking for one step after the other shuffles once an epoch.
    last: Mutex<Option<(u64, Epoch)>>,
}

impl Deck {
    fn new(name: u64, buckets: Vec<Bucket>) -> Self {
        let batches = buckets.iter().map(|bucket| bucket.batches as u64).sum();
        Self {
            name,
            buckets,
            batches,
            last: Mutex::new(None),
        }
    }

    fn batch(&self, seed: u64, place: u64) -> Vec<usize> {
        let epoch = self.epoch(seed, place / self.batches);
        epoch[(place % self.batches) as usize].clone()
    }

    /// All batches in the order of an epoch.
    fn epoch(&self, seed: u64, epoch: u64) -> Epoch {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, batches)) = &*last
            && *known == epoch
        {
            return Arc::clone(batches);
        }
        let mut stream = Stream::named(seed, "epoch", &[self.name, epoch]);
        let mut batches = Vec::with_capacity(self.batches as usize);
        for bucket in &self.buckets {
            let mut members = bucket.members.clone();
            stream.shuffle(&mut members);
            // Of even sizes: a small rest would weigh as much as a whole batch.
            let cut = |batch: usize| batch * members.len() / bucket.batches;
            batches.extend(
                (0..bucket.batches).map(|batch| members[cut(batch)..cut(batch + 1)].to_vec()),
            );
        }
        stream.shuffle(&mut batches);
        let batches = Arc::new(batches);
        *last = Some((epoch, Arc::clone(&batches)));
        batches
    }
}
