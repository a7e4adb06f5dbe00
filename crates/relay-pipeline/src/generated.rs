//! Problems drawn from tasks.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use relay_tasks::{Codec, Dataset, Example, Problem, Split, Task, TaskError};
use relay_train::{Batching, Curriculum, ExampleSource, TaskSource};
use serde_json::{Value, json};

use crate::{
    Corpus, DataUse, PipelineError, Question, Result, TaskSettings, Unsolved, corpus::Sizes,
};

mod drawn;

use drawn::Drawn;

pub(crate) use drawn::Lengths;
pub use drawn::OwnTask;

/// The largest problem that is computed on demand, far beyond those of the paper: memory must not depend on a typing error.
const MOST: Sizes = Sizes {
    iterations: 4096,
    width: 4096,
};

/// Problems drawn from tasks.
#[derive(Debug)]
pub struct GeneratedCorpus {
    tasks: Vec<Drawn>,
    codec: Codec,
    seed: u64,
}

impl GeneratedCorpus {
    /// The corpus of `tasks`; every problem is a pure function of these settings and `seed`.
    ///
    /// # Errors
    /// When a task's dialect is not possible.
    pub fn new(tasks: &[TaskSettings], seed: u64) -> Result<Self> {
        let drawn = tasks.iter().map(Drawn::of_settings);
        Self::of(drawn.collect::<Result<_>>()?, seed)
    }

    /// The corpus of tasks that the crates do not know, for [`Pipeline::open_with`](crate::Pipeline::open_with). Every problem is a
    /// pure function of the task, these lengths and `seed`: that of the run's settings.
    ///
    /// # Errors
    /// When there is no task, two have the same name, one does not have the lengths that are asked for, or the dialects do not
    /// make a vocabulary.
    pub fn of_tasks(tasks: Vec<OwnTask>, seed: u64) -> Result<Self> {
        let tasks = tasks.into_iter().map(Drawn::of_own);
        let tasks = tasks.collect::<Result<Vec<_>>>()?;
        let names: BTreeSet<&str> = tasks.iter().map(|drawn| drawn.task.name()).collect();
        if tasks.is_empty() || names.len() < tasks.len() {
            let found = format!("{} tasks of {} names", tasks.len(), names.len());
            let right = "at least one task, each of a name of its own";
            return Err(PipelineError::settings("data.own", found, right));
        }
        Self::of(tasks, seed)
    }

    fn of(tasks: Vec<Drawn>, seed: u64) -> Result<Self> {
        let built: Vec<_> = tasks.iter().map(|drawn| Arc::clone(&drawn.task)).collect();
        let codec = Codec::for_tasks(&built)?;
        Ok(Self { tasks, codec, seed })
    }

