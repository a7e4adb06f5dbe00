//! Whole layers.

use std::time::Instant;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use relay_kernels::Precision;

use crate::case::{Case, Leaves};
use crate::numbers::{agree, agree_in, floats, noise, tensor};
use crate::{Cpu, Gpu};

fn check(case: &Case) {
    let data = case.data(3);
    let found = Leaves::<Gpu>::new(case, &data).run(case);
    let expected = Leaves::<Cpu>::new(case, &data).run(case);
    let what = format!(
        "{} x {}, causal {}, rope {}, slopes {}, dropout {}",
        case.batch,
        case.width,
        case.causal,
        case.rope,
        !case.slopes.is_empty(),
        case.dropout.is_some()
    );
    agree_in(case.precision, &what, &found, &expected);
}

/// In both precisions.
fn check_both(case: &Case) {
    check(case);
    check(&case.clone().within(Precision::F32));
}

#[test]
fn layers_agree() {
    for width in [66, 102] {
        check_both(&Case::new(5, width));
        check_both(&Case::new(5, width).padded());
        check_both(&Case::new(5, width).padded().dropping(0.1));
    }
}

#[test]
fn odd_layers_agree() {
    check_both(&Case::new(1, 2));
    check_both(&Case::new(3, 128).padded().dropping(0.3));
    check_both(&Case {
        causal: true,
        ..Case::new(4, 33).padded()
    });
    check_both(&Case {
        causal: true,
        rope: false,
        slopes: vec![0.5, 0.25, 0.125, 0.0625],
        ..Case::new(4, 70).padded().dropping(0.1)
    });
    // Samples of nothing but padding.
    check_both(&Case {
        pads: vec![20, 0, 19],
        ..Case::new(3, 20)
    });
    check_both(&Case {
        d: 128,
        heads: 2,
        m: 192,
        ..Case::new(7, 48)
    });
}

/// Wider than what one block takes of a head.
#[test]
fn long_layers_agree() {
    check_both(&Case::new(2, 130));
    check_both(&Case::new(3, 150).padded().dropping(0.1));
    let causal = |batch, width| Case {
        causal: true,
        ..Case::new(batch, width)
    };
    check_both(&causal(2, 256));
    check_both(&Case {
        pads: vec![0, 70, 200, 257],
        ..causal(4, 257).dropping(0.1)
    });
    check_both(&Case {
        rope: false,
        slopes: vec![0.5, 0.25, 0.125, 0.0625],
        pads: vec![131, 3],
        ..causal(2, 300).dropping(0.3)
    });
}

#[test]
fn calls_of_a_prepared_layer_add_up() {
    let case = Case::new(4, 30).padded().dropping(0.1);
    let data = case.data(5);
    let (gpu, cpu) = (
        Leaves::<Gpu>::new(&case, &data),
        Leaves::<Cpu>::new(&case, &data),
    );
    let found = gpu.results(&case, gpu.looped(&case, 4));
    agree(
        "four calls",
        &found,
        &cpu.results(&case, cpu.looped(&case, 4)),
    );
    // A second graph begins at nothing.
    agree("again", &gpu.results(&case, gpu.looped(&case, 4)), &found);
}

/// Kernels of inference have another order of sums: their results are near, not equal.
#[test]
fn inference_and_training_agree() {
    let narrow = Case {
        d: 128,
        heads: 2,
        ..Case::new(9, 48).padded()
    };
    let cases = [
        Case::new(3, 66).padded(),
        Case::new(300, 66).padded(),
        // A width for which layers are computed as in training, too.
        Case::new(3, 140).padded(),
        Case {
            m: 256,
            ..narrow.clone()
        },
        Case {
            causal: true,
            rope: false,
            slopes: vec![0.5, 0.25, 0.125, 0.0625],
            ..Case::new(4, 70).padded()
        },
        // A width of the MLP for which layers are computed as in training.
        Case { m: 192, ..narrow },
    ];
    let exact = cases.clone().map(|case| case.within(Precision::F32));
    for case in cases.into_iter().chain(exact) {
        let leaves = Leaves::<Gpu>::new(&case, &case.data(9));
        let trained = floats(leaves.layer(&case));
        let untracked = Leaves::<Gpu> {
            x: leaves.x.detach().set_require_grad(false),
            vectors: leaves.vectors.map(|v| v.detach().set_require_grad(false)),
            matrices: leaves.matrices.map(|m| m.detach().set_require_grad(false)),
        };
        let inferred = floats(untracked.layer(&case));
        let what = format!("inference of {} x {}, d {}", case.batch, case.width, case.d);
        agree_in(
            case.precision,
            &what,
            &[("output", inferred)],
            &[("output", trained)],
        );
    }
}

/// Each is of the precision in which its parameters were prepared, whatever came before.
#[test]
fn precisions_do_not_mix() {
    let case = Case::new(3, 66).padded();
    let exact = case.clone().within(Precision::F32);
    let leaves = Leaves::<Gpu>::new(&case, &case.data(9));
    let [first, rounded, again] = [&exact, &case, &exact].map(|case| floats(leaves.layer(case)));
    assert!(first == again && first != rounded);
}

#[test]
fn changed_weights_are_seen() {
    let case = Case::new(2, 40);
    let mut data = case.data(1);
    let mut leaves = Leaves::<Gpu>::new(&case, &data);
    let before = leaves.run(&case);
    assert_eq!(before[0], leaves.run(&case)[0], "the same twice");
    // As an optimizer does it: the result of an operation takes the place of the matrix.
    leaves.matrices[4] = (leaves.matrices[4].clone() * 0.5).detach().require_grad();
    data[9].iter_mut().for_each(|x| *x *= 0.5);
    let after = leaves.run(&case);
    assert!(before[0] != after[0], "another matrix, another result");
    let expected = Leaves::<Cpu>::new(&case, &data).run(&case);
    agree("after a change", &after, &expected);
}

/// Prints how long layers take forward and backward.
#[test]
#[ignore = "measures and checks nothing: --ignored --nocapture, on a device that nobody else uses"]
fn time_of_a_layer() {
    time(&Case::new(512, 66).padded().dropping(0.1));
    time(&Case {
        causal: true,
        ..Case::new(32, 1024).dropping(0.1)
    });
}

fn time(case: &Case) {
    const REPETITIONS: usize = 5;
    const LAYERS: usize = 20;
    let leaves = Leaves::<Gpu>::new(case, &case.data(1));
    let shape = [case.batch, case.width, case.d];
    let grad: Tensor<Gpu, 3> = tensor(&noise(77, shape.iter().product()), shape);
    let device = leaves.x.device();
    let once = || {
        let out = leaves.looped(case, LAYERS);
        let graph = (out * grad.clone()).sum().backward();
        drop(leaves.x.grad(&graph));
    };
    (0..3).for_each(|_| once());
    Gpu::sync(&device).unwrap();
    let start = Instant::now();
    (0..REPETITIONS).for_each(|_| once());
    Gpu::sync(&device).unwrap();
    let time = start.elapsed().as_secs_f64() / (REPETITIONS * LAYERS) as f64;
    println!(
        "a layer, {shape:?}, forward and backward: {:.3} ms",
        1e3 * time
    );
}
