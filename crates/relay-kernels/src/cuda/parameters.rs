//! A layer's parameters as one tensor: vectors in f32, matrices as products read them, as they are and transposed.
//!
//! The gradient has the same parts, all in f32. All calls of a layer in a graph add to one gradient on the device; the graph
//! itself gets it once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::DType;
use cubecl::server::Handle;

use super::launch::{Parts, Queue, bytes};
use super::op::{Lazy, Operation, Saved, submit};
use super::weights::{place, take_columns};
use crate::switch::Precision;

/// Which parts there are: scale and shift of the first norm, of the second, both biases, then the matrices of queries, keys
/// and values side by side, of the output, up and down.
pub(super) type Fields = Parts<10>;

/// The fields of a layer of width `d` with an MLP of width `m`, packed in a precision.
pub(super) fn fields(d: usize, m: usize, precision: Precision) -> Fields {
    of_layer(d, m, 2 * bytes(precision))
}

/// The gradients of the fields.
pub(super) fn sums(d: usize, m: usize) -> Fields {
    of_layer(d, m, 4)
}

/// With so many bytes for a number of a matrix.
fn of_layer(d: usize, m: usize, bytes: usize) -> Fields {
    let vectors = [d, d, d, d, m, d].map(|count| 4 * count);
    let matrices = [3 * d * d, d * d, d * m, m * d].map(|count| bytes * count);
    let all = core::array::from_fn(|index| match vectors.get(index) {
        Some(size) => *size,
        None => matrices[index - vectors.len()],
    });
    Parts::of(all)
}

/// Both forms of a matrix, of so many bytes each, from its part: as it is, and transposed.
pub(super) fn forms(part: &Handle, bytes: usize) -> [Handle; 2] {
    [
        part.clone().offset_end(bytes as u64),
        part.clone().offset_start(bytes as u64),
    ]
}

/// A tensor that others are to find: the right guesses of a readout.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Option<Lazy>>>);

impl Shared {
    /// The tensor, if there is one by now.
    pub fn get(&self) -> Option<Lazy> {
        let tensor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tensor.clone()
    }

    /// For those that ask later.
    pub fn put(&self, tensor: Lazy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tensor);
    }
}

/// The gradient that the calls of a layer in a graph add to, until the graph takes it.
#[derive(Debug, Clone)]
pub(crate) struct Gathered<T = Lazy>(Arc<Mutex<Gathering<T>>>);

#[derive(Debug, Clone)]
enum Gathering<T> {
    Nothing,
    Sum(T),
    /// Whatever comes now is lost.
    Taken,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Gathering::Nothing)))
    }
}

impl<T: Clone> Gathered<T> {
    fn lock(&self) -> MutexGuard<'_, Gathering<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is by now.
    ///
    /// # Panics
    /// As [`check`](Self::check) does.
    pub fn get(&self) -> Option<T> {
        self.check();
        match &*self.lock() {
            Gathering::Sum(sum) => Some(sum.clone()),
            Gathering::Nothing | Gathering::Taken => None,
        }
    }

    /// Where others add from now on.
    pub fn put(&self, sum: T) {
        *self.lock() = Gathering::Sum(sum);
    }

    /// The graph has it.
    pub fn take(&self) {
        *self.lock() = Gathering::Taken;
    }

    /// # Panics
    /// If the graph has it.
    pub fn check(&self) {
        assert!(
            !matches!(*self.lock(), Gathering::Taken),
            "a layer that was prepared for a graph is used after its backward pass: prepare it again"
        );
    }
}

/// The twelve parameters of a layer in the order of their fields.
#[derive(Debug)]
pub(super) struct Pack {
    tensors: [Lazy; 12],
    gradient: Gathered,
    d: usize,
    m: usize,
    precision: Precision,
}

