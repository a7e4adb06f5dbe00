//! Segments of iterations that are computed again in the backward pass: the same gradients, and what they cost.

use crate::common::*;
use burn::tensor::backend::AutodiffBackend;
use relay_models::{Injection, LoopedConfig, LoopedTransformer};
use relay_train::{GradientSet, LoopedObjective, Objective};

/// Numbers for the log: losses, and right and all guesses.
type Told = (Vec<f64>, Vec<(u64, u64)>);

/// The gradients of a batch by [`Objective::backward`], with what is told of it.
fn gradients<B: AutodiffBackend>(
    objective: &LoopedObjective,
    model: &LoopedTransformer<B>,
) -> (GradientSet<B::InnerBackend>, Told) {
    let (mut gradients, mut numbers, mut guesses) = (GradientSet::new(), Vec::new(), Vec::new());
    for batch in Objective::<B>::collate(objective, &examples()).unwrap() {
        let device = Default::default();
        let told = objective.backward(model, &batch, KEY, &device, &mut gradients);
        let parts = [Some(told.total), Some(told.answer), told.steps];
        let scalars = parts.into_iter().flatten();
        numbers.extend(scalars.map(|x| x.into_data().iter::<f64>().next().unwrap()));
        guesses.extend(told.guesses.into_iter().map(|guess| guess.count()));
    }
    (gradients, (numbers, guesses))
}

/// Segments of every length give the gradients and the numbers of the whole graph.
fn recomputing_changes_nothing<B: AutodiffBackend>(config: &LoopedConfig, aligned_objective: bool) {
    let model = config.init::<B>(&Default::default(), 3);
    let whole = LoopedObjective {
        aligned: aligned_objective,
        ..aligned()
    };
    let (one, (numbers, guesses)) = gradients(&whole, &model);
    for checkpoint_iterations in [1, 2, 3, 5, 100] {
        let objective = LoopedObjective {
            checkpoint_iterations,
            ..whole.clone()
        };
        let (other, (others, same_guesses)) = gradients(&objective, &model);
        assert_eq!((&guesses, numbers.len()), (&same_guesses, others.len()));
        for (a, b) in numbers.iter().zip(&others) {
            assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{a} {b}");
        }
        for path in [
            "block.embedding",
            "block.layers.0.query",
            "block.layers.0.down_bias",
            "block.norm_final.gamma",
            "injection.state",
            "injection.embedded",
            "head_step.weight",
            "head_answer.bias",
        ] {
            let (Some(a), Some(b)) = (one.get(path), other.get(path)) else {
                assert!(
                    one.get(path).is_none() && other.get(path).is_none(),
                    "{path}"
                );
                continue;
            };
            let (a, b) = (a.to_data(), b.to_data());
            for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
                assert!(
                    (a - b).abs() < 1e-5 + 1e-4 * a.abs(),
                    "{path} in segments of {checkpoint_iterations}: {b} instead of {a}"
                );
            }
        }
    }
}

#[test]
fn gradients_are_the_same_when_iterations_are_computed_again() {
    let plain = looped(0.2);
    let everything = LoopedConfig {
        injection: Injection::Linear,
        timestep: true,
        norm_state: true,
        ..looped(0.2)
    };
    let added = LoopedConfig {
        injection: Injection::Add,
        ..looped(0.0)
    };
    for config in [&plain, &everything, &added] {
        recomputing_changes_nothing::<Flex>(config, true);
    }
    recomputing_changes_nothing::<Flex>(&plain, false);
    recomputing_changes_nothing::<NdArray>(&everything, true);
}

#[test]
fn the_effort_of_a_batch_is_that_of_its_shapes() {
    let effort = |checkpoint_iterations| {
        let objective = LoopedObjective {
            checkpoint_iterations,
            ..aligned()
        };
        let batches = Objective::<Flex>::collate(&objective, &[example(0, 3, 1)]).unwrap();
        let width = batches[0].host.width as u64;
        let columns: usize = batches[0].host.columns.iter().sum();
        let effort = Objective::<Flex>::effort(&objective, &batches[0]);
        assert_eq!((effort.tokens, effort.learnt.passes), (width, 3 * width));
        assert_eq!(effort.learnt.pairs, 3 * width * width);
        assert_eq!(effort.learnt.readouts, columns as u64 + 1);
        (effort.forward.passes / width, effort.forward.readouts)
    };
    assert_eq!([0, 1, 2, 3].map(effort), [(0, 0), (2, 0), (2, 0), (0, 0)]);

    let batches = Objective::<Flex>::collate(&next_token(), &[example(0, 3, 1)]).unwrap();
    let effort = Objective::<Flex>::effort(&next_token(), &batches[0]);
    assert_eq!(effort.learnt.passes, batches[0].host.width as u64);
    assert_eq!(effort.learnt.readouts, batches[0].host.columns as u64);
    assert_eq!(effort.block_passes(), effort.tokens);
}