    /// The first problems of the training split, as many of each task as `number` says, of each length about the share that
    /// it has in updates of `batching`.
    fn first_problems(
        &self,
        batching: &Batching,
        number: impl Fn(&Lengths) -> usize,
    ) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        for Drawn { task, lengths, .. } in &self.tasks {
            let [shortest, longest] = lengths.train;
            let data = Dataset::new(
                Arc::clone(task),
                shortest..=longest,
                self.seed,
                Split::Train,
            )?;
            for index in 0..number(lengths) {
                let problem = match batching {
                    Batching::Mixed { .. } => data.get(index as u64),
                    // An update of a length comes in proportion to it, and of twice the length half as many samples fit into one.
                    Batching::OneLength { .. } => {
                        let length = shortest + index % (longest - shortest + 1);
                        data.get_with_length(index as u64, length)
                    }
                };
                problems.push(problem?);
            }
        }
        Ok(problems)
    }

    /// The first `samples` problems of `data`, lengths that have none in its split left out.
    fn first_there(&self, data: &Dataset, samples: usize) -> Result<Vec<Example>> {
        let task = data.task().as_ref();
        let (mut examples, mut empty) = (Vec::new(), BTreeSet::new());
        for index in 0..(samples as u64).saturating_mul(4) {
            let length = data.length_of(index);
            if examples.len() == samples || empty.len() == data.lengths().count() {
                break;
            }
            // That there is none takes long to find out.
            if empty.contains(&length) {
                continue;
            }
            match data.get(index) {
                Err(TaskError::EmptySplit { .. }) => {
                    empty.insert(length);
                }
                problem => examples.push(self.codec.encode_for(task, &problem?)?),
            }
        }
        Ok(examples)
    }

    fn task(&self, name: &str) -> Option<&dyn Task> {
        let mut tasks = self.tasks.iter().map(|drawn| drawn.task.as_ref());
        tasks.find(|task| task.name() == name)
    }

    fn nothing_to_watch(&self) -> PipelineError {
        let lengths = |Drawn { task, lengths, .. }: &Drawn| {
            let [shortest, longest] = lengths.train;
            format!("{} {shortest}..{longest}", task.name())
        };
        let found: Vec<String> = self.tasks.iter().map(lengths).collect();
        let right = "lengths some of which have problems in the validation split";
        PipelineError::settings("data: train", found.join(", "), right)
    }

    /// `count` problems of one length without solutions, from index `first` on.
    fn draw<'a>(
        &'a self,
        task: &'a dyn Task,
        length: usize,
        count: usize,
        first: u64,
    ) -> impl Iterator<Item = Result<Unsolved>> + 'a {
        (first..first + count as u64).map(move |index| {
            let mut problem = task.generate(self.seed, Split::Train, index, length)?;
            // The generator happens to know the solution; the method must not.
            problem.steps.clear();
            problem.answer.clear();
            let iterations = task.iterations(&problem.prompt)?;
            let width = task.step_width(&problem.prompt)?;
            let prompt = &problem.prompt;
            let example =
                self.codec
                    .encode_prompt(task.name(), length, prompt, iterations, width)?;
            Ok(Unsolved { problem, example })
        })
    }

    /// Up to `samples` different problems of each given length; fewer where a split has fewer, none where it has none.
    fn distinct(
        &self,
        task: &dyn Task,
        split: Split,
        lengths: RangeInclusive<usize>,
        samples: usize,
    ) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for length in lengths {
            let mut seen = std::collections::HashSet::new();
            for index in 0..(samples as u64).saturating_mul(4) {
                let problem = match task.generate(self.seed, split, index, length) {
                    Err(TaskError::EmptySplit { .. }) => break,
                    problem => problem?,
                };
                if seen.insert(problem.prompt.clone()) {
                    examples.push(self.codec.encode_for(task, &problem)?);
                }
                if seen.len() == samples {
                    break;
                }
            }
        }
        Ok(examples)
    }
}

/// How many problems the rounds before have drawn.
fn drawn_before(round: usize, count: usize) -> u64 {
    round as u64 * count as u64
}

impl Corpus for GeneratedCorpus {
    fn codec(&self) -> &Codec {
        &self.codec
    }

    fn train_lengths(&self) -> Vec<[usize; 2]> {
        let tasks = self.tasks.iter();
        tasks.map(|drawn| drawn.lengths.train).collect()
    }

    fn source(
        &self,
        batching: &Batching,
        curriculum: Option<&Curriculum>,
        seed: u64,
    ) -> Result<Box<dyn ExampleSource>> {
        let tasks = self.tasks.iter().map(|drawn| Arc::clone(&drawn.task));
        let lengths = self.train_lengths().into_iter();
        let source = TaskSource::new(
            tasks.collect(),
            lengths.map(|[from, to]| from..=to).collect(),
            self.codec.clone(),
            batching.clone(),
            curriculum.cloned(),
            seed,
        )?;
        Ok(Box::new(source))
    }

