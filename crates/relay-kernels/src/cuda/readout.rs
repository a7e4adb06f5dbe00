//! Norm, readout and masked cross-entropy as one operation on the tensors of burn's CUDA backend.
//!
//! With a norm only the rows that have a weight are read out. Without one all are: to leave some out the others would have
//! to be copied.

use std::sync::Arc;

use burn::tensor::DType;
use cubecl::server::Handle;

use super::launch::{Params, Parts, Queue, bytes, narrow};
use super::op::{Lazy, Operation, Saved, exactly, submit, submit_all};
use super::parameters::Shared;
use super::product::{Gradient, Product};
use super::rows::{Norm, NormBackward, kernel, round};
use super::source::{File, Kernel};
use super::weights::{self, Packed, take_columns};
use crate::cross_entropy::Labels;
use crate::switch::Precision;

/// What the columns of logits are a multiple of: tiles of the products.
pub(super) const COLUMNS: usize = 128;
/// Most columns of logits: a row stays in the registers of a warp.
const MOST: usize = 1024;
/// Most blocks that take rows: eight on each of an H100's multiprocessors.
const BLOCKS: usize = 8 * 132;

/// The columns of the logits of states, the first tensor, with those that only fill a tile up. None if a tensor is not of
/// `f32`, or if there are no kernels for such sizes.
pub(super) fn columns(tensors: &[Lazy], vocab: usize) -> Option<usize> {
    let (rows, d) = (tensors[0].shape[0], tensors[0].shape[1]);
    let padded = vocab.next_multiple_of(COLUMNS);
    let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
    let fits = rows > 0
        && vocab > 0
        && (1..=MOST).contains(&d)
        && d.is_multiple_of(64)
        && padded <= MOST
        && rows * padded.max(d) < 1 << 31;
    (floats && fits).then_some(padded)
}

#[derive(Debug)]
struct Plan {
    /// Of the states.
    rows: usize,
    d: usize,
    /// Columns of the logits in memory.
    padded: usize,
    /// What is added to the variance, if there is a norm.
    epsilon: Option<f32>,
    /// The rows that are read out, if not all are.
    chosen: Option<Vec<usize>>,
    /// Of the rows that are read out.
    labels: Labels,
    precision: Precision,
    /// Whether right guesses are counted.
    judged: bool,
}

impl Plan {
    fn read(&self) -> usize {
        self.labels.targets.len()
    }

    /// What the forward pass leaves: of what is read out the states, rounded, and the moments of their norm, the gradient of
    /// the logits and the sums of its columns, and the numbers of the rows.
    fn kept(&self) -> Parts<5> {
        let (read, padded, bytes) = (self.read(), self.padded, bytes(self.precision));
        Parts::of([
            bytes * read * self.d,
            8 * read,
            bytes * read * padded,
            4 * padded,
            4 * read,
        ])
    }
}

/// A readout of given rows and what is wanted of them.
#[derive(Debug)]
pub(super) struct Call {
    plan: Arc<Plan>,
    states: Lazy,
    weight: Packed,
    bias: Lazy,
    /// Scale and shift of the norm.
    norm: Option<[Lazy; 2]>,
    /// Where the number of right guesses is put, if it is wanted.
    right: Option<Shared>,
}

impl Call {
    /// From states, matrix and bias, and with `epsilon` the norm's scale and shift; `labels` are made if all else fits. None if a tensor is not of `f32`, or if
    /// there are no kernels for such sizes.
    pub fn new(
        tensors: Vec<Lazy>,
        epsilon: Option<f32>,
        labels: impl FnOnce() -> Labels,
        (precision, right): (Precision, Option<Shared>),
    ) -> Option<Self> {
        let (rows, d) = (tensors[0].shape[0], tensors[0].shape[1]);
        let padded = columns(&tensors, tensors[1].shape[1])?;
        let labels = labels();
        let (chosen, labels) = match epsilon {
            None => (None, labels),
            Some(_) => {
                let (chosen, labels) = labels.chosen();
                ((chosen.len() < rows).then_some(chosen), labels)
            }
        };
        if labels.targets.is_empty() {
            return None;
        }
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next();
        let (states, weight, bias) = (next()?, next()?, next()?);
        Some(Self {
            plan: Arc::new(Plan {
                rows,
                d,
                padded,
                epsilon,
                chosen,
                labels,
                precision,
                judged: right.is_some(),
            }),
            states,
            weight: weights::padded(&weight, COLUMNS, precision),
            bias,
            norm: next().zip(next()).map(<[Lazy; 2]>::from),
            right,
        })
    }

