//! Equations 8 to 10 by hand, and sums over micro-batches.

use crate::common::*;
use burn::module::AutodiffModule;
use burn::tensor::{ElementConversion, Tensor, backend::AutodiffBackend};
use relay_models::DropoutKey;
use relay_tasks::Example;
use relay_train::{GradientSet, LoopedObjective, Objective, cross_entropy};

pub(crate) fn close(a: f32, b: f32, tolerance: f32) {
    assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} {b}");
}

#[test]
fn cross_entropy_is_a_weighted_sum() {
    fn check<B: AutodiffBackend>() {
        let logits = Tensor::<B, 2>::from_floats(
            [[0.0, 0.0], [0.0, 3f32.ln()], [9.0, -9.0]],
            &Default::default(),
        )
        .require_grad();
        // -ln(1/2), -ln(1/4), and one without weight.
        let loss = cross_entropy(logits.clone(), &[0, 0, 1], &[1.0, 0.5, 0.0]);
        let gradient = logits
            .grad(&loss.backward())
            .unwrap()
            .into_data()
            .to_vec::<f32>()
            .unwrap();
        close(
            loss.into_data().iter::<f32>().next().unwrap(),
            2.0 * 2f32.ln(),
            1e-5,
        );
        for (found, right) in gradient.iter().zip([-0.5, 0.5, -0.375, 0.375, 0.0, 0.0]) {
            close(*found, right, 1e-6);
        }
    }
    check::<Flex>();
    check::<NdArray>();
}

pub(crate) fn total<B: AutodiffBackend, O: Objective<B>>(
    objective: &O,
    model: &O::Model,
    examples: &[Example],
) -> (f32, GradientSet<B::InnerBackend>) {
    let (mut sum, mut gradients) = (0.0, GradientSet::new());
    for batch in objective.collate(examples).unwrap() {
        let parts = objective.loss(model, &batch, KEY, &Default::default());
        sum += parts
            .total
            .clone()
            .into_data()
            .iter::<f32>()
            .next()
            .unwrap();
        gradients.add(model, parts.total.backward());
    }
    (sum, gradients)
}

/// Equation 10 written down anew, over the logits of one example.
fn by_hand(example: &Example, lambda: f32, width: usize) -> f32 {
    type B = burn::backend::Flex;
    let device = Default::default();
    let model = looped(0.0).init::<Flex>(&device, 3).valid();
    let aligned = relay_tasks::align(example, width).unwrap();
    let tokens: Vec<i32> = aligned.input.iter().map(|token| *token as i32).collect();
    let tokens = Tensor::<B, 2, burn::tensor::Int>::from_data(
        burn::tensor::TensorData::new(tokens, [1, width]),
        &device,
    );
    let input = relay_models::LoopedInput {
        tokens,
        pads: vec![width - example.prompt.len()],
        dropout: None,
    };
    let log_p = |logits: Vec<f32>, token: u32| {
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        (f64::from(logits[token as usize]) - sum.ln()) as f32
    };
    let (mut steps, mut answer) = (0.0, 0.0);
    model.forward(input, aligned.iterations, |t, state| {
        let logits = model
            .step_logits(state.clone())
            .unwrap()
            .into_data()
            .to_vec::<f32>()
            .unwrap();
        let vocab = logits.len() / width;
        let own = (t - 1) * width..t * width;
        let masked: Vec<usize> = (0..width)
            .filter(|column| aligned.mask[own.clone()][*column])
            .collect();
        let losses = masked.iter().map(|&c| {
            -log_p(
                logits[c * vocab..(c + 1) * vocab].to_vec(),
                aligned.targets[own.clone()][c],
            )
        });
        steps += losses.sum::<f32>() / masked.len() as f32 / aligned.iterations as f32;
        if t == aligned.iterations {
            let last = state
                .clone()
                .slice([0..1, width - 1..width, 0..16])
                .reshape([1, 16]);
            answer = -log_p(
                model
                    .answer_logits(last)
                    .into_data()
                    .to_vec::<f32>()
                    .unwrap(),
                aligned.answer,
            );
        }
    });
    answer + lambda * steps
}

/// Every update and every micro-batch has masks of its own, which its key names.
#[test]
fn dropout_is_named_by_its_key() {
    fn check<O: Objective<Flex>>(objective: &O, model: &O::Model, without: &O::Model) {
        let examples = examples();
        let batch = &objective.collate(&examples).unwrap()[0];
        let loss = |model: &O::Model, key| -> f32 {
            let parts = objective.loss(model, batch, key, &Default::default());
            parts.total.into_scalar().elem()
        };
        let right = loss(model, KEY);
        assert_eq!(loss(model, KEY), right);
        assert_ne!(loss(without, KEY), right);
        for other in [
            DropoutKey { seed: 2, ..KEY },
            DropoutKey { step: 1, ..KEY },
            DropoutKey { batch: 1, ..KEY },
        ] {
            assert_ne!(loss(model, other), right, "{other:?}");
            assert_eq!(loss(without, other), loss(without, KEY));
        }
    }
    let device = Default::default();
    let [with, without] = [0.3, 0.0].map(|rate| looped(rate).init(&device, 3));
    check(&aligned(), &with, &without);
    let vanilla = LoopedObjective {
        aligned: false,
        ..aligned()
    };
    check(&vanilla, &with, &without);
    let [with, without] = [0.3, 0.0].map(|rate| causal(rate).init(&device, 3));
    check(&next_token(), &with, &without);
}