    fn valid(&self, samples: usize) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for Drawn { task, lengths, .. } in &self.tasks {
            let [from, to] = lengths.train;
            let data = Dataset::new(Arc::clone(task), from..=to, self.seed, Split::Valid)?;
            examples.extend(self.first_there(&data, samples)?);
        }
        if examples.is_empty() && samples > 0 {
            return Err(self.nothing_to_watch());
        }
        Ok(examples)
    }

    fn test(&self, samples: usize) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for Drawn { task, lengths, .. } in &self.tasks {
            let [from, to] = lengths.test;
            examples.extend(self.distinct(task.as_ref(), Split::Test, from..=to, samples)?);
        }
        Ok(examples)
    }

    fn original(&self, batching: &Batching) -> Result<Vec<Problem>> {
        self.first_problems(batching, |lengths| lengths.original)
    }

    fn phase_start(&self, batching: &Batching, each: usize) -> Result<Vec<Problem>> {
        self.first_problems(batching, |_| each)
    }

    fn longer(&self, round: usize) -> Result<Vec<Unsolved>> {
        let mut unsolved = Vec::new();
        for Drawn { task, lengths, .. } in &self.tasks {
            for &(length, count) in &lengths.longer {
                let first = lengths.first_index(length) + drawn_before(round, count);
                self.draw(task.as_ref(), length, count, first)
                    .try_for_each(|problem| problem.map(|problem| unsolved.push(problem)))?;
            }
        }
        Ok(unsolved)
    }

    fn phase(&self, phase: usize, round: usize) -> Result<Vec<Unsolved>> {
        // Phases may have the same length: each draws where no other does.
        let first = (phase as u64) << 32;
        let mut unsolved = Vec::new();
        for Drawn { task, lengths, .. } in &self.tasks {
            if let Some(&(length, count)) = lengths.self_phases.get(phase) {
                let first = first + lengths.first_index(length) + drawn_before(round, count);
                self.draw(task.as_ref(), length, count, first)
                    .try_for_each(|problem| problem.map(|problem| unsolved.push(problem)))?;
            }
        }
        Ok(unsolved)
    }

    fn asked(&self, question: &Question) -> Result<Unsolved> {
        // The tasks of the codec are these, in their order.
        let index = self.codec.task_index(question.task(&self.codec)?)?;
        let (task, text) = (&self.tasks[index].task, &question.problem);
        let length = task.length(text)?;
        let sizes = Sizes {
            iterations: question
                .iterations
                .map_or_else(|| task.iterations(text), Ok)?,
            width: question.width.map_or_else(|| task.step_width(text), Ok)?,
        };
        let unsolved = question.encoded(&self.codec, length, sizes, MOST)?;
        // That it has a solution at all, which a model would write in any case.
        task.solve(text)?;
        Ok(unsolved)
    }

    fn truth(&self, problem: &Problem) -> Option<Problem> {
        let solution = self.task(&problem.task)?.solve(&problem.prompt).ok()?;
        Some(Problem {
            steps: solution.steps,
            answer: solution.answer,
            ..problem.clone()
        })
    }

    fn has_one_chain(&self, task: &str) -> bool {
        self.task(task).is_some_and(Task::has_one_chain)
    }

    fn fingerprint(&self, of: DataUse) -> Result<Value> {
        let part = |drawn: &Drawn| {
            let Lengths {
                train,
                test,
                original,
                longer,
                self_phases,
            } = &drawn.lengths;
            // The dialects of all tasks make the vocabulary, whatever the use.
            let task = &drawn.made_from;
            match of {
                DataUse::Training => json!([task, train]),
                DataUse::Longer => json!([task, longer]),
                DataUse::Original => json!([task, train, original]),
                // The first phase begins with original data.
                DataUse::Phase(phase) => json!([task, train, self_phases.get(phase)]),
                DataUse::Test => json!([task, test]),
            }
        };
        let tasks: Vec<Value> = self.tasks.iter().map(part).collect();
        Ok(json!({ "tasks": tasks, "seed": self.seed }))
    }
}

#[cfg(test)]
mod tests;
