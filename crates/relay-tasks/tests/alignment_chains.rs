//! Chains as text: what is written is read again, and anything can be read.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};
use relay_tasks::{
    Chain, Codec, Dialect, EOS, Example, PAD, SEP, Split, Task, TaskConfig, TaskInfo, TokenId,
    align, hits, read_chain, read_step, score, write_chain,
};

fn paper() -> (Vec<Arc<dyn Task>>, Codec) {
    let tasks = TaskConfig::paper()
        .map(|config| config.build().unwrap())
        .to_vec();
    let codec = Codec::for_tasks(&tasks).unwrap();
    (tasks, codec)
}

fn info(step_end: Option<TokenId>, answer_is_last_step: bool) -> TaskInfo {
    let (name, tag) = ("t".to_owned(), "[T]".to_owned());
    TaskInfo {
        name,
        tag,
        dialect: Dialect::default(),
        step_end,
        answer_is_last_step,
    }
}

fn example(steps: &[&[TokenId]], answer: TokenId) -> Example {
    let steps: Vec<Vec<TokenId>> = steps.iter().map(|step| step.to_vec()).collect();
    Example {
        task: 0,
        length: 1,
        iterations: steps.len(),
        width: 9,
        prompt: vec![3, 4],
        steps,
        answer: Some(answer),
    }
}

#[test]
fn the_four_forms_of_text() {
    for (info, steps, answer, text) in [
        (
            info(Some(7), true),
            [&[5, 6, 7][..], &[9]],
            9,
            &[5, 6, 7, 9, EOS][..],
        ),
        (
            info(Some(7), false),
            [&[5, 6, 7], &[7]],
            9,
            &[5, 6, 7, 7, 9, EOS],
        ),
        (info(None, true), [&[5, 6], &[9]], 9, &[5, 6, SEP, 9, EOS]),
        (
            info(None, false),
            [&[5, 6], &[5]],
            9,
            &[5, 6, SEP, 5, SEP, 9, EOS],
        ),
    ] {
        let example = example(&steps, answer);
        assert_eq!(write_chain(&info, &example).unwrap(), text);
        let read = read_chain(&info, text);
        assert_eq!(
            (read.steps, read.answer),
            (example.steps.clone(), example.answer)
        );
        // Greedy decoding leaves `<eos>` out, and a model may go on behind it.
        assert_eq!(
            read_chain(&info, &text[..text.len() - 1]).answer,
            example.answer
        );
        assert_eq!(
            read_chain(&info, &[text, &[5, 7, 5]].concat()).steps,
            example.steps
        );
    }
}

#[test]
fn chains_that_could_not_be_read_again_are_not_written() {
    for (info, steps, answer, says) in [
        (
            info(Some(7), false),
            &[&[5, 6][..]][..],
            9,
            "step 1 does not end in token 7",
        ),
        (
            info(Some(7), false),
            &[&[7, 6, 7]],
            9,
            "step 1 holds token 7",
        ),
        (info(Some(7), false), &[&[6, 7]], 7, "the answer is token 7"),
        (
            info(Some(7), true),
            &[&[6, 7]],
            6,
            "the last step of `t` has to be the answer, token 6",
        ),
        (
            info(None, false),
            &[&[6], &[5, SEP, 6]],
            9,
            "step 2 holds token 1",
        ),
        (info(None, false), &[], 9, "no steps"),
    ] {
        let message = write_chain(&info, &example(steps, answer))
            .unwrap_err()
            .to_string();
        assert!(message.contains(says), "{message}");
    }
    let unsolved = Example {
        answer: None,
        ..example(&[&[5, 7]], 9)
    };
    assert!(
        write_chain(&info(Some(7), false), &unsolved)
            .unwrap_err()
            .to_string()
            .contains("no answer")
    );
}

