//! Batches: weights that add up, and groups that waste little.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use relay_tasks::{
    CausalBatch, Codec, Dataset, EOS, Example, GroupLimits, LoopedBatch, PAD, Split, Task,
    TaskConfig, align, group_causal, group_looped, write_chain,
};

/// The paper's training mixture: each of `samples` of one of the three tasks, lengths in proportion.
fn mixture(samples: usize, seed: u64) -> (Codec, Vec<Example>) {
    let tasks: Vec<Arc<dyn Task>> = TaskConfig::paper()
        .map(|config| config.build().unwrap())
        .to_vec();
    let codec = Codec::for_tasks(&tasks).unwrap();
    let lengths = [1..=15, 1..=30, 1..=100];
    let data: Vec<Dataset> = tasks
        .into_iter()
        .zip(lengths)
        .map(|(task, lengths)| {
            let shortest = (*lengths.start()).max(*task.lengths().start());
            Dataset::new(task, shortest..=*lengths.end(), seed, Split::Train).unwrap()
        })
        .collect();
    let example = |index: usize| {
        codec
            .encode(&data[index % 3].get((index / 3) as u64).unwrap())
            .unwrap()
    };
    let examples = (0..samples).map(example).collect();
    (codec, examples)
}

fn members<'a>(examples: &'a [Example], group: &[usize]) -> Vec<&'a Example> {
    group.iter().map(|&index| &examples[index]).collect()
}

#[test]
fn less_than_a_tenth_of_the_paper_s_mixture_is_padding_or_idle() {
    for seed in 0..3 {
        let (_, examples) = mixture(512, seed);
        let groups = group_looped(&examples, &GroupLimits::default());
        let (mut computed, mut useful) = (0, 0);
        for group in &groups {
            let batch = LoopedBatch::new(&members(&examples, group), 1.0).unwrap();
            computed += batch.size * batch.width * batch.iterations;
            // Columns that hold a token of the problem, in iterations that are the example's own.
            let own = batch
                .pads
                .iter()
                .zip(&batch.sample_iterations)
                .map(|(pads, iterations)| (batch.width - pads) * iterations);
            useful += own.sum::<usize>();
        }
        let waste = 1.0 - useful as f64 / computed as f64;
        assert!(waste < 0.1, "{waste}");
        assert!(groups.len() < 75, "{} groups of 512 examples", groups.len());
    }
}

#[test]
fn an_example_s_weights_add_up_to_the_scale() {
    let (_, examples) = mixture(60, 1);
    let scale = 0.25;
    let limits = GroupLimits {
        max_waste: 0.9,
        ..GroupLimits::default()
    };
    for group in group_looped(&examples, &limits) {
        let members = members(&examples, &group);
        let LoopedBatch {
            size,
            width,
            iterations,
            step_weights,
            answer_weights,
            answers,
            columns,
            targets,
            tokens,
            pads,
            ..
        } = LoopedBatch::new(&members, scale).unwrap();
        for (index, example) in members.iter().enumerate() {
            let own = |t: usize| (t * size + index) * width..(t * size + index + 1) * width;
            let sum: f32 = (0..iterations).flat_map(|t| &step_weights[own(t)]).sum();
            assert!((sum - scale).abs() < 1e-5, "{sum}");
            let weights: Vec<f32> = (0..iterations)
                .map(|t| answer_weights[t * size + index])
                .collect();
            let expected: Vec<f32> = (1..=iterations)
                .map(|t| if t == example.iterations { scale } else { 0.0 })
                .collect();
            assert_eq!(weights, expected);
            assert_eq!(answers[index] as u32, example.answer.unwrap());
            let row = &tokens[index * width..(index + 1) * width];
            assert!(row[..pads[index]].iter().all(|&token| token == PAD as i32));
            assert!(
                row[pads[index]..]
                    .iter()
                    .map(|&token| token as u32)
                    .eq(example.prompt.iter().copied())
            );

            let aligned = align(example, width).unwrap();
            for t in 0..iterations {
                let weights = &step_weights[own(t)];
                assert!(
                    weights[..width - columns[t]]
                        .iter()
                        .all(|&weight| weight == 0.0)
                );
                if t >= example.iterations {
                    assert!(weights.iter().all(|&weight| weight == 0.0));
                    continue;
                }
                let mask = &aligned.mask[t * width..(t + 1) * width];
                let masked = mask.iter().filter(|&&masked| masked).count();
                let weight = scale / (example.iterations * masked) as f32;
                assert!(
                    weights
                        .iter()
                        .zip(mask)
                        .all(|(&found, &masked)| found == if masked { weight } else { 0.0 })
                );
                let row = targets[own(t)].iter().map(|&target| target as u32);
                assert!(row.eq(aligned.targets[t * width..(t + 1) * width].iter().copied()));
            }
        }
        for t in 0..iterations {
            let seen = (0..size).map(|index| &step_weights[(t * size + index) * width..][..width]);
            let widest = seen
                .filter_map(|row| row.iter().position(|&weight| weight > 0.0))
                .map(|first| width - first)
                .max();
            assert_eq!(widest, Some(columns[t]));
        }
    }
}

