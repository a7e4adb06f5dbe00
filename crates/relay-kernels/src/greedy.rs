//! The most probable token of each state: final norm, product with a head, argmax, probability.

use core::any::TypeId;

#[cfg(feature = "cuda")]
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexTensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::choices::Choices;
use crate::floats::{Floats, primitive};
use crate::isa::Isa;
use crate::math::exp;
#[cfg(feature = "cuda")]
use crate::node::float_tensor;
use crate::pack::{Matrix, Packed};
use crate::pool::{cut_mut, with_scratch};
use crate::product::{left, times_packed};
use crate::rows::Norm;
use crate::switch::enabled;

/// Rows that one task reads out.
const ROWS: usize = 64;

/// A head that gives logits, and the norm before it; `d` is the model width.
#[derive(Debug, Clone, Copy)]
pub struct ReadoutParams<'a, B: Backend> {
    /// Scale and shift of the norm before the head, `[d]` each; None where states are normalised already.
    pub norm: Option<[&'a Tensor<B, 1>; 2]>,
    /// The head's matrix, `[d, vocab]`.
    pub weight: &'a Tensor<B, 2>,
    /// The head's bias, `[vocab]`.
    pub bias: &'a Tensor<B, 1>,
    /// Added to the variance in the norm; usually 1e-5.
    pub epsilon: f32,
}

#[cfg(feature = "cuda")]
impl<B: Backend> ReadoutParams<'_, B> {
    /// The primitives of what is read out or embeds tokens, `first`, of matrix and bias, and of the norm's scale and shift.
    ///
    /// # Panics
    /// If the parameters do not fit `first`.
    pub(crate) fn primitives(&self, first: &Tensor<B, 2>) -> Vec<FloatTensor<B>> {
        check(first.dims()[1], self);
        let mut tensors = vec![
            float_tensor(first),
            float_tensor(self.weight),
            float_tensor(self.bias),
        ];
        let norm = self.norm.iter().flatten();
        tensors.extend(norm.map(|vector| float_tensor(*vector)));
        tensors
    }
}

/// The most probable token of each row, the first among equals, and its probability; `None` where there is no kernel.
///
/// On `burn::backend::Cuda` there is a kernel with the feature `cuda`: states and matrix are rounded as
/// [`Precision`](crate::Precision) says, sums and logits are f32.
///
/// Logits that are no number never win; a row of nothing else gives token 0. Where a probability cannot be told, because
/// of such logits or infinite ones, it is 0.
///
/// # Shapes
/// - `states`: `[rows, d]`; the result: `rows` entries.
///
/// # Panics
/// If the shapes of the parameters do not fit `states`.
pub fn greedy<B: Backend>(
    states: &Tensor<B, 2>,
    params: ReadoutParams<'_, B>,
) -> Option<Choices<B>> {
    let [rows, d] = states.dims();
    #[cfg(feature = "cuda")]
    if crate::cuda::wanted::<B>() {
        let epsilon = params.norm.map(|_| params.epsilon);
        return crate::cuda::greedy::<B>(params.primitives(states), epsilon);
    }
    if !enabled() || TypeId::of::<B>() != TypeId::of::<Flex>() {
        return None;
    }
    let states = Floats::new(&primitive::<B, FlexTensor, 2>(states)?)?;
    let readout = Readout::new(Isa::best(), d, params)?;
    let mut chosen = vec![(0, 0.0); rows];
    states
        .get()
        .par_chunks(ROWS * d)
        .zip(chosen.par_chunks_mut(ROWS))
        .for_each(|(states, chosen)| {
            with_scratch(readout.scratch(chosen.len()), |scratch| {
                readout.choose(states, scratch, chosen);
            });
        });
    Some(chosen.into())
}

/// Asserts that the parameters fit states of width `d`; gives the number of tokens.
pub(crate) fn check<B: Backend>(d: usize, params: &ReadoutParams<'_, B>) -> usize {
    let [rows, vocab] = params.weight.dims();
    assert_eq!(rows, d, "rows of a head for states of width {d}");
    assert_eq!(params.bias.dims(), [vocab], "bias of a head of {vocab}");
    for vector in params.norm.iter().flatten() {
        assert_eq!(vector.dims(), [d], "norm of width {d}");
    }
    vocab
}

/// A head ready for use.
#[derive(Debug)]
pub(crate) struct Readout {
    isa: Isa,
    norm: Option<[Floats; 2]>,
    weight: Packed,
    bias: Floats,
    epsilon: f32,
}

impl Readout {
    /// None if a tensor is not one of `f32` on Flex, or if there is nothing to choose from.
    pub fn new<B: Backend>(isa: Isa, d: usize, params: ReadoutParams<'_, B>) -> Option<Self> {
        let vocab = check(d, &params);
        if d == 0 || vocab == 0 {
            return None;
        }
        let norm = match params.norm {
            Some([gamma, beta]) => {
                let floats = |x| Floats::new(&primitive::<B, FlexTensor, 1>(x)?);
                Some([floats(gamma)?, floats(beta)?])
            }
            None => None,
        };
        let weight = Floats::new(&primitive::<B, FlexTensor, 2>(params.weight)?)?;
        let matrix = Matrix {
            data: weight.get(),
            rows: d,
            cols: vocab,
        };
        Some(Self {
            isa,
            norm,
            weight: Packed::beside(isa, &[matrix]),
            bias: Floats::new(&primitive::<B, FlexTensor, 1>(params.bias)?)?,
            epsilon: params.epsilon,
        })
    }

