//! What is no number is seen in what comes out, on every instruction set.

use super::noise;
use crate::cross_entropy::CrossEntropy;
use crate::isa::Isa;
use crate::softmax::Softmax;

/// Of rows with some entries that are not used, and one entry replaced.
fn softmax(isa: Isa, width: usize, valid: usize, at: usize, x: f32) -> Vec<f32> {
    let mut row = noise(1, width);
    row[at] = x;
    isa.run(Softmax {
        rows: &mut row,
        stride: width,
        width,
        valid: |_| valid,
    });
    row
}

#[test]
fn what_is_no_number_spreads_over_its_row() {
    for isa in Isa::available() {
        for valid in [1, 5, 32, 60, 64] {
            for at in [0, valid / 2, valid - 1] {
                for x in [f32::NAN, f32::INFINITY] {
                    let row = softmax(isa, 64, valid, at, x);
                    assert!(row[..valid].iter().all(|p| p.is_nan()), "{isa:?} {row:?}");
                    assert!(row[valid..].iter().all(|p| *p == 0.0), "{isa:?} {row:?}");
                }
            }
            if valid < 64 {
                // Where nothing is used it does not matter what there is.
                let row = softmax(isa, 64, valid, valid, f32::NAN);
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{isa:?}");
            }
        }
        let mut row = vec![f32::NAN; 64];
        isa.run(Softmax {
            rows: &mut row,
            stride: 64,
            width: 64,
            valid: |_| 64,
        });
        assert!(row.iter().all(|p| p.is_nan()), "{isa:?} {row:?}");
    }
}

#[test]
fn a_loss_of_what_is_no_number_is_none() {
    for isa in Isa::available() {
        for vocab in [1, 7, 16, 40, 65] {
            for (at, x) in [
                (0, f32::NAN),
                (vocab - 1, f32::NAN),
                (vocab / 2, f32::INFINITY),
            ] {
                let mut logits = noise(1, 2 * vocab);
                logits[vocab + at] = x;
                let mut gradient = vec![0.0; 2 * vocab];
                let mut judge = |weights: [f32; 2]| {
                    let judged = isa.run(CrossEntropy {
                        logits: &logits,
                        vocab,
                        stride: vocab,
                        targets: &[0, 0],
                        weights: &weights,
                        gradient: Some(&mut gradient),
                    });
                    (judged.loss, gradient.clone())
                };
                let (loss, gradient) = judge([1.0, 0.5]);
                assert!(loss.is_nan(), "{isa:?} {vocab} {at}: {loss}");
                assert!(gradient[..vocab].iter().all(|g| g.is_finite()));
                assert!(
                    gradient[vocab..].iter().all(|g| g.is_nan()),
                    "{isa:?} {gradient:?}"
                );
                let (loss, gradient) = judge([1.0, 0.0]);
                assert!(loss.is_finite() && gradient.iter().all(|g| g.is_finite()));
            }
        }
    }
}
