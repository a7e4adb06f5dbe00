//! The plain functions of a layer, on every instruction set and number of threads.

use super::{Case, assert_close, assert_same_on_threads, doubles, reference};
use crate::attention::Attention;
use crate::bf16::Duo;
use crate::block::{Block, Vectors};
use crate::floats::{Floats, tensor};
use crate::form::Form;
use crate::isa::Isa;
use crate::pool::{Buffer, with_scratch};
use crate::rope::Rope;
use crate::weights::{Four, Weights};

pub(super) fn run(
    case: &Case,
    isa: Isa,
    t: &[Vec<f32>],
    grad: &[f32],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    run_in(case, isa, t, grad, |weights| {
        (&weights.forward, weights.backward())
    })
}

/// Output and gradients, with the matrices that `choose` takes for either pass.
pub(super) fn run_in<E: Form>(
    case: &Case,
    isa: Isa,
    t: &[Vec<f32>],
    grad: &[f32],
    choose: impl Fn(&Weights) -> (&Four<E>, &Four<E>),
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (d, m, width) = (case.d, case.m, case.width);
    let rope = case.rope.then(|| Rope::of(width, d / case.heads, 10_000.0));
    let attention = Attention {
        isa,
        width,
        heads: case.heads,
        head_dim: d / case.heads,
        causal: case.causal,
        rope,
        slopes: case.slopes.clone(),
        dropout: case.dropout.map(|dropout| dropout.probabilities),
    };
    let block = Block {
        attention,
        batch: case.batch,
        d,
        m,
        epsilon: 1e-5,
        dropout: case.dropout,
        pads: case.pads.clone(),
    };
    let matrices = [3, 4, 5, 6, 9, 11]
        .map(|i: usize| Floats::new(&tensor(t[i].clone(), [t[i].len()])).unwrap());
    let weights = Weights::of(isa, d, m, matrices);
    let (forward, backward) = choose(&weights);
    let vectors = Vectors::of([1, 2, 7, 8, 10, 12].map(|i: usize| &t[i][..]));
    let mut saved = Buffer::take(case.batch * block.saved());
    saved.fill(f32::NAN);
    // Nor does it matter what memory held that is used on the way.
    let scratch = 1 << 16;
    rayon::broadcast(|_| {
        with_scratch(scratch, |x: &mut [f32]| x.fill(f32::NAN));
        with_scratch(scratch, |x: &mut [Duo]| x.fill(Duo(0x7fc0_7fc0)));
    });
    let mut used: Vec<_> = (0..4).map(|i| Buffer::take(scratch << i)).collect();
    used.iter_mut().for_each(|used| used.fill(f32::NAN));
    drop(used);
    let mut used: Vec<_> = (0..4).map(|i| Buffer::take(scratch << i)).collect();
    used.iter_mut().for_each(|used| used.fill(Duo(0x7fc0_7fc0)));
    drop(used);
    let out = block.forward(&t[0], vectors, forward, Some(&mut saved));
    assert_eq!(
        out,
        block.forward(&t[0], vectors, forward, None),
        "with and without saving"
    );
    let g = block.backward(&t[0], grad, vectors, backward, &saved);
    let [query, key, value, output, up, down] = g.matrices;
    let [gamma, beta, gamma_mlp, beta_mlp, up_bias, down_bias] = g.vectors;
    let gradients = vec![
        g.x, gamma, beta, query, key, value, output, gamma_mlp, beta_mlp, up, up_bias, down,
        down_bias,
    ];
    (out, gradients)
}

#[test]
fn agrees_with_finite_differences() {
    for (index, case) in Case::small().iter().enumerate() {
        let (t, grad) = case.tensors(index as u64 * 1000);
        let exact: Vec<_> = t.iter().map(|t| doubles(t)).collect();
        let expected = reference::forward(case, &exact);
        let expected_gradients = reference::gradients(case, &exact, &doubles(&grad));
        for isa in Isa::available() {
            let (out, gradients) = run(case, isa, &t, &grad);
            assert_close(&format!("{case:?} {isa:?} output"), &out, &expected, 3e-6);
            for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate()
            {
                assert_close(
                    &format!("{case:?} {isa:?} gradient {index}"),
                    found,
                    expected,
                    2e-5,
                );
            }
        }
    }
}

#[test]
fn instruction_sets_agree() {
    for (index, case) in Case::large().iter().enumerate() {
        let (t, grad) = case.tensors(index as u64 * 1000);
        let mut results = Isa::available()
            .into_iter()
            .map(|isa| run(case, isa, &t, &grad));
        let (plain, plain_gradients) = results.next().unwrap();
        let exact: Vec<_> = t.iter().map(|t| doubles(t)).collect();
        assert_close(
            &format!("{case:?}"),
            &plain,
            &reference::forward(case, &exact),
            5e-6,
        );
        for (out, gradients) in results {
            assert_close(&format!("{case:?} output"), &out, &doubles(&plain), 5e-6);
            for (index, (found, expected)) in gradients.iter().zip(&plain_gradients).enumerate() {
                assert_close(
                    &format!("{case:?} gradient {index}"),
                    found,
                    &doubles(expected),
                    2e-5,
                );
            }
        }
    }
}

#[test]
fn does_not_depend_on_threads() {
    for case in Case::large() {
        let (t, grad) = case.tensors(7);
        assert_same_on_threads(|| run(&case, Isa::best(), &t, &grad));
    }
}
