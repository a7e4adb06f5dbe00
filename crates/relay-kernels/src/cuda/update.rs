//! A step of AdamW with all parameters, and the squares of all gradients: one operation each in the graph of fusion, as what
//! many small ones cost is the host's time, while the device waits for the step.

use burn::tensor::DType;
use cubecl::server::Handle;

use super::launch::{Params, Queue};
use super::op::{Lazy, submit_all};
use super::source::{File, Kernel};
use crate::adamw::Step;
use crate::switch::Precision;

/// Numbers of a gradient that a block squares: see `update.cu`.
const SQUARES: usize = 4096;
const THREADS: usize = 256;

/// A parameter, its gradient and both moments.
pub(super) type Moved = [Lazy; 4];

/// The new value and both moments of each parameter; None if a tensor is not of `f32`.
pub(super) fn adamw(parameters: Vec<(Moved, Step)>) -> Option<Vec<[Lazy; 3]>> {
    let (tensors, steps): (Vec<Moved>, Vec<Step>) = parameters.into_iter().unzip();
    let inputs: Vec<Lazy> = tensors.into_iter().flatten().collect();
    if inputs.is_empty() || !all_floats(&inputs) {
        return None;
    }
    let lengths: Vec<usize> = inputs.iter().step_by(4).map(length).collect();
    let outputs = lengths.iter().flat_map(|length| [*length; 3]);
    let outputs = outputs.map(|length| (DType::F32, vec![length])).collect();
    let moved = submit_all(
        ("relay_adamw", Precision::F32),
        inputs,
        outputs,
        move |queue, inputs| {
            let parameters = inputs.chunks_exact(4).zip(lengths.iter().zip(&steps));
            parameters
                .flat_map(|(inputs, (length, step))| move_one(queue, inputs, *length, step))
                .collect()
        },
    );
    let mut moved = moved.into_iter();
    let three = || Some([moved.next()?, moved.next()?, moved.next()?]);
    Some(core::iter::from_fn(three).collect())
}

fn move_one(queue: &Queue, inputs: &[Handle], length: usize, step: &Step) -> [Handle; 3] {
    let outputs = [(); 3].map(|()| queue.floats(length));
    let buffers: Vec<&Handle> = inputs.iter().chain(&outputs).collect();
    let numbers = step.numbers().into_iter();
    let params = numbers.fold(Params::sizes([length]), Params::float);
    let grid = [length.div_ceil(THREADS), 1, 1];
    queue.launch(kernel("adamw"), grid, &buffers, params);
    outputs
}

/// The sum of the squares of each tensor, `[tensors]`; None if a tensor is not of `f32`.
pub(super) fn squares(tensors: Vec<Lazy>) -> Option<Lazy> {
    if tensors.is_empty() || !all_floats(&tensors) {
        return None;
    }
    let lengths: Vec<usize> = tensors.iter().map(length).collect();
    let outputs = vec![(DType::F32, vec![lengths.len()])];
    let sums = submit_all(
        ("relay_squares", Precision::F32),
        tensors,
        outputs,
        move |queue, tensors| {
            let sums = queue.floats(lengths.len());
            queue.zero(&sums, 4 * lengths.len());
            for (place, (tensor, length)) in tensors.iter().zip(&lengths).enumerate() {
                let grid = [length.div_ceil(SQUARES), 1, 1];
                let params = Params::sizes([*length, place]);
                queue.launch(kernel("squares"), grid, &[tensor, &sums], params);
            }
            vec![sums]
        },
    );
    sums.into_iter().next()
}

/// Whether the kernels fit all of them: of f32, not empty, and counted in 32 bits.
fn all_floats(tensors: &[Lazy]) -> bool {
    let fits = |tensor: &Lazy| (1..1 << 31).contains(&length(tensor));
    tensors
        .iter()
        .all(|tensor| tensor.dtype == DType::F32 && fits(tensor))
}

fn length(tensor: &Lazy) -> usize {
    tensor.shape.num_elements()
}

fn kernel(name: &'static str) -> Kernel {
    Kernel {
        file: File::Update,
        name,
        defines: Vec::new(),
        threads: THREADS as u32,
        shared: 0,
    }
}
