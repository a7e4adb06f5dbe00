//! Problems as tokens and back, under one vocabulary.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Chain, Dialect, EOS, Example, PAD, Problem, Result, Task, TaskError, TokenId, Vocab,
    chain::check_form, error::excerpt, problem::check_solved,
};

/// Most iterations, and widest step, of a problem that somebody has only announced: memory must not depend on a typing error.
const LARGEST: usize = 1 << 20;

/// What the tokens of one task mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Short name.
    pub name: String,
    /// The token that stands before every problem.
    pub tag: String,
    /// The dialect of the task.
    pub dialect: Dialect,
    /// The token that ends a step; `None` if `<sep>` has to be put after each.
    pub step_end: Option<TokenId>,
    /// Whether the last step is the answer.
    pub answer_is_last_step: bool,
}

/// The vocabulary and the tasks of a model: what a checkpoint has to remember to be of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Codec {
    /// All tokens.
    pub vocab: Vocab,
    /// The tasks, in the order of [`Example::task`].
    pub tasks: Vec<TaskInfo>,
}

impl Codec {
    /// The codec of some tasks.
    ///
    /// # Errors
    /// When two tasks have one name or tag, a token cannot be, or a step end is no token of its task.
    pub fn for_tasks(tasks: &[Arc<dyn Task>]) -> Result<Self> {
        let vocab = Vocab::for_tasks(tasks)?;
        let mut infos: Vec<TaskInfo> = Vec::with_capacity(tasks.len());
        for task in tasks {
            let name = task.name();
            if infos.iter().any(|info| info.name == name) {
                return Err(TaskError::data(format!(
                    "two tasks are called `{name}`; each needs its own name"
                )));
            }
            let format = task.chain_format();
            let unknown = |token: &str| {
                TaskError::data(format!(
                    "the steps of `{name}` end in `{token}`, which is no token of the task or a reserved one"
                ))
            };
            let find = |token: &str| {
                vocab
                    .id(token)
                    .filter(|id| ![PAD, EOS].contains(id))
                    .ok_or_else(|| unknown(token))
            };
            infos.push(TaskInfo {
                name: name.to_owned(),
                tag: task.tag(),
                dialect: task.dialect(),
                step_end: format.step_end.as_deref().map(find).transpose()?,
                answer_is_last_step: format.answer_is_last_step,
            });
        }
        Ok(Self {
            vocab,
            tasks: infos,
        })
    }

