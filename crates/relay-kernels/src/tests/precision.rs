//! In which precision the public functions compute on a CPU.

use burn::backend::Flex;

use super::layer::{run, run_in};
use super::ops::{Inputs, Tracked, floats, spec};
use super::{Case, SWITCH};
use crate::isa::Isa;
use crate::{Precision, layer, precision, with_generation_of, with_precision};

/// Small and large, with and without dropout.
fn cases() -> Vec<Case> {
    let large = Case::large();
    vec![Case::small()[0].clone(), large[2].clone(), large[5].clone()]
}

/// Output and gradients of a layer that is recorded in one precision, with the backward pass called in another.
fn passes(
    case: &Case,
    t: &[Vec<f32>],
    grad: &[f32],
    [forward, backward]: [Precision; 2],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let inputs = Inputs::recorded(case, t);
    let record = || layer(&inputs.x, inputs.params(), &spec(case)).unwrap();
    let out = with_precision(forward, record);
    let numbers = floats(out.clone());
    let gradients = with_precision(backward, || inputs.gradients(out, grad.to_vec()));
    (numbers, gradients)
}

/// In the order of [`passes`]: input, vectors, matrices.
fn ordered((out, gradients): (Vec<f32>, Vec<Vec<f32>>)) -> (Vec<f32>, Vec<Vec<f32>>) {
    let order = [0, 1, 2, 7, 8, 10, 12, 3, 4, 5, 6, 9, 11];
    (out, order.map(|i: usize| gradients[i].clone()).to_vec())
}

#[test]
fn recorded_layers_are_in_the_precision_of_their_recording() {
    let _on = SWITCH.lock();
    for case in cases() {
        let (t, grad) = case.tensors(11);
        let exact = ordered(run(&case, Isa::best(), &t, &grad));
        let rounded = ordered(run_in(&case, Isa::best(), &t, &grad, |weights| {
            (weights.forward_bf16(), weights.backward_bf16())
        }));
        assert_ne!(exact, rounded, "{case:?}");
        for backward in [Precision::F32, Precision::Bf16] {
            let found = |forward| passes(&case, &t, &grad, [forward, backward]);
            assert_eq!(found(Precision::Bf16), rounded, "{case:?} {backward}");
            assert_eq!(found(Precision::F32), exact, "{case:?} {backward}");
        }
    }
}

#[test]
fn layers_that_are_not_recorded_are_in_f32() {
    let _on = SWITCH.lock();
    for case in cases() {
        let (t, _) = case.tensors(12);
        let plain = Inputs::<Flex>::new(&case, &t);
        let mut tracked = Inputs::<Tracked>::new(&case, &t);
        // They are parameters, which are recorded unless it is said otherwise.
        let matrices = tracked.matrices.into_iter();
        tracked.matrices = matrices.map(|x| x.set_require_grad(false)).collect();
        let outputs = || {
            [
                floats(layer(&plain.x, plain.params(), &spec(&case)).unwrap()),
                floats(layer(&tracked.x, tracked.params(), &spec(&case)).unwrap()),
            ]
        };
        assert_eq!(with_precision(Precision::Bf16, outputs), outputs());
    }
}

#[test]
fn generation_on_a_cpu_is_in_f32() {
    for trained in [Precision::F32, Precision::Bf16] {
        let within = || with_generation_of::<Flex, _>(trained, precision);
        for around in [Precision::F32, Precision::Bf16] {
            assert_eq!(with_precision(around, within), Precision::F32);
        }
    }
}
