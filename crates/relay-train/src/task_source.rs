//! Examples drawn from tasks, fresh ones for every update.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use relay_tasks::{Codec, Dataset, Example, Split, Stream, Task};
use serde_json::{Value, json};

use crate::{Batching, Curriculum, ExampleSource, Result, TrainError};

/// Draws a task's examples of one update apart from those of the next: no update has more.
const INDICES_PER_STEP: u64 = 1 << 24;

/// Examples of the training split of some tasks. The mean loss of a length counts in proportion to the length, as in the paper: by
/// [`Mixed`](Batching::Mixed) batching through the number of its samples, by [`OneLength`](Batching::OneLength) through the
/// number of updates, of which a longer one has fewer samples.
#[derive(Debug)]
pub struct TaskSource {
    data: Vec<Dataset>,
    codec: Codec,
    batching: Batching,
    curriculum: Option<Curriculum>,
    seed: u64,
}

impl TaskSource {
    /// A source over `tasks` with one range of lengths each; `codec` must be theirs. A problem of each length is drawn to see that there
    /// is one.
    ///
    /// # Errors
    /// When a setting is wrong, a task has no such lengths or no training problem of one of them, the codec does not know a task, be
    /// it one of `tasks` or one that the curriculum names, or it has a task in another dialect.
    pub fn new(
        tasks: Vec<Arc<dyn Task>>,
        lengths: Vec<RangeInclusive<usize>>,
        codec: Codec,
        batching: Batching,
        curriculum: Option<Curriculum>,
        seed: u64,
    ) -> Result<Self> {
        batching.validate()?;
        curriculum.as_ref().map_or(Ok(()), Curriculum::validate)?;
        if tasks.is_empty() || tasks.len() != lengths.len() {
            let expected = format!("one for each of at least one task, {} here", tasks.len());
            return Err(TrainError::setting(
                "lengths",
                format!("{} ranges", lengths.len()),
                expected,
            ));
        }
        let named = curriculum.iter().flat_map(|curriculum| &curriculum.tasks);
        for name in tasks
            .iter()
            .map(|task| task.name())
            .chain(named.map(String::as_str))
        {
            codec.task_index(name)?;
        }
        for task in &tasks {
            codec.check_task(task.as_ref())?;
        }
        let data = tasks.into_iter().zip(lengths);
        let data = data.map(|(task, lengths)| Dataset::new(task, lengths, seed, Split::Train));
        let data: Vec<Dataset> = data.collect::<Result<_, _>>()?;
        // A rare length without any problem would end the training when it is first drawn, hours later maybe.
        for one in &data {
            for length in one.lengths() {
                one.get_with_length(0, length)?;
            }
        }
        Ok(Self {
            data,
            codec,
            batching,
            curriculum,
            seed,
        })
    }

    fn lengths(&self, step: u64, data: &Dataset) -> RangeInclusive<usize> {
        let all = data.lengths();
        self.curriculum.as_ref().map_or(all.clone(), |curriculum| {
            curriculum.lengths(step, data.task().name(), &all)
        })
    }

    fn example(&self, data: &Dataset, step: u64, index: u64, length: usize) -> Result<Example> {
        let problem = data.get_with_length(step * INDICES_PER_STEP + index, length)?;
        Ok(self.codec.encode_for(data.task().as_ref(), &problem)?)
    }

    fn mixed(&self, step: u64, samples: usize) -> Result<Vec<Example>> {
        let mut stream = Stream::named(self.seed, "tasks and lengths", &[step]);
        let draw = |index| {
            let data = &self.data[stream.below(self.data.len() as u64) as usize];
            let length = draw_length(&mut stream, self.lengths(step, data));
            self.example(data, step, index, length)
        };
        (0..samples as u64).map(draw).collect()
    }

    /// As many examples of one length as fit into about `tokens` columns.
    fn one_length(&self, step: u64, task: usize, tokens: usize) -> Result<Vec<Example>> {
        let data = &self.data[task];
        let mut stream = Stream::named(self.seed, "length", &[step, task as u64]);
        let length = draw_length(&mut stream, self.lengths(step, data));
        let (mut examples, mut width) = (Vec::new(), 0);
        for index in 0..INDICES_PER_STEP {
            let example = self.example(data, step, index, length)?;
            width = width.max(example.width);
            if !examples.is_empty() && (examples.len() + 1) * width > tokens {
                break;
            }
            examples.push(example);
        }
        Ok(examples)
    }
}

impl ExampleSource for TaskSource {
    fn examples(&self, step: u64) -> Result<Vec<Example>> {
        match self.batching {
            Batching::Mixed { samples } => self.mixed(step, samples),
            Batching::OneLength { tokens } => {
                let mut examples = Vec::new();
                for task in 0..self.data.len() {
                    examples.extend(self.one_length(step, task, tokens)?);
                }
                Ok(examples)
            }
        }
    }

    fn settings(&self) -> Value {
        let lengths = self.data.iter().map(|data| {
            let (name, lengths) = (data.task().name(), data.lengths());
            (name, [*lengths.start(), *lengths.end()])
        });
        let drawing = self.data.iter().filter_map(|data| {
            let (name, drawing) = (data.task().name(), data.task().drawing());
            (!drawing.is_null()).then_some((name, drawing))
        });
        let drawing: BTreeMap<_, _> = drawing.collect();
        let mut settings = json!({
            "lengths": lengths.collect::<BTreeMap<_, _>>(),
            "batching": self.batching,
            "curriculum": self.curriculum,
            "seed": self.seed,
        });
        // Left out where there is none, so that checkpoints from before there was such a field can be resumed.
        if !drawing.is_empty() {
            settings["drawing"] = json!(drawing);
        }
        settings
    }
}

/// A length of the range, each as likely as it is long.
fn draw_length(stream: &mut Stream, lengths: RangeInclusive<usize>) -> usize {
    let mut place = stream.below(lengths.clone().map(|length| length as u64).sum());
    for length in lengths.clone() {
        if place < length as u64 {
            return length;
        }
        place -= length as u64;
    }
    *lengths.end()
}