    /// The index of the task called `name`.
    ///
    /// # Errors
    /// When there is none; the message lists those there are.
    pub fn task_index(&self, name: &str) -> Result<usize> {
        self.tasks
            .iter()
            .position(|task| task.name == name)
            .ok_or_else(|| {
                let known: Vec<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
                TaskError::UnknownTask {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })
    }

    /// That `task` is one of the codec's, in the same dialect.
    ///
    /// # Errors
    /// When there is no task of that name, or it is in another dialect or has another tag.
    pub fn check_task(&self, task: &dyn Task) -> Result<()> {
        let own = &self.tasks[self.task_index(task.name())?];
        let found = task.dialect();
        if own.dialect != found {
            return Err(TaskError::MixedDialects {
                task: own.name.clone(),
                expected: Box::new(own.dialect.clone()),
                found: Box::new(found),
            });
        }
        if own.tag == task.tag() {
            return Ok(());
        }
        let (name, expected, found) = (&own.name, &own.tag, task.tag());
        Err(TaskError::data(format!(
            "the tag of `{name}` is `{found}` where `{expected}` is expected"
        )))
    }

    /// A solved problem of `task` as tokens, in a window as wide as one that is not solved yet: by
    /// [`step_width`](Task::step_width) alone, where that is more than the problem. What is trained, measured and asked then has the
    /// same window, and none tells how wide the true steps are.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and when the text is no problem of the task, there are not as many steps as the
    /// task says, or wider ones.
    pub fn encode_for(&self, task: &dyn Task, problem: &Problem) -> Result<Example> {
        let mut example = self.encode(problem)?;
        let prompt = &problem.prompt;
        let wrong = |reason: String| Err(refused(&problem.task, prompt, &reason));
        let (width, iterations) = (task.step_width(prompt)?, task.iterations(prompt)?);
        if iterations != example.steps.len() {
            let found = example.steps.len();
            return wrong(format!(
                "it has {found} steps where the task says {iterations} iterations"
            ));
        }
        let wide = |step: &Vec<TokenId>| step.len() > width;
        if let Some(at) = example.steps.iter().position(wide) {
            let (number, found) = (at + 1, example.steps[at].len());
            return wrong(format!(
                "its step {number} has {found} tokens where the task says at most {width}"
            ));
        }
        example.width = example.width.max(width);
        Ok(example)
    }

    /// A solved problem as tokens, in a window as wide as the problem or its widest step.
    ///
    /// # Errors
    /// When the task or a token is unknown or a token reserved; when there is no step, an empty one, or the answer is not
    /// one token; when the steps could not be told apart in a text (see [`write_chain`](crate::write_chain)).
    pub fn encode(&self, problem: &Problem) -> Result<Example> {
        let task = self.task_index(&problem.task)?;
        let prompt = self.prompt(task, &problem.prompt)?;
        let wrong = |reason: String| refused(&problem.task, &problem.prompt, &reason);
        check_solved(problem).map_err(wrong)?;
        let mut steps = Vec::with_capacity(problem.steps.len());
        for (index, step) in problem.steps.iter().enumerate() {
            let place = || {
                format!(
                    "step {} of `{}` (task `{}`)",
                    index + 1,
                    excerpt(&problem.prompt),
                    problem.task
                )
            };
            steps.push(self.vocab.encode_data(step, place)?);
        }
        let place = || {
            format!(
                "the answer to `{}` (task `{}`)",
                excerpt(&problem.prompt),
                problem.task
            )
        };
        // One token, as was checked.
        let answer = self.vocab.encode_data(&problem.answer, place)?[0];
        let name = |token| format!("`{}`", self.vocab.decode(&[token]));
        check_form(&self.tasks[task], &steps, answer, name).map_err(wrong)?;
        let width = steps.iter().map(Vec::len).fold(prompt.len(), usize::max);
        Ok(Example {
            task,
            length: problem.length,
            iterations: steps.len(),
            width,
            prompt,
            steps,
            answer: Some(answer),
        })
    }

    /// An unsolved problem as tokens: its number of iterations and the most tokens that a step can have are all that has
    /// to be known.
    ///
    /// # Errors
    /// When the task or a token is unknown or a token reserved, the problem is empty, or `iterations` or `step_width` is
    /// out of range.
    pub fn encode_prompt(
        &self,
        task: &str,
        length: usize,
        prompt: &str,
        iterations: usize,
        step_width: usize,
    ) -> Result<Example> {
        let index = self.task_index(task)?;
        let tokens = self.prompt(index, prompt)?;
        let wrong = |reason: String| Err(refused(task, prompt, &reason));
        if !(1..=LARGEST).contains(&iterations) {
            return wrong(format!(
                "it has {iterations} iterations, needs 1 to {LARGEST}"
            ));
        }
        if step_width > LARGEST {
            return wrong(format!(
                "its steps have {step_width} tokens, needs up to {LARGEST}"
            ));
        }
        let width = tokens.len().max(step_width);
        Ok(Example {
            task: index,
            length,
            iterations,
            width,
            prompt: tokens,
            steps: Vec::new(),
            answer: None,
        })
    }

    /// Tag and problem as tokens.
    fn prompt(&self, task: usize, prompt: &str) -> Result<Vec<TokenId>> {
        let TaskInfo { name, tag, .. } = &self.tasks[task];
        let mut tokens = self
            .vocab
            .encode_data(prompt, || format!("`{}` (task `{name}`)", excerpt(prompt)))?;
        if tokens.is_empty() {
            return Err(TaskError::data(format!(
                "a problem of `{name}` is empty, needs at least one token"
            )));
        }
        tokens.insert(
            0,
            self.vocab.id(tag).ok_or_else(|| {
                TaskError::data(format!(
                    "the tag `{tag}` of `{name}` is not in the vocabulary"
                ))
            })?,
        );
        Ok(tokens)
    }

    /// The problem of `example` with the steps and the answer of `chain`, as text.
    pub fn decode_chain(&self, example: &Example, chain: &Chain) -> Problem {
        Problem {
            task: self
                .tasks
                .get(example.task)
                .map(|task| task.name.clone())
                .unwrap_or_default(),
            length: example.length,
            prompt: self
                .vocab
                .decode(example.prompt.get(1..).unwrap_or_default()),
            steps: chain
                .steps
                .iter()
                .map(|step| self.vocab.decode(step))
                .collect(),
            answer: chain
                .answer
                .map(|answer| self.vocab.decode(&[answer]))
                .unwrap_or_default(),
        }
    }

    /// That `other` speaks of the same tasks in the same dialects and tokens; `self` is what was expected.
    ///
    /// # Errors
    /// Names both dialects, or the first token that differs.
    pub fn check_same(&self, other: &Self) -> Result<()> {
        let names = |codec: &Self| {
            codec
                .tasks
                .iter()
                .map(|task| task.name.clone())
                .collect::<Vec<_>>()
                .join(", ")
        };
        if names(self) != names(other) {
            return Err(TaskError::data(format!(
                "tasks {} where {} are expected",
                names(other),
                names(self)
            )));
        }
        for (expected, found) in self.tasks.iter().zip(&other.tasks) {
            if expected.dialect != found.dialect {
                return Err(TaskError::MixedDialects {
                    task: expected.name.clone(),
                    expected: Box::new(expected.dialect.clone()),
                    found: Box::new(found.dialect.clone()),
                });
            }
        }
        self.vocab.check_same(&other.vocab)?;
        if self == other {
            Ok(())
        } else {
            Err(TaskError::data(
                "the tasks write their chains in different forms",
            ))
        }
    }
}

fn refused(task: &str, prompt: &str, reason: &str) -> TaskError {
    TaskError::data(format!(
        "problem `{}` of `{task}`: {reason}",
        excerpt(prompt)
    ))
}