#[test]
fn broken_text_gives_what_can_be_told() {
    let read = |info: TaskInfo, tokens: &[TokenId]| {
        let chain = read_chain(&info, tokens);
        (chain.steps, chain.answer)
    };
    let none: (Vec<Vec<TokenId>>, Option<TokenId>) = (Vec::new(), None);
    assert_eq!(read(info(Some(7), false), &[]), none);
    assert_eq!(read(info(Some(7), false), &[EOS, 5, 7]), none);
    assert_eq!(
        read(info(Some(7), false), &[5, 7]),
        (vec![vec![5, 7]], None),
        "stopped before the answer"
    );
    assert_eq!(
        read(info(Some(7), false), &[5, 7, 5, 6]),
        (vec![vec![5, 7], vec![5, 6]], None),
        "stopped inside a step"
    );
    assert_eq!(
        read(info(Some(7), true), &[5, 7, 5, 6]),
        (vec![vec![5, 7], vec![5, 6]], None)
    );
    assert_eq!(read(info(Some(7), false), &[9]), (vec![], Some(9)));
    assert_eq!(read(info(Some(7), true), &[9]), (vec![vec![9]], Some(9)));
    assert_eq!(
        read(info(None, false), &[SEP, 5, SEP, SEP, 9]),
        (vec![vec![], vec![5], vec![]], Some(9))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every problem of the paper's tasks, through windows and through text.
    #[test]
    fn problems_go_there_and_back(which in 0..3_usize, seed: u64, size in 1..=30_usize, wider in 0..40_usize) {
        let (tasks, codec) = paper();
        let task = &tasks[which];
        let length = size.clamp(*task.lengths().start(), *task.lengths().end());
        let problem = task.generate(seed, Split::Train, 0, length).unwrap();
        let example = codec.encode(&problem).unwrap();
        prop_assert_eq!(example.iterations, task.iterations(&problem.prompt).unwrap());
        prop_assert_eq!(example.task, which);

        let unsolved_width = task.step_width(&problem.prompt).unwrap();
        let unsolved = codec.encode_prompt(task.name(), length, &problem.prompt, example.iterations, unsolved_width).unwrap();
        prop_assert!(unsolved.width >= example.width);
        prop_assert_eq!(&unsolved.prompt, &example.prompt);

        let aligned = align(&example, example.width + wider).unwrap();
        let steps = aligned.targets.chunks(aligned.width).map(|row| read_step(row).to_vec()).collect();
        let chain = Chain { steps, answer: Some(aligned.answer), ..Chain::default() };
        prop_assert_eq!(&codec.decode_chain(&example, &chain), &problem);
        for (row, mask) in aligned.targets.chunks(aligned.width).zip(aligned.mask.chunks(aligned.width)) {
            let step = read_step(row).len();
            let masked = mask.iter().filter(|&&masked| masked).count();
            prop_assert_eq!(masked, (step + 1).min(example.width));
            prop_assert!(mask[aligned.width - masked..].iter().all(|&masked| masked));
        }

        let info = &codec.tasks[which];
        let read = read_chain(info, &write_chain(info, &example).unwrap());
        prop_assert_eq!(codec.decode_chain(&example, &read), problem);
        let score = score(&example, &read);
        prop_assert!(score.answer && score.chain);
        prop_assert_eq!(score.right, example.steps.iter().map(Vec::len).sum::<usize>());
        prop_assert_eq!(score.total, score.right);
    }

    #[test]
    fn any_tokens_give_a_chain_that_can_be_scored(
        tokens in vec(select(vec![PAD, SEP, EOS, 5, 6, 7, 9, TokenId::MAX]), 0..40),
        end in select(vec![None, Some(SEP), Some(7)]),
        last: bool,
        columns in 0..6_usize,
    ) {
        let info = info(end, last);
        let chain = read_chain(&info, &tokens);
        let kept = tokens.split(|&token| token == EOS).next().unwrap().len();
        prop_assert!(chain.steps.iter().map(Vec::len).sum::<usize>() <= kept);
        let truth = example(&[&[5, 6, 7], &[6, 7], &[9]], 9);
        let score = score(&truth, &chain);
        prop_assert!(score.right <= score.total && score.total >= 6);
        prop_assert_eq!(score.chain, truth.steps == chain.steps);
        let hits = hits(&truth, &chain, columns);
        prop_assert_eq!(hits.len(), 3);
        prop_assert!(hits.iter().all(|row| row.len() == columns));
        let hit = hits.iter().flatten().filter(|hit| **hit == Some(true)).count();
        prop_assert!(hit <= score.right && (columns < 3 || hit == score.right));
        // What was read and fits the form is written the same way again.
        if let Some(answer) = chain.answer {
            let steps = chain.steps.clone();
            let again = Example { iterations: steps.len(), steps, answer: Some(answer), ..truth };
            if let Ok(text) = write_chain(&info, &again) {
                prop_assert_eq!(&text[..text.len() - 1], &tokens[..kept]);
            }
        }
    }

    /// Steps and answers of any tokens, in every form that a text can have.
    #[test]
    fn any_chain_that_is_written_is_read_again(
        steps in vec(vec(8..20_u32, 1..6), 1..6),
        answer in 8..20_u32,
        end in select(vec![None, Some(SEP), Some(7)]),
        last: bool,
    ) {
        let info = info(end, last);
        let mut steps = steps;
        steps.iter_mut().for_each(|step| step.extend(end));
        if last {
            steps.push(vec![answer]);
        }
        let rows: Vec<&[TokenId]> = steps.iter().map(Vec::as_slice).collect();
        let example = example(&rows, answer);
        let read = read_chain(&info, &write_chain(&info, &example).unwrap());
        prop_assert_eq!((&read.steps, read.answer), (&example.steps, example.answer));
    }
}
