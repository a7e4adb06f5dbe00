//! Properties of generated problems over lengths, seeds, splits and dialects, against independent solvers.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod solvers;

use std::sync::Arc;

use proptest::prelude::*;
use relay_tasks::{
    ArithmeticConfig, CostDialect, Domain, EditDistanceConfig, LisConfig, LisValues, Problem,
    Split, StepOrder, Task, TaskConfig,
};
use solvers::{Numbers, Table, evaluate, increasing, piles, reductions};

fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    }
}

fn build(config: TaskConfig) -> Arc<dyn Task> {
    config.build().unwrap()
}

fn split() -> impl Strategy<Value = Split> {
    prop_oneof![Just(Split::Train), Just(Split::Valid), Just(Split::Test)]
}

fn domain() -> impl Strategy<Value = Domain> {
    let primes = proptest::sample::select(vec![2_u32, 3, 5, 7, 11, 13, 101]);
    prop_oneof![
        primes.prop_map(|p| Domain::PrimeField { p }),
        (1_u32..=249).prop_map(|max| Domain::Integers { max })
    ]
}

/// What holds for every problem of every task.
fn check(task: &dyn Task, problem: &Problem, split: Split, length: usize) {
    let Problem {
        prompt,
        steps,
        answer,
        ..
    } = problem;
    assert_eq!(Split::of(task.name(), prompt), split);
    assert_eq!(problem.task, task.name());
    assert_eq!(problem.length, length);
    assert_eq!(task.length(prompt).unwrap(), length);
    assert_eq!(task.iterations(prompt).unwrap(), steps.len());
    assert!(
        task.check_chain(prompt, steps, answer).unwrap(),
        "{problem:?}"
    );
    let solution = task.solve(prompt).unwrap();
    assert_eq!(&solution.answer, answer);
    assert_eq!(solution.steps.len(), steps.len());
    let width = task.step_width(prompt).unwrap();
    let known = task.tokens();
    for text in steps.iter().chain([prompt, answer]) {
        assert!(
            text.split(' ')
                .all(|token| token == "<sep>" || known.iter().any(|it| it == token)),
            "{text}"
        );
    }
    let format = task.chain_format();
    for (index, step) in steps.iter().enumerate() {
        assert!(step.split(' ').count() <= width, "{step}");
        let previous = index.checked_sub(1).map(|before| steps[before].as_str());
        assert!(
            task.check_step(prompt, index + 1, previous, step).unwrap(),
            "{problem:?}: {step}"
        );
        let ends = format
            .step_end
            .as_ref()
            .is_some_and(|end| step.split(' ').next_back() == Some(end));
        assert_eq!(
            ends,
            !(format.answer_is_last_step && index + 1 == steps.len())
        );
    }
    assert!(!format.answer_is_last_step || steps.last() == Some(answer));
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn arithmetic(domain in domain(), expansion: bool, length in 2_usize..=20, seed: u64, index: u64, split in split()) {
        let order = if expansion { StepOrder::RandomExpansion } else { StepOrder::LeftToRight };
        let task = build(TaskConfig::Ari(ArithmeticConfig { domain, order }));
        let problem = task.generate(seed, split, index, length).unwrap();
        check(task.as_ref(), &problem, split, length);
        let numbers = match domain {
            Domain::PrimeField { p } => Numbers::Modulo(i64::from(p)),
            Domain::Integers { max } => Numbers::UpTo(i64::from(max)),
        };
        let value = evaluate(&problem.prompt, numbers);
        prop_assert_eq!(problem.answer, value.to_string());
        if !expansion {
            prop_assert_eq!(&problem.steps, &reductions(&problem.prompt, numbers));
        }
        for step in &problem.steps {
            // What an expansion merges by associativity has the same value, but maybe not within the bound.
            let numbers = if expansion { match numbers { Numbers::UpTo(_) => Numbers::UpTo(i64::MAX), other => other } } else { numbers };
            prop_assert_eq!(evaluate(step, numbers), value);
        }
        // No brackets around a lone number, ever.
        for text in problem.steps.iter().chain([&problem.prompt]) {
            let tokens: Vec<&str> = text.split(' ').collect();
            prop_assert!(!tokens.windows(3).any(|window| window[0] == "(" && window[2] == ")"), "{}", text);
        }
    }

    #[test]
    fn edit_distance(
        letters in 3_usize..=26, true_costs: bool, length in 2_usize..=40, seed: u64, index: u64, split in split(),
    ) {
        let costs = if true_costs { CostDialect::TrueCosts } else { CostDialect::Benchmark };
        let task = build(TaskConfig::Ed(EditDistanceConfig { letters, costs, ..EditDistanceConfig::default() }));
        let problem = task.generate(seed, split, index, length).unwrap();
        check(task.as_ref(), &problem, split, length);
        let (first, second) = problem.prompt.strip_suffix(" <sep>").unwrap().split_once(" | ").unwrap();
        let (first, second): (Vec<&str>, Vec<&str>) = (first.split(' ').collect(), second.split(' ').collect());
        prop_assert!(first.len() == length && second.len() >= length && second.len() <= length + 3 && first != second);
        let mut table = Table::new(&first, &second, if true_costs { 2 } else { 1 });
        for (row, step) in problem.steps.iter().enumerate() {
            let cells: Vec<String> = (1..=second.len()).map(|column| table.cell(row + 1, column).to_string()).collect();
            prop_assert_eq!(step, &format!("{} ,", cells.join(" ")));
        }
        prop_assert_eq!(problem.answer, table.cell(first.len(), second.len()).to_string());
        if true_costs {
            prop_assert!(table.cell(first.len(), second.len()) as usize >= 2 * (second.len() - first.len()));
        }
    }

    #[test]
    fn longest_increasing_subsequence(
        group in 1_usize..=12, fixed: bool, length in 1_usize..=124, seed: u64, index: u64, split in split(),
    ) {
        let values = if fixed { LisValues::Fixed { lowest: 126, highest: 249 } } else { LisValues::default() };
        let task = build(TaskConfig::Lis(LisConfig { group, values, ..LisConfig::default() }));
        let problem = task.generate(seed, split, index, length).unwrap();
        check(task.as_ref(), &problem, split, length);
        let numbers: Vec<u32> =
            problem.prompt.strip_suffix(" <sep>").unwrap().split(' ').map(|token| token.parse().unwrap()).collect();
        let lowest = if fixed { 126 } else { length as u32 + 1 };
        prop_assert!(numbers.iter().all(|number| (lowest..=249).contains(number)));
        let mut values = increasing(&numbers);
        prop_assert_eq!(&problem.answer, &values.iter().max().unwrap().to_string());
        prop_assert_eq!(problem.answer, piles(&numbers).to_string());
        prop_assert!(values.iter().all(|&value| value < lowest), "values of steps and inputs never collide");
        values.resize(length.next_multiple_of(group), *values.last().unwrap());
        for (step, values) in problem.steps.iter().zip(values.chunks(group)) {
            let values: Vec<String> = values.iter().map(u32::to_string).collect();
            prop_assert_eq!(step, &format!("{} <sep>", values.join(" ")));
        }
    }

    #[test]
    fn any_text_is_solved_or_refused(text in "\\PC{0,40}", words in proptest::collection::vec(token(), 0..40)) {
        for config in TaskConfig::paper() {
            let task = build(config);
            for text in [&text, &words.join(" "), &format!("{} =", words.join(" ")), &format!("{} <sep>", words.join(" "))] {
                let solved = task.solve(text);
                prop_assert_eq!(solved.is_ok(), task.length(text).is_ok() && solved.is_ok());
                prop_assert_eq!(task.length(text).is_ok(), task.step_width(text).is_ok());
                if let Ok(solution) = solved {
                    prop_assert!(task.check_chain(text, &solution.steps, &solution.answer).unwrap());
                }
                let _ = task.check_step(text, 1, Some(text), text);
                let _ = task.check_chain(text, &words, text);
            }
        }
    }
}

