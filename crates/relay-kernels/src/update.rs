//! The step of an optimizer over many parameters at once.

use core::any::Any;

use burn::tensor::{DType, Tensor, TensorPrimitive, backend::Backend};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::floats::tensor;
use crate::isa::Isa;
use crate::switch::enabled;
use crate::{adamw, muon};

/// A parameter, its gradient and the rule by which it moves.
#[derive(Debug, Clone)]
pub struct Update<B: Backend> {
    /// The parameter, flat; [`update`] replaces it by its successor.
    pub value: Tensor<B, 1>,
    /// Its gradient, flat.
    pub gradient: Tensor<B, 1>,
    /// What the gradient is multiplied with before anything else.
    pub clip: f64,
    /// Factor of the rule's direction.
    pub learning_rate: f64,
    /// Factor of the parameter before the step: 1 without weight decay.
    pub keep: f64,
    /// The rule and what it remembers.
    pub rule: Rule<B>,
}

/// A rule by which parameters move.
#[derive(Debug, Clone)]
pub enum Rule<B: Backend> {
    /// AdamW.
    AdamW {
        /// Running means of gradients and of their squares; zeros at first.
        moments: [Tensor<B, 1>; 2],
        /// Updates that the moments have seen before this one; [`update`] adds 1.
        time: i64,
        /// Decay of the two means.
        betas: [f64; 2],
        /// Added to the root of the mean of squares.
        epsilon: f64,
    },
    /// Muon with Nesterov's momentum, for matrices.
    Muon {
        /// Running sum of gradients; zeros at first.
        velocity: Tensor<B, 1>,
        /// `[in, out]` of the matrix; its step is scaled by `sqrt(out / in)` where it widens.
        shape: [usize; 2],
        /// Decay of the velocity.
        momentum: f64,
        /// Newton-Schulz iterations.
        iterations: usize,
    },
}

/// Takes a step with every parameter, or gives `updates` back as they are where there is no kernel.
///
/// On `burn::backend::Cuda` there is a kernel, with the feature `cuda`, for updates that are all by AdamW.
///
/// On a CPU what the rules remember is changed in place where nobody else holds it, and parameters get new memory; on CUDA all get new
/// memory. Results do not depend on the number of threads.
///
/// # Panics
/// If the tensors of a parameter are not of one length, or a matrix for Muon has not as many elements as its shape.
pub fn update<B: Backend>(mut updates: Vec<Update<B>>) -> Result<Vec<Update<B>>, Vec<Update<B>>> {
    #[cfg(feature = "cuda")]
    match crate::cuda::update(updates) {
        Ok(updates) => return Ok(updates),
        Err(as_they_are) => updates = as_they_are,
    }
    let ours = (&mut updates as &mut dyn Any).downcast_mut::<Vec<Update<Flex>>>();
    match ours {
        Some(ours) if enabled() && ours.iter().all(Update::single) => {
            // One at a time: a large matrix is not to take the small ones behind it along.
            *ours = core::mem::take(ours)
                .into_par_iter()
                .with_max_len(1)
                .map(|update| update.step(Isa::best()))
                .collect();
            Ok(updates)
        }
        _ => Err(updates),
    }
}

#[cfg(feature = "cuda")]
impl<B: Backend> Update<B> {
    /// The moments and the numbers of the step, if AdamW moves this parameter.
    pub(crate) fn adamw(&self) -> Option<(&[Tensor<B, 1>; 2], adamw::Step)> {
        let Rule::AdamW {
            moments,
            time,
            betas,
            epsilon,
        } = &self.rule
        else {
            return None;
        };
        for tensor in [&self.gradient, &moments[0], &moments[1]] {
            assert_eq!(tensor.dims(), self.value.dims(), "shapes of an update");
        }
        let step = adamw_step(self.numbers(), *betas, *epsilon, *time);
        Some((moments, step))
    }