/// Nine numbers and their step are 11 tokens wide both, so there is no pad to learn; ten numbers are 12 wide.
#[test]
fn a_wider_neighbour_changes_no_weight() {
    let task = TaskConfig::Lis(Default::default()).build().unwrap();
    let codec = Codec::for_tasks(std::slice::from_ref(&task)).unwrap();
    let [narrow, wide] = [9, 10].map(|length| {
        let problem = task.generate(1, Split::Train, 0, length).unwrap();
        codec.encode(&problem).unwrap()
    });
    assert_eq!([narrow.width, wide.width], [11, 12]);
    let both = LoopedBatch::new(&[&narrow, &wide], 1.0).unwrap();
    let (nothing, eleventh, twelfth) = (0.0, 1.0 / 11.0, 1.0 / 12.0);
    let beside = [vec![nothing], vec![eleventh; 11], vec![twelfth; 12]].concat();
    assert_eq!(both.step_weights, beside);
    let alone = LoopedBatch::new(&[&narrow], 1.0).unwrap();
    assert_eq!(alone.step_weights, vec![eleventh; 11]);
}

#[test]
fn text_batches_learn_all_that_follows_the_problem() {
    let (codec, examples) = mixture(90, 1);
    let groups = group_causal(&examples, &codec.tasks, &GroupLimits::default()).unwrap();
    assert_eq!(groups.iter().map(Vec::len).sum::<usize>(), examples.len());
    for group in groups {
        let members = members(&examples, &group);
        let info = &codec.tasks[members[0].task];
        let CausalBatch {
            width,
            tokens,
            pads,
            targets,
            weights,
            columns,
            ..
        } = CausalBatch::new(&members, info, 0.5).unwrap();
        for (index, example) in members.iter().enumerate() {
            let row = index * width..(index + 1) * width;
            let chain = write_chain(info, example).unwrap();
            assert_eq!(CausalBatch::targets_of(example, info).unwrap(), chain.len());
            let text: Vec<i32> = example
                .prompt
                .iter()
                .chain(&chain)
                .map(|&token| token as i32)
                .collect();
            assert_eq!(tokens[row.clone()][pads[index]..], text[..text.len() - 1]);
            assert_eq!(targets[row.clone()][pads[index]..], text[1..]);
            let learnt = width - chain.len();
            assert_eq!(weights[row.clone()][learnt..], vec![0.5; chain.len()]);
            assert!(
                weights[row.clone()][..learnt]
                    .iter()
                    .all(|&weight| weight == 0.0)
            );
            assert_eq!(targets[row][learnt..].last(), Some(&(EOS as i32)));
        }
        assert!(pads.contains(&0));
        let chains = members
            .iter()
            .map(|example| CausalBatch::targets_of(example, info).unwrap());
        assert_eq!(Some(columns), chains.max());
    }
}

#[test]
fn prompts_need_no_solution() {
    let (_, examples) = mixture(9, 1);
    let unsolved: Vec<Example> = examples
        .iter()
        .map(|example| Example {
            steps: Vec::new(),
            answer: None,
            ..example.clone()
        })
        .collect();
    for task in 0..3 {
        let of_task = |examples: &[Example]| -> Vec<Example> {
            examples
                .iter()
                .filter(|e| e.task == task)
                .cloned()
                .collect()
        };
        let (solved, unsolved) = (of_task(&examples), of_task(&unsolved));
        let bare = LoopedBatch::prompts(&unsolved.iter().collect::<Vec<_>>()).unwrap();
        let full = LoopedBatch::new(&solved.iter().collect::<Vec<_>>(), 1.0).unwrap();
        assert_eq!(
            (&bare.tokens, &bare.pads, &bare.sample_iterations),
            (&full.tokens, &full.pads, &full.sample_iterations)
        );
        assert!(bare.targets.is_empty() && bare.answers.is_empty());
        assert!(LoopedBatch::new(&unsolved.iter().collect::<Vec<_>>(), 1.0).is_err());
    }
}