#[test]
fn a_mixed_batch_is_the_mean_of_its_samples() {
    // Windows of different widths would shift the columns, which RoPE does not mind.
    let examples: Vec<Example> = [(1, 0), (3, 1), (2, 2), (3, 3)]
        .map(|(length, index)| example(0, length, index))
        .to_vec();
    let width = examples.iter().map(|e| e.width).max().unwrap();
    let right: f32 = examples.iter().map(|e| by_hand(e, 0.7, width)).sum::<f32>() / 4.0;
    let vanilla: f32 = examples.iter().map(|e| by_hand(e, 0.0, width)).sum::<f32>() / 4.0;

    let model = looped(0.0).init::<Flex>(&Default::default(), 3);
    let single = aligned();
    assert_eq!(
        Objective::<Flex>::collate(&single, &examples)
            .unwrap()
            .len(),
        1
    );
    close(total::<Flex, _>(&single, &model, &examples).0, right, 1e-5);
    let answers = LoopedObjective {
        aligned: false,
        ..single.clone()
    };
    close(
        total::<Flex, _>(&answers, &model, &examples).0,
        vanilla,
        1e-5,
    );

    let model = looped(0.0).init::<NdArray>(&Default::default(), 3);
    close(
        total::<NdArray, _>(&single, &model, &examples).0,
        right,
        1e-4,
    );
}

#[test]
fn tasks_have_their_weights() {
    let examples = examples();
    let model = looped(0.0).init::<Flex>(&Default::default(), 3);
    let of = |task: usize| {
        let own: Vec<Example> = examples
            .iter()
            .filter(|e| e.task == task)
            .cloned()
            .collect();
        total::<Flex, _>(
            &LoopedObjective {
                task_weights: vec![],
                ..aligned()
            },
            &model,
            &own,
        )
        .0
    };
    close(
        total::<Flex, _>(&aligned(), &model, &examples).0,
        of(0) + 2.0 * of(1),
        1e-5,
    );
}

fn same_gradients<B: AutodiffBackend, O: Objective<B>>(whole: &O, parts: &O, model: &O::Model) {
    let examples = examples();
    assert!(whole.collate(&examples).unwrap().len() < parts.collate(&examples).unwrap().len());
    let ((loss, one), (sum, many)) = (
        total(whole, model, &examples),
        total(parts, model, &examples),
    );
    close(sum, loss, 1e-5);
    assert!(one.norm() > 0.0);
    close(many.norm() as f32, one.norm() as f32, 1e-4);
    for path in [
        "block.embedding",
        "block.layers.0.query",
        "block.layers.0.up_bias",
        "block.norm_final.gamma",
    ] {
        let (a, b) = (
            one.get(path).unwrap().to_data(),
            many.get(path).unwrap().to_data(),
        );
        for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
            assert!((a - b).abs() < 1e-5, "{path}: {a} {b}");
        }
    }
}

#[test]
fn micro_batches_add_up() {
    let small = LoopedObjective {
        limits: limits(1),
        ..aligned()
    };
    same_gradients::<Flex, _>(
        &aligned(),
        &small,
        &looped(0.0).init(&Default::default(), 3),
    );
    let small = relay_train::CausalObjective {
        limits: limits(1),
        ..next_token()
    };
    same_gradients::<Flex, _>(
        &next_token(),
        &small,
        &causal(0.0).init(&Default::default(), 3),
    );
    same_gradients::<NdArray, _>(
        &next_token(),
        &small,
        &causal(0.0).init(&Default::default(), 3),
    );
}

#[test]
fn chains_come_in_the_order_of_the_examples() {
    let examples = examples();
    fn check<O: Objective<Flex>>(
        objective: &O,
        model: &O::Model,
        examples: &[Example],
        steps: bool,
    ) {
        let model = model.valid();
        let together = objective
            .write_chains(&model, examples, &Default::default())
            .unwrap();
        for (example, chain) in examples.iter().zip(&together) {
            let alone = objective
                .write_chains(&model, std::slice::from_ref(example), &Default::default())
                .unwrap();
            assert_eq!(
                (&alone[0].steps, alone[0].answer),
                (&chain.steps, chain.answer)
            );
            assert_eq!(chain.steps.len(), chain.confidence.len());
            if steps {
                assert_eq!(chain.steps.len(), example.iterations);
            }
        }
    }
    check(
        &aligned(),
        &looped(0.0).init(&Default::default(), 3),
        &examples,
        true,
    );
    check(
        &next_token(),
        &causal(0.0).init(&Default::default(), 3),
        &examples,
        false,
    );
}

#[test]
fn both_backends_give_the_same_gradients() {
    let examples = examples();
    let flex = total::<Flex, _>(
        &aligned(),
        &looped(0.1).init(&Default::default(), 3),
        &examples,
    );
    let ndarray = total::<NdArray, _>(
        &aligned(),
        &looped(0.1).init(&Default::default(), 3),
        &examples,
    );
    close(ndarray.0, flex.0, 1e-5);
    for path in [
        "block.embedding",
        "block.layers.0.key",
        "block.layers.0.down",
        "head_answer.bias",
    ] {
        let (a, b) = (
            flex.1.get(path).unwrap().to_data(),
            ndarray.1.get(path).unwrap().to_data(),
        );
        for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
            assert!((a - b).abs() < 1e-4, "{path}: {a} {b}");
        }
    }
}
