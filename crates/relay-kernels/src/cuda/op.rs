//! Work on tensors of burn's CUDA backend: queued behind what was asked for before, and recorded for a backward pass.

use core::any::{Any, TypeId};
use core::fmt::Debug;
use core::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{Autodiff, Cuda};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::fusion::FusionCubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_fusion::stream::{self, OperationStreams};
use burn_fusion::{FusionRuntime, FusionTensor};
use burn_ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
use cubecl::cuda::CudaRuntime;
use cubecl::server::Handle;

use super::launch::{Eager, Queue};
use crate::floats::wrap;
use crate::switch::Precision;

/// The backend below fusion.
type Device = CubeBackend<CudaRuntime, f32, i32, u8>;
type Runtime = FusionCubeRuntime<CudaRuntime>;

/// A tensor whose content may still have to be asked for.
pub(super) type Lazy = FusionTensor<Runtime>;

/// An operation on `N` tensors.
pub(super) trait Operation<const N: usize>: Sized {
    /// What the forward pass leaves for the backward pass.
    type Saved: Saved<N>;

    /// The result, keeping nothing. The default makes what the backward pass would need, too.
    fn infer(self) -> Lazy {
        self.forward().0
    }

    /// The result, and what the backward pass needs.
    fn forward(self) -> (Lazy, Self::Saved);
}

/// What an operation left.
pub(super) trait Saved<const N: usize>: Debug + Clone + Send + 'static {
    /// The gradients of the inputs from that of the result; `None` for one that another call has given, or will give.
    fn backward(self, grad: Lazy) -> [Option<Lazy>; N];
}

/// Whether `B` is a backend that has these kernels.
pub(super) fn available<B: Backend>() -> bool {
    let kinds = [
        TypeId::of::<Cuda>(),
        TypeId::of::<Autodiff<Cuda, NoCheckpointing>>(),
        TypeId::of::<Autodiff<Cuda, BalancedCheckpointing>>(),
    ];
    kinds.contains(&TypeId::of::<B>())
}

/// The tensors, if `B` has these kernels and records nothing.
pub(super) fn untracked<B: Backend>(inputs: Vec<FloatTensor<B>>) -> Option<Vec<Lazy>> {
    let inputs = (Box::new(inputs) as Box<dyn Any>).downcast().ok()?;
    Some(*inputs)
}

/// The result of the operation that `build` makes of `inputs`; `None` where there is none for `B`.
pub(super) fn apply<B: Backend, O: Operation<N>, const N: usize, const D: usize>(
    inputs: [FloatTensor<B>; N],
    build: impl FnOnce([Lazy; N]) -> Option<O>,
) -> Option<Tensor<B, D>> {
    let (kind, inputs) = (TypeId::of::<B>(), Box::new(inputs) as Box<dyn Any>);
    if kind == TypeId::of::<Cuda>() {
        let inputs = inputs.downcast::<[Lazy; N]>().ok()?;
        wrap(build(*inputs)?.infer())
    } else if kind == TypeId::of::<Autodiff<Cuda, NoCheckpointing>>() {
        let inputs = inputs.downcast().ok()?;
        wrap(record::<NoCheckpointing, O, N>(*inputs, build)?)
    } else if kind == TypeId::of::<Autodiff<Cuda, BalancedCheckpointing>>() {
        let inputs = inputs.downcast().ok()?;
        wrap(record::<BalancedCheckpointing, O, N>(*inputs, build)?)
    } else {
        None
    }
}

/// A tensor of `B` that is recorded in no graph; `None` where `B` has no kernels here.
pub(super) fn constant<B: Backend, const D: usize>(tensor: Lazy) -> Option<Tensor<B, D>> {
    let kind = TypeId::of::<B>();
    if kind == TypeId::of::<Autodiff<Cuda, NoCheckpointing>>() {
        wrap(<Autodiff<Cuda, NoCheckpointing>>::from_inner(tensor))
    } else if kind == TypeId::of::<Autodiff<Cuda, BalancedCheckpointing>>() {
        wrap(<Autodiff<Cuda, BalancedCheckpointing>>::from_inner(tensor))
    } else {
        wrap(tensor)
    }
}