    /// Floats of scratch memory for so many rows.
    pub fn scratch(&self, rows: usize) -> usize {
        rows * (self.weight.depth + 2 + self.weight.cols)
    }

    /// The choice of each row of `states`.
    pub fn choose(&self, states: &[f32], mut scratch: &mut [f32], chosen: &mut [(u32, f32)]) {
        let (rows, d, vocab) = (chosen.len(), self.weight.depth, self.weight.cols);
        let logits = cut_mut(&mut scratch, rows * vocab);
        let moments = cut_mut(&mut scratch, rows * 2);
        let normal = cut_mut(&mut scratch, rows * d);
        let states = match &self.norm {
            Some([gamma, beta]) => {
                self.isa.run(Norm {
                    x: states,
                    gamma: gamma.get(),
                    beta: beta.get(),
                    epsilon: self.epsilon,
                    out: normal,
                    moments,
                });
                &*normal
            }
            None => states,
        };
        times_packed(
            self.isa,
            rows,
            left(states, d),
            &self.weight,
            logits,
            vocab,
            false,
        );
        self.isa.run(Choose {
            logits,
            bias: self.bias.get(),
            chosen,
        });
    }
}

/// Adds the bias to rows of logits and takes the largest of each.
struct Choose<'a> {
    logits: &'a mut [f32],
    bias: &'a [f32],
    chosen: &'a mut [(u32, f32)],
}

impl WithSimd for Choose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rows = self.logits.chunks_exact_mut(self.bias.len());
        for (row, chosen) in rows.zip(self.chosen) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x += bias;
            }
            *chosen = choose(s, row);
        }
    }
}

/// The first of the largest numbers of a row, and its share in the softmax.
#[inline(always)]
fn choose<S: Simd>(s: S, row: &[f32]) -> (u32, f32) {
    let (vectors, rest) = S::as_simd_f32s(row);
    let mut most = s.splat_f32s(f32::NEG_INFINITY);
    for x in vectors {
        // Not a maximum, whose answer to what is no number depends on the order.
        most = s.select_f32s(s.less_than_f32s(most, *x), *x, most);
    }
    let most = s.reduce_max_f32s(most);
    let most = rest
        .iter()
        .fold(most, |most, x| if *x > most { *x } else { most });
    if most == f32::NEG_INFINITY {
        return (0, 0.0);
    }

    let shift = s.splat_f32s(most);
    let mut sum = s.splat_f32s(0.0);
    for x in vectors {
        sum = s.add_f32s(sum, exp(s, s.sub_f32s(*x, shift)));
    }
    let rest: f32 = rest.iter().map(|x| (x - most).exp()).sum();
    let probability = (s.reduce_sum_f32s(sum) + rest).recip();
    let probability = if probability.is_finite() {
        probability
    } else {
        0.0
    };
    (first(row, most) as u32, probability)
}

/// Where `value` first stands, looked for by blocks: a search that may stop anywhere is not vectorised.
#[inline(always)]
fn first(row: &[f32], value: f32) -> usize {
    const BLOCK: usize = 32;
    let holds = |block: &[f32]| block.iter().fold(false, |any, x| any | (*x == value));
    let start = BLOCK * row.chunks(BLOCK).position(holds).unwrap_or(0);
    let within = row[start..].iter().position(|x| *x == value);
    start + within.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Choose;
    use crate::isa::Isa;
    use crate::tests::noise;

    fn choose(isa: Isa, row: &[f32]) -> (u32, f32) {
        let mut chosen = [(9, 9.0)];
        isa.run(Choose {
            logits: &mut row.to_vec(),
            bias: &vec![0.0; row.len()],
            chosen: &mut chosen,
        });
        chosen[0]
    }

    #[test]
    fn takes_the_first_of_the_largest() {
        for isa in Isa::available() {
            for vocab in [1, 2, 16, 33, 64, 300] {
                for first in 0..vocab {
                    let mut row: Vec<f32> = noise(first as u64, vocab);
                    row[first] = 2.0;
                    row[first + (vocab - 1 - first) / 2] = 2.0;
                    let (token, probability) = choose(isa, &row);
                    let sum: f64 = row.iter().map(|x| f64::from(x - 2.0).exp()).sum();
                    assert_eq!(token as usize, first, "{isa:?} of {vocab}");
                    assert!((f64::from(probability) * sum - 1.0).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn survives_what_is_no_number() {
        for isa in Isa::available() {
            for vocab in [2, 40] {
                let mut row = vec![f32::NAN; vocab];
                assert_eq!(choose(isa, &row), (0, 0.0));
                row[1] = f32::NEG_INFINITY;
                assert_eq!(choose(isa, &row), (0, 0.0));
                row[1] = 1.0;
                assert_eq!(choose(isa, &row), (1, 0.0));
                row.fill(1.0);
                row[1] = f32::INFINITY;
                assert_eq!(choose(isa, &row), (1, 0.0));
                row[1] = f32::NEG_INFINITY;
                let (token, probability) = choose(isa, &row);
                assert_eq!(token, 0);
                assert!((probability * (vocab - 1) as f32 - 1.0).abs() < 1e-5);
            }
        }
    }
}