    fn inputs(&self) -> Vec<Lazy> {
        let weight = self.weight.transposed.clone();
        let first = [self.states.clone(), weight, self.bias.clone()];
        first
            .into_iter()
            .chain(self.norm.clone().into_iter().flatten())
            .collect()
    }

    /// Queues the forward pass; what else is to come out of it than loss and right guesses, by its form.
    fn queue<const M: usize>(
        &self,
        name: &'static str,
        others: [(DType, Vec<usize>); M],
    ) -> (Lazy, [Lazy; M]) {
        let plan = Arc::clone(&self.plan);
        let number = || (DType::F32, vec![1]);
        let outputs = [number(), number()].into_iter().chain(others);
        let work = move |queue: &Queue, inputs| {
            let mut results = forward(queue, &plan, inputs);
            results.truncate(2 + M);
            results
        };
        let name = (name, self.plan.precision);
        let mut results = submit_all(name, self.inputs(), outputs.collect(), work);
        let others = results.split_off(2);
        let [loss, right] = exactly(results);
        if let Some(place) = &self.right {
            place.put(right);
        }
        (loss, exactly(others))
    }
}

impl<const N: usize> Operation<N> for Call {
    type Saved = ForBackward;

    fn infer(self) -> Lazy {
        self.queue("relay_readout", []).0
    }

    fn forward(self) -> (Lazy, ForBackward) {
        let kept = self.plan.kept().form();
        let (loss, [kept]) = self.queue("relay_readout_forward", [kept]);
        let norm = self.norm.map(|[gamma, _]| [self.states, gamma]);
        let left = ForBackward {
            plan: self.plan,
            kept,
            weight: self.weight.rows,
            norm,
        };
        (loss, left)
    }
}

/// The loss, the number of right guesses, and what the backward pass needs.
fn forward(queue: &Queue, plan: &Plan, inputs: Vec<Handle>) -> Vec<Handle> {
    let (d, padded, read) = (plan.d, plan.padded, plan.read());
    let (states, weight, bias) = (&inputs[0], &inputs[1], &inputs[2]);
    let labels = &plan.labels;
    let all = queue.room(&plan.kept());
    let [normed, stats, logits, sums, chosen] = plan.kept().cut(&all);
    queue.zero(&sums, 4 * padded);
    let [loss, right, ignored] = queue.zeros([1, 1, d]);
    let uploaded = plan.chosen.as_ref().map(|rows| {
        let words: Vec<u32> = rows.iter().copied().map(narrow).collect();
        queue.upload(&words)
    });
    if let Some(uploaded) = &uploaded {
        // For the backward pass.
        take_columns(queue, uploaded, &chosen, [1, read, 0, read]);
    }
    match (plan.epsilon, &inputs[3..]) {
        (Some(epsilon), [gamma, beta]) => {
            let norm = Norm {
                sizes: [read, d],
                epsilon,
                x: states,
                vectors: [gamma, beta],
                chosen: uploaded.as_ref(),
            };
            norm.rounded(queue, &normed, &stats);
        }
        _ => round(queue, [read, d], states, None, [&normed, &ignored]),
    }
    let product = Product {
        left: &normed,
        right: weight,
        sizes: [read, padded, d],
    };
    product.rounded(queue, &logits);
    let targets: Vec<u32> = labels.targets.iter().map(|x| x.cast_unsigned()).collect();
    let weights: Vec<u32> = labels.weights.iter().map(|x| x.to_bits()).collect();
    let (targets, weights) = (queue.upload(&targets), queue.upload(&weights));
    let judged = ("JUDGED", u32::from(plan.judged));
    let defines = vec![("PADDED", narrow(padded)), queue.split(), judged];
    queue.launch(
        kernel(File::Readout, "cross_entropy", defines, 4 * padded),
        [read.div_ceil(8).min(BLOCKS), 1, 1],
        &[&logits, bias, &targets, &weights, &loss, &right, &sums],
        Params::sizes([read, labels.vocab, padded]),
    );
    vec![loss, right, all]
}

