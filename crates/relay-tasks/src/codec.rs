//! Problems as tokens and back, under one vocabulary.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Chain, Dialect, EOS, PAD, Problem, Result, Task, TaskError, TokenId, Vocab,
    chain::check_form,
    error::excerpt,
};

/// Most iterations, and widest step, of a problem that somebody has only announced: memory must not hang on a typing error.
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

/// A problem as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Index of the task in [`Codec::tasks`].
    pub task: usize,
    /// Problem length.
    pub length: usize,
    /// Steps, and iterations T of the looped model.
    pub iterations: usize,
    /// Natural width of the window: the longest of the input and the steps.
    pub width: usize,
    /// The tag, then the problem.
    pub prompt: Vec<TokenId>,
    /// The steps; empty while nobody has solved the problem.
    pub steps: Vec<Vec<TokenId>>,
    /// The answer, if somebody has solved the problem.
    pub answer: Option<TokenId>,
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
                return Err(TaskError::data(format!("two tasks are called `{name}`; each needs its own name")));
            }
            let format = task.chain_format();
            let unknown = |token: &str| {
                TaskError::data(format!("the steps of `{name}` end in `{token}`, which is no token of the task or a reserved one"))
            };
            let find = |token: &str| vocab.id(token).filter(|id| ![PAD, EOS].contains(id)).ok_or_else(|| unknown(token));
            infos.push(TaskInfo {
                name: name.to_owned(),
                tag: task.tag(),
                dialect: task.dialect(),
                step_end: format.step_end.as_deref().map(find).transpose()?,
                answer_is_last_step: format.answer_is_last_step,
            });
        }
        Ok(Self { vocab, tasks: infos })
    }

    /// The index of the task called `name`.
    ///
    /// # Errors
    /// When there is none; the message lists those there are.
    pub fn task_index(&self, name: &str) -> Result<usize> {
        self.tasks.iter().position(|task| task.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.tasks.iter().map(|task| task.name.as_str()).collect();
            TaskError::UnknownTask { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// A solved problem as tokens.
    ///
    /// # Errors
    /// When the task or a token is unknown or a token reserved; when there is no step, an empty one, or the answer is not
    /// one token; when the steps could not be told apart in a text (see [`write_chain`](crate::write_chain)).
    pub fn encode(&self, problem: &Problem) -> Result<Example> {
        let task = self.task_index(&problem.task)?;
        let prompt = self.prompt(task, &problem.prompt)?;
        let wrong = |reason: String| refused(&problem.task, &problem.prompt, &reason);
        if problem.steps.is_empty() {
            return Err(wrong("it has no steps, needs at least one".to_owned()));
        }
        let mut steps = Vec::with_capacity(problem.steps.len());
        for (index, step) in problem.steps.iter().enumerate() {
            let place = || format!("step {} of `{}` (task `{}`)", index + 1, excerpt(&problem.prompt), problem.task);
            let step = self.vocab.encode_data(step, place)?;
            if step.is_empty() {
                return Err(wrong(format!("its step {} is empty", index + 1)));
            }
            steps.push(step);
        }
        let place = || format!("the answer to `{}` (task `{}`)", excerpt(&problem.prompt), problem.task);
        let answer = match self.vocab.encode_data(&problem.answer, place)?[..] {
            [answer] => answer,
            ref tokens => {
                let (answer, count) = (excerpt(&problem.answer), tokens.len());
                return Err(wrong(format!("its answer `{answer}` has {count} tokens, needs exactly one")));
            }
        };
        let name = |token| format!("`{}`", self.vocab.decode(&[token]));
        check_form(&self.tasks[task], &steps, answer, name).map_err(wrong)?;
        let width = steps.iter().map(Vec::len).fold(prompt.len(), usize::max);
        Ok(Example { task, length: problem.length, iterations: steps.len(), width, prompt, steps, answer: Some(answer) })
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
            return wrong(format!("it has {iterations} iterations, needs 1 to {LARGEST}"));
        }
        if step_width > LARGEST {
            return wrong(format!("its steps have {step_width} tokens, needs up to {LARGEST}"));
        }
        let width = tokens.len().max(step_width);
        Ok(Example { task: index, length, iterations, width, prompt: tokens, steps: Vec::new(), answer: None })
    }

    /// Tag and problem as tokens.
    fn prompt(&self, task: usize, prompt: &str) -> Result<Vec<TokenId>> {
        let TaskInfo { name, tag, .. } = &self.tasks[task];
        let mut tokens = self.vocab.encode_data(prompt, || format!("`{}` (task `{name}`)", excerpt(prompt)))?;
        if tokens.is_empty() {
            return Err(TaskError::data(format!("a problem of `{name}` is empty, needs at least one token")));
        }
        tokens.insert(0, self.vocab.id(tag).ok_or_else(|| {
            TaskError::data(format!("the tag `{tag}` of `{name}` is not in the vocabulary"))
        })?);
        Ok(tokens)
    }

    /// The problem of `example` with the steps and the answer of `chain`, as text.
    pub fn decode_chain(&self, example: &Example, chain: &Chain) -> Problem {
        Problem {
            task: self.tasks.get(example.task).map(|task| task.name.clone()).unwrap_or_default(),
            length: example.length,
            prompt: self.vocab.decode(example.prompt.get(1..).unwrap_or_default()),
            steps: chain.steps.iter().map(|step| self.vocab.decode(step)).collect(),
            answer: chain.answer.map(|answer| self.vocab.decode(&[answer])).unwrap_or_default(),
        }
    }

    /// That `other` speaks of the same tasks in the same dialects and tokens; `self` is what was expected.
    ///
    /// # Errors
    /// Names both dialects, or the first token that differs.
    pub fn check_same(&self, other: &Self) -> Result<()> {
        let names = |codec: &Self| codec.tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>().join(", ");
        if names(self) != names(other) {
            return Err(TaskError::data(format!("tasks {} where {} are expected", names(other), names(self))));
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
        if self == other { Ok(()) } else { Err(TaskError::data("the tasks write their chains in different forms")) }
    }
}

fn refused(task: &str, prompt: &str, reason: &str) -> TaskError {
    TaskError::data(format!("problem `{}` of `{task}`: {reason}", excerpt(prompt)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskConfig;

    fn paper() -> Codec {
        Codec::for_tasks(&TaskConfig::paper().map(|config| config.build().unwrap())).unwrap()
    }

    fn problem(task: &str, prompt: &str, steps: &[&str], answer: &str) -> Problem {
        let steps = steps.iter().map(|&step| step.to_owned()).collect();
        Problem { task: task.to_owned(), length: 2, prompt: prompt.to_owned(), steps, answer: answer.to_owned() }
    }

    #[test]
    fn what_cannot_be_encoded_is_named() {
        let long = "1 + ".repeat(50) + "x =";
        for (task, prompt, steps, answer, says) in [
            ("abc", "1 + 2 =", vec!["3"], "3", "unknown task `abc`; known are ari, ed, lis"),
            ("ari", "", vec!["3"], "3", "a problem of `ari` is empty"),
            ("ari", "1 + x1 =", vec!["3"], "3", "token `x1` of `1 + x1 =` (task `ari`) is not in the vocabulary of 298 tokens"),
            ("ari", &long, vec!["3"], "3", "..."),
            ("ari", "1 + <pad> =", vec!["3"], "3", "`<pad>` in `1 + <pad> =` (task `ari`) is reserved"),
            ("ari", "1 + 2 =", vec!["<eos>"], "3", "`<eos>` in step 1 of `1 + 2 =` (task `ari`) is reserved"),
            ("ari", "1 + 2 =", vec!["3 300"], "3", "token `300` of step 1 of `1 + 2 =` (task `ari`)"),
            ("ari", "1 + 2 =", vec!["3"], "250", "token `250` of the answer to `1 + 2 =` (task `ari`)"),
            ("ari", "1 + 2 =", vec![], "3", "problem `1 + 2 =` of `ari`: it has no steps"),
            ("ari", "1 + 2 =", vec![" "], "3", "its step 1 is empty"),
            ("ari", "1 + 2 =", vec!["3"], "3 4", "its answer `3 4` has 2 tokens, needs exactly one"),
            ("ari", "1 + 2 =", vec!["3"], "", "its answer `` has 0 tokens"),
            ("ari", "1 + 2 =", vec!["3"], "4", "the last step of `ari` has to be the answer, `4`"),
            ("ari", "1 + 2 + 3 =", vec!["3 + 3", "6"], "6", "step 1 does not end in `=`"),
            ("ed", "a | b <sep>", vec!["1 , 2 ,"], "2", "step 1 holds `,`, which is what comes between steps"),
            ("ed", "a | b <sep>", vec!["1 ,"], ",", "the answer is `,`, which ends the steps of `ed`"),
        ] {
            let message = paper().encode(&problem(task, prompt, &steps, answer)).unwrap_err().to_string();
            assert!(message.contains(says) && message.len() < 200 && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn an_unsolved_problem_has_a_prompt_only() {
        let codec = paper();
        let example = codec.encode_prompt("ed", 2, "a b | b a <sep>", 2, 3).unwrap();
        assert_eq!((example.iterations, example.width, example.prompt.len()), (2, 7, 7));
        assert_eq!((example.steps.len(), example.answer), (0, None));
        assert_eq!(codec.encode_prompt("ed", 2, "a b | b a <sep>", 2, 30).unwrap().width, 30);
        assert!(codec.encode_prompt("ed", 2, "a | b <sep>", 0, 3).is_err());
        assert!(codec.encode_prompt("ed", 2, "a | b <sep>", usize::MAX, 3).is_err());
        assert!(codec.encode_prompt("ed", 2, "a | b <sep>", 1, usize::MAX).is_err());
        assert!(codec.encode_prompt("ed", 2, " ", 1, 3).is_err());
    }

    #[test]
    fn a_codec_remembers_dialects() {
        let codec = paper();
        let text = serde_json::to_string(&codec).unwrap();
        let read: Codec = serde_json::from_str(&text).unwrap();
        codec.check_same(&read).unwrap();
        let config: TaskConfig = serde_json::from_str(r#"{"task": "ari", "domain": {"kind": "prime_field", "p": 7}}"#).unwrap();
        let [_, ed, lis] = TaskConfig::paper();
        let other = Codec::for_tasks(&[config, ed, lis].map(|config| config.build().unwrap())).unwrap();
        let message = codec.check_same(&other).unwrap_err().to_string();
        assert!(message.contains(r#""p": 7"#) && message.contains(r#""p": 11"#), "{message}");
        let fewer = Codec::for_tasks(&[ed, lis].map(|config| config.build().unwrap())).unwrap();
        assert_eq!(codec.check_same(&fewer).unwrap_err().to_string(), "tasks ed, lis where ari, ed, lis are expected");
    }

    #[test]
    fn tasks_of_one_name_are_refused() {
        let [ari, ..] = TaskConfig::paper();
        let tasks = [ari.build().unwrap(), ari.build().unwrap()];
        assert!(Codec::for_tasks(&tasks).unwrap_err().to_string().contains("two tasks"));
    }
}