#[test]
fn batches_that_cannot_be_are_errors() {
    let (codec, examples) = mixture(3, 1);
    let all: Vec<&Example> = examples.iter().collect();
    assert!(
        LoopedBatch::new(&[], 1.0)
            .unwrap_err()
            .to_string()
            .contains("at least one example")
    );
    assert!(
        LoopedBatch::new(&all, 1.0)
            .unwrap_err()
            .to_string()
            .contains("one task only, not of 0 and 1")
    );
    assert!(CausalBatch::new(&all, &codec.tasks[0], 1.0).is_err());
    assert!(
        group_causal(&examples, &codec.tasks[..1], &GroupLimits::default())
            .unwrap_err()
            .to_string()
            .contains("task 1")
    );
    let broken = [
        Example {
            prompt: Vec::new(),
            ..examples[0].clone()
        },
        Example {
            iterations: 0,
            ..examples[0].clone()
        },
        Example {
            iterations: 99,
            ..examples[0].clone()
        },
        Example {
            width: 0,
            ..examples[0].clone()
        },
        Example {
            steps: Vec::new(),
            ..examples[0].clone()
        },
        Example {
            answer: None,
            ..examples[0].clone()
        },
    ];
    for example in &broken {
        assert!(LoopedBatch::new(&[example], 1.0).is_err(), "{example:?}");
    }
    for example in [&broken[0], &broken[1], &broken[4], &broken[5]] {
        assert!(
            CausalBatch::new(&[example], &codec.tasks[0], 1.0).is_err(),
            "{example:?}"
        );
    }
}

#[test]
fn limits_that_cannot_be_are_named() {
    let limits = GroupLimits::default();
    limits.validate().unwrap();
    let message = GroupLimits {
        max_samples: 0,
        ..limits
    }
    .validate()
    .unwrap_err()
    .to_string();
    assert!(message.contains("max_samples"), "{message}");
    for max_waste in [-0.1, 1.1, f32::NAN] {
        assert!(
            GroupLimits {
                max_waste,
                ..limits
            }
            .validate()
            .is_err()
        );
    }
    assert!(serde_json::from_str::<GroupLimits>(r#"{"max_sample": 3}"#).is_err());
    assert_eq!(serde_json::from_str::<GroupLimits>("{}").unwrap(), limits);
}

proptest! {
    #[test]
    fn groups_hold_every_example_once_and_keep_their_limits(
        sizes in vec((0..3_usize, 1..20_usize, 1..60_usize), 0..80),
        max_samples in 0..9_usize,
        max_tokens in 0..400_usize,
        max_waste in 0.0..1.0_f32,
    ) {
        let example = |&(task, iterations, width): &(usize, usize, usize)| {
            Example { task, length: 1, iterations, width, prompt: vec![3; width], steps: Vec::new(), answer: None }
        };
        let examples: Vec<Example> = sizes.iter().map(example).collect();
        let groups = group_looped(&examples, &GroupLimits { max_samples, max_tokens, max_waste });
        let mut seen: Vec<usize> = groups.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..examples.len()).collect::<Vec<_>>());
        for group in &groups {
            let members = members(&examples, group);
            prop_assert!(members.iter().all(|example| example.task == members[0].task));
            let width = members.iter().map(|example| example.width).max().unwrap();
            let iterations = members.iter().map(|example| example.iterations).max().unwrap();
            let computed = members.len() * width * iterations;
            let useful: usize = members.iter().map(|example| example.width * example.iterations).sum();
            if members.len() > 1 {
                prop_assert!(members.len() <= max_samples);
                prop_assert!(max_tokens == 0 || members.len() * width <= max_tokens);
                prop_assert!(1.0 - useful as f64 / computed as f64 <= f64::from(max_waste));
            }
        }
    }
}