impl Pack {
    /// Of a layer that kernels [fit](super::layer::fits). None if a tensor is not of `f32`.
    pub fn new(tensors: [Lazy; 12], gradient: Gathered, precision: Precision) -> Option<Self> {
        let (d, m) = (tensors[0].shape[0], tensors[8].shape[1]);
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        floats.then_some(Self {
            tensors,
            gradient,
            d,
            m,
            precision,
        })
    }
}

impl Operation<12> for Pack {
    type Saved = Unpack;

    fn forward(self) -> (Lazy, Unpack) {
        let Self {
            tensors,
            gradient,
            d,
            m,
            precision,
        } = self;
        let outputs = [fields(d, m, precision).form()];
        let work = move |queue: &Queue, inputs: Vec<Handle>| {
            vec![pack(queue, &fields(d, m, precision), [d, m], &inputs)]
        };
        let name = ("relay_pack_layer", precision);
        let [out] = submit(name, tensors.into(), outputs, work);
        (out, Unpack { gradient, d, m })
    }
}

fn pack(queue: &Queue, fields: &Fields, [d, m]: [usize; 2], inputs: &[Handle]) -> Handle {
    let all = queue.room(fields);
    let parts = fields.cut(&all);
    let vectors = [(0, d), (1, d), (6, d), (7, d), (9, m), (11, d)];
    for (part, (input, count)) in parts.iter().zip(vectors) {
        // A matrix of one row, of which there is nothing to transpose.
        take_columns(queue, &inputs[input], part, [1, count, 0, count]);
    }
    let qkv = forms(&parts[6], queue.bytes() * 3 * d * d);
    for (index, input) in inputs[2..5].iter().enumerate() {
        place(queue, input, &qkv, [d, d, index * d, 3 * d]);
    }
    let matrices = [(5, [d, d]), (8, [d, m]), (10, [m, d])];
    for (part, (input, [inner, outer])) in parts[7..].iter().zip(matrices) {
        let both = forms(part, queue.bytes() * inner * outer);
        place(queue, &inputs[input], &both, [inner, outer, 0, outer]);
    }
    all
}

/// The way back of the gradient.
#[derive(Debug, Clone)]
pub(super) struct Unpack {
    gradient: Gathered,
    d: usize,
    m: usize,
}

impl Saved<12> for Unpack {
    fn backward(self, grad: Lazy) -> [Option<Lazy>; 12] {
        let Self { gradient, d, m } = self;
        gradient.take();
        let square = || vec![d, d];
        let shapes = [
            vec![d],
            vec![d],
            square(),
            square(),
            square(),
            square(),
            vec![d],
            vec![d],
            vec![d, m],
            vec![m],
            vec![m, d],
            vec![d],
        ];
        let outputs = shapes.map(|shape| (DType::F32, shape));
        let gradients = submit(
            ("relay_unpack_layer", Precision::F32),
            vec![grad],
            outputs,
            move |queue, inputs| {
                let parts = sums(d, m).cut(&inputs[0]);
                let [query, key, value] = core::array::from_fn(|index| {
                    let out = queue.floats(d * d);
                    take_columns(queue, &parts[6], &out, [d, d, index * d, 3 * d]);
                    out
                });
                let [
                    gamma,
                    beta,
                    gamma_mlp,
                    beta_mlp,
                    up_bias,
                    down_bias,
                    _,
                    output,
                    up,
                    down,
                ] = parts;
                vec![
                    gamma, beta, query, key, value, output, gamma_mlp, beta_mlp, up, up_bias, down,
                    down_bias,
                ]
            },
        );
        gradients.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::Gathered;

    #[test]
    fn gradients_gather_until_the_graph_takes_them() {
        let gathered = Gathered::default();
        assert_eq!(gathered.get(), None);
        gathered.put(7);
        assert_eq!(gathered.clone().get(), Some(7));
        gathered.check();
    }

    #[test]
    #[should_panic(expected = "is used after its backward pass: prepare it again")]
    fn a_prepared_layer_belongs_to_one_graph() {
        let gathered = Gathered::default();
        gathered.put(7);
        gathered.take();
        gathered.clone().check();
    }
}