    /// What is left when AdamW has made this of value and moments.
    pub(crate) fn moved_by_adamw(mut self, value: Tensor<B, 1>, new: [Tensor<B, 1>; 2]) -> Self {
        if let Rule::AdamW { moments, time, .. } = &mut self.rule {
            (*moments, *time) = (new, *time + 1);
        }
        Self { value, ..self }
    }
}

impl Update<Flex> {
    /// Whether all is `f32`. Asserts that all fits together.
    fn single(&self) -> bool {
        let remembered = match &self.rule {
            Rule::AdamW { moments, .. } => moments.each_ref(),
            Rule::Muon {
                velocity, shape, ..
            } => {
                let len = self.value.dims()[0];
                assert_eq!(shape[0] * shape[1], len, "elements of a {shape:?} matrix");
                [velocity; 2]
            }
        };
        let [first, second] = remembered;
        [&self.value, &self.gradient, first, second]
            .into_iter()
            .all(|tensor| {
                assert_eq!(tensor.dims(), self.value.dims(), "shapes of an update");
                tensor.dtype() == DType::F32
            })
    }

    pub(crate) fn step(self, isa: Isa) -> Self {
        let numbers = self.numbers();
        let (value, gradient) = (owned(self.value), owned(self.gradient));
        let both = [value.storage(), gradient.storage()];
        let (new, rule) = self.rule.step(isa, numbers, both);
        let len = new.len();
        Self {
            value: flat(tensor(new, [len])),
            gradient: flat(gradient),
            rule,
            ..self
        }
    }
}

impl Rule<Flex> {
    /// The successor of the parameter `old` with that gradient, and the rule with what it remembers now.
    fn step(self, isa: Isa, numbers: Numbers, [old, gradient]: [&[f32]; 2]) -> (Vec<f32>, Self) {
        match self {
            Self::AdamW {
                moments,
                time,
                betas,
                epsilon,
            } => {
                let step = adamw_step(numbers, betas, epsilon, time);
                let [mut first, mut second] = moments.map(owned);
                let moments = [first.storage_mut(), second.storage_mut()];
                let new = adamw::step(isa, step, old, gradient, moments);
                let rule = Self::AdamW {
                    moments: [first, second].map(flat),
                    time: step.time,
                    betas,
                    epsilon,
                };
                (new, rule)
            }
            Self::Muon {
                velocity,
                shape,
                momentum,
                iterations,
            } => {
                let step = muon::Step {
                    momentum,
                    iterations,
                    clip: numbers.clip,
                    learning_rate: numbers.learning_rate,
                    keep: numbers.keep,
                };
                let mut velocity = owned(velocity);
                let new = muon::step(isa, step, shape, old, gradient, velocity.storage_mut());
                let rule = Self::Muon {
                    velocity: flat(velocity),
                    shape,
                    momentum,
                    iterations,
                };
                (new, rule)
            }
        }
    }
}

/// What both rules need of an update.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    clip: f64,
    learning_rate: f64,
    keep: f64,
}

impl<B: Backend> Update<B> {
    fn numbers(&self) -> Numbers {
        Numbers {
            clip: self.clip,
            learning_rate: self.learning_rate,
            keep: self.keep,
        }
    }
}

/// The step of moments that have seen `time` updates before it.
fn adamw_step(numbers: Numbers, betas: [f64; 2], epsilon: f64, time: i64) -> adamw::Step {
    adamw::Step {
        betas,
        epsilon,
        time: time + 1,
        clip: numbers.clip,
        learning_rate: numbers.learning_rate,
        keep: numbers.keep,
    }
}

/// The tensor's own memory; `storage_mut` copies it first if others hold it too.
fn owned(tensor: Tensor<Flex, 1>) -> FlexTensor {
    tensor.into_primitive().tensor().to_contiguous()
}

fn flat(tensor: FlexTensor) -> Tensor<Flex, 1> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}
