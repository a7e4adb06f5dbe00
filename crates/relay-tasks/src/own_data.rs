//! A codec for data of one's own, of which nothing is known but the data themselves.

use crate::problem::check_solved;
use crate::{Codec, Dialect, Problem, Result, TaskError, TaskInfo, Vocab, error::excerpt};

impl Codec {
    /// The codec of data of one's own: tasks and tokens in the order in which they come, first in the solved problems,
    /// then in the unsolved ones.
    ///
    /// How chains are written as text is found in the data. The end of a step is the token that stands at the end of
    /// every step, but for a last step that is the answer, and nowhere else in a step; where there is none, `<sep>` will
    /// be put after each. The answer is the last step if it is so in every problem of the task.
    ///
    /// # Errors
    /// [`TaskError::Record`] when a solved problem has no steps, an empty one, or an answer that is not one token, or when
    /// a token of any problem is reserved; [`TaskError::Data`] when there is no solved problem.
    pub fn from_problems(solved: &[Problem], unsolved: &[Problem]) -> Result<Self> {
        let mut names: Vec<&str> = Vec::new();
        for problem in solved {
            if !names.contains(&problem.task.as_str()) {
                names.push(&problem.task);
            }
        }
        if names.is_empty() {
            return Err(TaskError::data(
                "there is no solved problem, needs at least one to take the vocabulary from",
            ));
        }
        let tags: Vec<String> = names.iter().copied().map(tag).collect();
        same_tag(solved, &names, &tags)?;
        let mut vocab = Vocab::new(&tags, [])?;
        for (is_solved, problems) in [(true, solved), (false, unsolved)] {
            for (index, problem) in problems.iter().enumerate() {
                let checked = match is_solved {
                    true => check_solved(problem).map_err(TaskError::data),
                    false => Ok(()),
                };
                checked
                    .and_then(|()| add_tokens(&mut vocab, &tags, problem))
                    .map_err(|error| TaskError::Record {
                        solved: is_solved,
                        number: index + 1,
                        prompt: excerpt(&problem.prompt),
                        error: Box::new(error),
                    })?;
            }
        }
        let info = |(&name, tag): (&&str, &String)| {
            let own: Vec<&Problem> = solved
                .iter()
                .filter(|problem| problem.task == name)
                .collect();
            let answer_is_last_step = own.iter().all(|problem| ends_in_answer(problem));
            TaskInfo {
                name: name.to_owned(),
                tag: tag.clone(),
                dialect: Dialect::default(),
                step_end: step_end(&own, answer_is_last_step).and_then(|token| vocab.id(token)),
                answer_is_last_step,
            }
        };
        let tasks = names.iter().zip(&tags).map(info).collect();
        Ok(Self { vocab, tasks })
    }
}

/// The tag of a task, one token whatever the name.
fn tag(name: &str) -> String {
    format!(
        "[{}]",
        name.to_uppercase()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join("_")
    )
}

/// That no two tasks have one tag: which two have is said at the first line of the second one.
fn same_tag(solved: &[Problem], names: &[&str], tags: &[String]) -> Result<()> {
    for (index, (name, tag)) in names.iter().zip(tags).enumerate() {
        let Some(other) = tags[..index].iter().position(|other| other == tag) else {
            continue;
        };
        let at = solved.iter().position(|problem| problem.task == *name);
        let at = at.unwrap_or_default();
        let other = names[other];
        let reason = format!(
            "the tasks `{other}` and `{name}` both have the tag `{tag}`; one of them needs another name"
        );
        return Err(TaskError::Record {
            solved: true,
            number: at + 1,
            prompt: excerpt(&solved[at].prompt),
            error: Box::new(TaskError::data(reason)),
        });
    }
    Ok(())
}

fn add_tokens(vocab: &mut Vocab, tags: &[String], problem: &Problem) -> Result<()> {
    let texts = [&problem.prompt]
        .into_iter()
        .chain(&problem.steps)
        .chain([&problem.answer]);
    texts
        .flat_map(|text| text.split_whitespace())
        .try_for_each(|token| vocab.add(tags, token))
}

/// Whether the last step of a problem is the answer.
pub fn ends_in_answer(problem: &Problem) -> bool {
    let last = problem.steps.last();
    last.is_some_and(|step| step.trim() == problem.answer.trim())
}

/// Whether a step has `end` as its last token, and nowhere else.
pub fn is_closed_by(step: &str, end: &str) -> bool {
    let mut backwards = step.split_whitespace().rev();
    backwards.next() == Some(end) && backwards.all(|token| token != end)
}