/// What the forward pass leaves.
#[derive(Debug, Clone)]
pub(super) struct ForBackward {
    plan: Arc<Plan>,
    kept: Lazy,
    /// The matrix as it is, which the backward pass reads as transposed.
    weight: Lazy,
    /// The states, and the norm's scale.
    norm: Option<[Lazy; 2]>,
}

impl<const N: usize> Saved<N> for ForBackward {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; N] {
        let plan = self.plan;
        let (d, vocab, precision) = (plan.d, plan.labels.vocab, plan.precision);
        let shapes = [
            vec![plan.rows, d],
            vec![d, vocab],
            vec![vocab],
            vec![d],
            vec![d],
        ];
        let outputs: [(DType, Vec<usize>); N] =
            core::array::from_fn(|index| (DType::F32, shapes[index].clone()));
        let inputs = [grad, self.kept, self.weight].into_iter();
        let inputs = inputs.chain(self.norm.into_iter().flatten());
        let gradients = submit(
            ("relay_readout_backward", precision),
            inputs.collect(),
            outputs,
            move |queue, inputs| backward(queue, &plan, inputs),
        );
        gradients.map(Some)
    }
}

/// The gradients of states, matrix and bias, and of the norm's scale and shift; that of the loss stays on the device.
fn backward(queue: &Queue, plan: &Plan, mut inputs: Vec<Handle>) -> Vec<Handle> {
    let (rows, d, padded, read) = (plan.rows, plan.d, plan.padded, plan.read());
    let of_norm = inputs.split_off(3);
    let [scale, kept, weight] = exactly(inputs);
    let [normed, stats, logits, sums, chosen] = plan.kept().cut(&kept);
    let [all] = queue.zeros([d * padded]);
    let gradient = Gradient {
        left: &normed,
        right: &logits,
        rows: read,
        sizes: [d, padded],
    };
    gradient.add_to(queue, &all);
    let [grad_weight, grad_bias] = finish(queue, plan, [&all, &sums, &scale]);
    let product = Product {
        left: &logits,
        right: &weight,
        sizes: [read, d, padded],
    };
    let [states, gamma] = of_norm.as_slice() else {
        let out = queue.floats(rows * d);
        product.scaled(queue, &scale, &out);
        return vec![out, grad_weight, grad_bias];
    };
    let (out, inner) = (queue.floats(rows * d), queue.operands(read * d));
    product.rounded(queue, &inner);
    let chosen = plan.chosen.as_ref().map(|_| &chosen);
    if chosen.is_some() {
        queue.zero(&out, 4 * rows * d);
    }
    let [grad_gamma, grad_beta] = queue.zeros([d, d]);
    let norm = NormBackward {
        sizes: [read, d],
        grad: &inner,
        wide: false,
        x: states,
        stats: &stats,
        gamma,
        skip: None,
        chosen,
        scale: Some(&scale),
        sums: [&grad_gamma, &grad_beta],
    };
    norm.run(queue, &out);
    vec![out, grad_weight, grad_bias, grad_gamma, grad_beta]
}

/// The gradients of matrix and bias without what is padding, times the scale.
fn finish(queue: &Queue, plan: &Plan, [all, sums, scale]: [&Handle; 3]) -> [Handle; 2] {
    let (d, vocab) = (plan.d, plan.labels.vocab);
    let (grad_weight, grad_bias) = (queue.floats(d * vocab), queue.floats(vocab));
    let finish = Kernel {
        file: File::Readout,
        name: "finish_readout",
        // Of no meaning to this kernel, but the file asks for it.
        defines: vec![("PADDED", narrow(COLUMNS))],
        threads: 256,
        shared: 0,
    };
    queue.launch(
        finish,
        [(d * vocab).div_ceil(256), 1, 1],
        &[all, sums, scale, &grad_weight, &grad_bias],
        Params::sizes([d, vocab, plan.padded]),
    );
    [grad_weight, grad_bias]
}
