//! Worked cases, among them every example that the paper prints, and problems that are none.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use relay_tasks::TaskConfig;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
    wrong: Vec<Wrong>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    config: TaskConfig,
    problem: String,
    length: usize,
    iterations: usize,
    steps: Vec<String>,
    answer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrong {
    config: Option<TaskConfig>,
    problem: String,
    says: String,
}

fn run(text: &str, task: &str) {
    let table: Table = toml::from_str(text).unwrap();
    for case in &table.case {
        run_case(case);
    }
    let default = TaskConfig::paper()
        .into_iter()
        .find(|config| config.name() == task)
        .unwrap();
    for wrong in &table.wrong {
        let task = wrong.config.unwrap_or(default).build().unwrap();
        let message = task.solve(&wrong.problem).unwrap_err().to_string();
        assert!(
            message.contains(&wrong.says),
            "`{}` should say {}: {message}",
            wrong.problem,
            wrong.says
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

fn run_case(case: &Case) {
    let (name, problem) = (&case.name, &case.problem);
    let task = case.config.build().unwrap();
    let solution = task.solve(problem).unwrap();
    assert_eq!(solution.steps, case.steps, "{name}");
    assert_eq!(solution.answer, case.answer, "{name}");
    assert_eq!(task.length(problem).unwrap(), case.length, "{name}");
    assert_eq!(task.iterations(problem).unwrap(), case.iterations, "{name}");
    let longest = case
        .steps
        .iter()
        .map(|step| step.split(' ').count())
        .max()
        .unwrap();
    assert!(task.step_width(problem).unwrap() >= longest, "{name}");
    assert!(
        task.check_chain(problem, &case.steps, &case.answer)
            .unwrap(),
        "{name}"
    );
    assert!(
        !task.check_chain(problem, &case.steps, "249").unwrap(),
        "{name}"
    );
    assert!(
        !task
            .check_chain(problem, &case.steps[1..], &case.answer)
            .unwrap(),
        "{name}"
    );
    let mut previous = None;
    for (index, step) in case.steps.iter().enumerate() {
        assert!(
            task.check_step(problem, index + 1, previous, step).unwrap(),
            "{name}: step {}",
            index + 1
        );
        assert!(
            !task
                .check_step(problem, index + 1, previous, &format!("{step} 1"))
                .unwrap(),
            "{name}"
        );
        previous = Some(step.as_str());
    }
    assert!(
        !task
            .check_step(problem, case.steps.len() + 1, previous, &case.answer)
            .unwrap(),
        "{name}"
    );
    assert!(
        !task.check_step(problem, 0, None, &case.steps[0]).unwrap(),
        "{name}"
    );
}

#[test]
fn arithmetic() {
    run(include_str!("testdata/ari.toml"), "ari");
}

#[test]
fn edit_distance() {
    run(include_str!("testdata/ed.toml"), "ed");
}

#[test]
fn longest_increasing_subsequence() {
    run(include_str!("testdata/lis.toml"), "lis");
}