fn record<C: CheckpointStrategy, O: Operation<N>, const N: usize>(
    inputs: [FloatTensor<Autodiff<Cuda, C>>; N],
    build: impl FnOnce([Lazy; N]) -> Option<O>,
) -> Option<FloatTensor<Autodiff<Cuda, C>>> {
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let operation = build(inputs.map(|input| input.primitive))?;
    let node = Node::<O::Saved>(PhantomData);
    Some(match node.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (out, saved) = operation.forward();
            prep.finish(saved, out)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.infer()),
    })
}

/// The operation's node in the graph.
struct Node<S>(PhantomData<fn() -> S>);

impl<S> Debug for Node<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node<{}>", core::any::type_name::<S>())
    }
}

impl<S: Saved<N>, const N: usize> Backward<Cuda, N> for Node<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, graph: &mut Gradients, _: &mut Checkpointer) {
        let grad = graph.consume::<Cuda>(&ops.node);
        let gradients = ops.state.backward(grad);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                graph.register::<Cuda>(parent.id, gradient);
            }
        }
    }
}

/// Queues work on `inputs`, of which there is at least one, in a precision; its results get the given types and shapes.
///
/// The work gets the content of all inputs in row-major order, and answers with the content of all results.
pub(super) fn submit<const M: usize>(
    (name, precision): (&'static str, Precision),
    inputs: Vec<Lazy>,
    outputs: [(DType, Vec<usize>); M],
    work: impl Fn(&Queue, Vec<Handle>) -> Vec<Handle> + Send + Sync + 'static,
) -> [Lazy; M] {
    exactly(submit_all((name, precision), inputs, outputs.into(), work))
}

/// [`submit`] for as many results as are only known when it is called.
pub(super) fn submit_all(
    (name, precision): (&'static str, Precision),
    inputs: Vec<Lazy>,
    outputs: Vec<(DType, Vec<usize>)>,
    work: impl Fn(&Queue, Vec<Handle>) -> Vec<Handle> + Send + Sync + 'static,
) -> Vec<Lazy> {
    let client = inputs[0].client.clone();
    let streams = OperationStreams::with_inputs(&inputs);
    let inputs: Vec<TensorIr> = inputs.into_iter().map(Lazy::into_ir).collect();
    let outputs = outputs.into_iter().map(|(dtype, shape)| {
        TensorIr::uninit(client.create_empty_handle(), Shape::from(shape), dtype)
    });
    let outputs: Vec<TensorIr> = outputs.collect();
    let ir = CustomOpIr::new(name, &inputs, &outputs);
    let task = Task {
        ir: ir.clone(),
        precision,
        work: Box::new(work),
    };
    client.register(streams, OperationIr::Custom(ir), task)
}

/// All of a list whose length is known.
pub(super) fn exactly<T, const N: usize>(list: Vec<T>) -> [T; N] {
    let count = list.len();
    list.try_into()
        .unwrap_or_else(|_| unreachable!("{count} instead of {N}"))
}

type Work = dyn Fn(&Queue, Vec<Handle>) -> Vec<Handle> + Send + Sync;

/// Work in fusion's queue.
struct Task {
    ir: CustomOpIr,
    precision: Precision,
    work: Box<Work>,
}

impl Debug for Task {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Task").field(&self.ir).finish()
    }
}

impl stream::Operation<Runtime> for Task {
    fn execute(&self, handles: &mut HandleContainer<<Runtime as FusionRuntime>::FusionHandle>) {
        let inputs = self.ir.inputs.iter();
        let inputs: Vec<Eager> = inputs
            .map(|input| into_contiguous(handles.get_float_tensor::<Device>(input)))
            .collect();
        let queue = Queue::of(&inputs[0], self.precision);
        let inputs = inputs.into_iter().map(|input| input.handle).collect();
        let outputs = (self.work)(&queue, inputs);
        for (ir, output) in self.ir.outputs.iter().zip(outputs) {
            let tensor = queue.tensor(output, ir.shape.clone(), ir.dtype);
            handles.register_float_tensor::<Device>(&ir.id, tensor);
        }
    }
}
