//! Windows are as wide as the problem and the task say, and tell nothing of the true steps.

use std::{ops::RangeInclusive, sync::Arc};

use relay_pipeline::{Corpus, GeneratedCorpus, OwnTask, PipelineError, Question};
use relay_tasks::{ChainFormat, Dialect, Problem, Solution, Stream, Task, TaskError};
use relay_train::Batching;

/// A problem is some letters, of which step t writes the first one t times if it is a `p`, and once if it is another.
#[derive(Debug)]
struct Repeated {
    /// Whether there is one problem of each length.
    one: bool,
}

fn letters(prompt: &str) -> Result<Vec<&str>, TaskError> {
    let bad = || TaskError::prompt("rep", prompt, "must be letters and `=`");
    let all = prompt.strip_suffix(" =").ok_or_else(bad)?;
    Ok(all.split(' ').collect())
}

impl Task for Repeated {
    fn name(&self) -> &str {
        "rep"
    }

    fn dialect(&self) -> Dialect {
        Dialect::new([("one", self.one.into())])
    }

    fn tokens(&self) -> Vec<String> {
        ["p", "q", "="].map(str::to_owned).to_vec()
    }

    fn lengths(&self) -> RangeInclusive<usize> {
        1..=60
    }

    fn chain_format(&self) -> ChainFormat {
        ChainFormat {
            step_end: None,
            answer_is_last_step: false,
        }
    }

    fn draw(&self, length: usize, stream: &mut Stream) -> Result<Problem, TaskError> {
        let letter = |_| {
            ["p", "q"][if self.one {
                0
            } else {
                stream.below(2) as usize
            }]
        };
        let letters: Vec<&str> = (0..length).map(letter).collect();
        let prompt = letters.join(" ") + " =";
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
        letters(prompt).map(|letters| letters.len())
    }

    fn iterations(&self, prompt: &str) -> Result<usize, TaskError> {
        self.length(prompt)
    }

    fn step_width(&self, prompt: &str) -> Result<usize, TaskError> {
        Ok(2 * self.length(prompt)?)
    }

    fn solve(&self, prompt: &str) -> Result<Solution, TaskError> {
        let letters = letters(prompt)?;
        let step = |t| vec!["p"; if letters[0] == "p" { 2 * t } else { 1 }].join(" ");
        Ok(Solution {
            steps: (1..=letters.len()).map(step).collect(),
            answer: "p".to_owned(),
        })
    }
}

fn corpus(one: bool, longest: usize) -> GeneratedCorpus {
    let own = OwnTask {
        task: Arc::new(Repeated { one }),
        train: [5, longest],
        test: [5, longest],
        original: 10,
        longer: vec![(7, 10)],
    };
    GeneratedCorpus::of_tasks(vec![own], 1).unwrap()
}

#[test]
fn what_is_trained_watched_tested_written_and_asked_has_the_same_window() {
    let corpus = corpus(false, 7);
    let batching = Batching::Mixed { samples: 20 };
    let source = corpus.source(&batching, None, 1).unwrap();
    let question = Question {
        problem: "q q q q q =".to_owned(),
        ..Question::default()
    };
    let longer = corpus.longer(0).unwrap().into_iter();
    let all = [
        source.examples(0).unwrap(),
        corpus.valid(9).unwrap(),
        corpus.test(9).unwrap(),
        longer.map(|one| one.example).collect(),
        vec![corpus.asked(&question).unwrap().example],
    ];
    for examples in all {
        assert!(!examples.is_empty());
        for example in examples {
            // More than the letters, the tag and the sign.
            assert_eq!(example.width, 2 * example.length, "{example:?}");
        }
    }
}

#[test]
fn a_length_without_a_training_problem_is_refused_before_anything_is_trained() {
    let batching = Batching::Mixed { samples: 1 };
    let refused = corpus(true, 60).source(&batching, None, 1).unwrap_err();
    assert!(
        matches!(
            refused,
            PipelineError::Train(relay_train::TrainError::Task(TaskError::EmptySplit { .. }))
        ),
        "{refused}"
    );
    corpus(false, 60).source(&batching, None, 1).unwrap();
}