fn token() -> impl Strategy<Value = String> {
    let symbols = [
        "(", ")", "+", "-", "*", "/", "=", "|", "<sep>", ",", "a", "b", "z", "aa",
    ];
    prop_oneof![
        proptest::sample::select(symbols.to_vec()).prop_map(str::to_owned),
        (0_u32..=255).prop_map(|number| number.to_string()),
        Just("99999999999999999999".to_owned()),
    ]
}

/// A chain in any order of valid reductions is right under the expansion's order, and only there.
#[test]
fn any_order_of_valid_reductions_is_right_for_the_expansion() {
    let build = |order| {
        build(TaskConfig::Ari(ArithmeticConfig {
            order,
            ..ArithmeticConfig::default()
        }))
    };
    let (expansion, left_to_right) = (
        build(StepOrder::RandomExpansion),
        build(StepOrder::LeftToRight),
    );
    let problem = "1 * 2 + 3 * 4 - 5 =";
    let right: [&[&str]; 4] = [
        &["2 + 3 * 4 - 5 =", "2 + 1 - 5 =", "3 - 5 =", "9"],
        &["1 * 2 + 1 - 5 =", "2 + 1 - 5 =", "3 - 5 =", "9"],
        // 2 + (1 - 5) is (2 + 1) - 5.
        &["1 * 2 + 1 - 5 =", "2 + 1 - 5 =", "2 + 7 =", "9"],
        &["1 * 2 + 1 - 5 =", "1 * 2 + 7 =", "2 + 7 =", "9"],
    ];
    for (index, chain) in right.iter().enumerate() {
        let steps: Vec<String> = chain.iter().map(|&step| step.to_owned()).collect();
        assert!(
            expansion.check_chain(problem, &steps, "9").unwrap(),
            "{chain:?}"
        );
        assert_eq!(
            left_to_right.check_chain(problem, &steps, "9").unwrap(),
            index == 0,
            "{chain:?}"
        );
    }
    let wrong: [&[&str]; 4] = [
        &["1 * 5 * 4 - 5 =", "5 * 4 - 5 =", "9 - 5 =", "4"],
        &["2 + 3 * 10 =", "2 + 8 =", "10", "10"],
        &["2 + 3 * 4 - 5 =", "2 + 1 - 5 =", "3 - 5 =", "9 ="],
        &["2 + 1 - 5 =", "3 - 5 =", "9"],
    ];
    for chain in wrong {
        let steps: Vec<String> = chain.iter().map(|&step| step.to_owned()).collect();
        assert!(
            !expansion
                .check_chain(problem, &steps, chain[chain.len() - 1])
                .unwrap(),
            "{chain:?}"
        );
    }
}