/// The token that ends every step but a last one that is the answer, and stands nowhere else in a step.
fn step_end<'a>(problems: &[&'a Problem], answer_is_last_step: bool) -> Option<&'a str> {
    let ended = |problem: &&'a Problem| {
        let count = problem
            .steps
            .len()
            .saturating_sub(usize::from(answer_is_last_step));
        problem.steps[..count].iter()
    };
    let end = problems
        .iter()
        .flat_map(ended)
        .next()?
        .split_whitespace()
        .last()?;
    let is_closed = |step: &String| is_closed_by(step, end);
    let fits =
        |problem: &&'a Problem| problem.answer.trim() != end && ended(problem).all(is_closed);
    problems.iter().all(fits).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SEP, read_chain, write_chain};

    fn problem(prompt: &str, steps: &[&str], answer: &str) -> Problem {
        let steps: Vec<String> = steps.iter().map(|&step| step.to_owned()).collect();
        Problem {
            task: "my data".to_owned(),
            length: 7,
            prompt: prompt.to_owned(),
            steps,
            answer: answer.to_owned(),
        }
    }

    /// The codec of the problems, with each read back from its own text.
    fn codec(problems: &[Problem]) -> Codec {
        let codec = Codec::from_problems(problems, &[]).unwrap();
        for problem in problems {
            let example = codec.encode(problem).unwrap();
            let text = write_chain(&codec.tasks[0], &example).unwrap();
            let chain = read_chain(&codec.tasks[0], &text);
            assert_eq!(
                (&chain.steps, chain.answer),
                (&example.steps, example.answer)
            );
            assert_eq!(codec.decode_chain(&example, &chain), *problem);
        }
        codec
    }

    #[test]
    fn tokens_are_in_the_order_of_their_coming() {
        let longer = [problem("b z", &[], "")];
        let codec = Codec::from_problems(&[problem("b a", &["c ;", "a ;"], "é")], &longer).unwrap();
        assert_eq!(
            codec.vocab.tokens().join(" "),
            "<pad> <sep> <eos> [MY_DATA] b a c ; é z"
        );
        assert_eq!(codec.tasks[0].dialect, Dialect::default());
        assert_eq!(
            codec.encode(&problem("a", &["b ;"], "c")).unwrap().length,
            7
        );
    }

    #[test]
    fn two_tasks_with_one_tag_are_named() {
        let named = |task: &str| Problem {
            task: task.to_owned(),
            ..problem("a", &["b ;"], "c")
        };
        let solved = ["my data", "other", "My_data"].map(named);
        let error = Codec::from_problems(&solved, &[]).unwrap_err();
        assert!(matches!(
            &error,
            TaskError::Record {
                solved: true,
                number: 3,
                ..
            }
        ));
        let told = "the tasks `my data` and `My_data` both have the tag `[MY_DATA]`";
        assert!(error.to_string().contains(told), "{error}");
    }

    #[test]
    fn the_end_of_a_step_is_found() {
        let end = |problems: &[Problem]| {
            let codec = codec(problems);
            let info = &codec.tasks[0];
            (
                info.step_end
                    .and_then(|end| codec.vocab.token(end))
                    .map(str::to_owned),
                info.answer_is_last_step,
            )
        };
        let found = |end: &str, last| (Some(end.to_owned()), last);
        assert_eq!(
            end(&[
                problem("p", &["1 ;", "2 3 ;"], "4"),
                problem("q", &["5 ;"], "6")
            ]),
            found(";", false)
        );
        assert_eq!(
            end(&[
                problem("p", &["1 =", "2 3 =", "4"], "4"),
                problem("q", &["5"], "5")
            ]),
            found("=", true)
        );
        assert_eq!(
            end(&[problem("p", &["1 <sep>", "2 <sep>"], "4")]),
            found("<sep>", false)
        );
        assert_eq!(end(&[problem("p", &["1 ;", "2 ."], "4")]), (None, false));
        assert_eq!(end(&[problem("p", &["1 ; 2 ;"], "4")]), (None, false));
        assert_eq!(
            end(&[problem("p", &["1 ;", "2 ;"], ";")]),
            (None, false),
            "the answer is no step end"
        );
        assert_eq!(end(&[problem("p", &["3"], "3")]), (None, true));
        assert_eq!(
            end(&[
                problem("p", &["1 2", "3"], "3"),
                problem("q", &["1 4", "5"], "5")
            ]),
            (None, true)
        );
    }

    #[test]
    fn a_separator_inside_steps_is_refused_where_nothing_else_ends_them() {
        let mixed = [problem("p", &["1 <sep> 2", "3 <sep> 4"], "5")];
        let codec = Codec::from_problems(&mixed, &[]).unwrap();
        assert_eq!(codec.tasks[0].step_end, None);
        let message = codec.encode(&mixed[0]).unwrap_err().to_string();
        assert!(message.contains("step 1 holds `<sep>`"), "{message}");
        assert_eq!(codec.vocab.id("<sep>"), Some(SEP));
    }

    #[test]
    fn the_record_that_is_wrong_is_named() {
        let good = problem("p", &["1 ;"], "4");
        for (bad, says) in [
            (
                problem("q", &["1 ;"], "4 5"),
                "solved problem 2 (`q`): its answer `4 5` has 2 tokens, needs exactly one",
            ),
            (
                problem("q", &["1 ;"], ""),
                "solved problem 2 (`q`): its answer `` has 0 tokens, needs exactly one",
            ),
            (
                problem("q", &[], "4"),
                "solved problem 2 (`q`): it has no steps, needs at least one",
            ),
            (
                problem("q", &["1 ;", " "], "4"),
                "solved problem 2 (`q`): its step 2 is empty",
            ),
            (
                problem("q", &["<eos>"], "4"),
                "solved problem 2 (`q`): `<eos>` is reserved",
            ),
            (
                problem("q [MY_DATA]", &["1 ;"], "4"),
                "solved problem 2 (`q [MY_DATA]`): `[MY_DATA]` stands before",
            ),
        ] {
            let message = Codec::from_problems(&[good.clone(), bad], &[])
                .unwrap_err()
                .to_string();
            assert!(message.starts_with(says), "{message}");
        }
        let unsolved = problem("<pad>", &[], "");
        let message = Codec::from_problems(&[good], &[unsolved])
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("unsolved problem 1 (`<pad>`): `<pad>` is reserved"),
            "{message}"
        );
        assert!(
            Codec::from_problems(&[], &[])
                .unwrap_err()
                .to_string()
                .contains("no solved problem")
        );
    }
}
