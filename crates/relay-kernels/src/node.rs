//! What all operations have in common that are one node of the autodiff graph.

use core::any::{Any, TypeId};
use core::fmt::Debug;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::{Flex, FlexTensor};

use crate::floats::{Floats, wrap};
use crate::switch::enabled;

/// An operation on `N` tensors, with what it needs of them.
pub(crate) trait Operation<const N: usize>: Debug + Send + Sync + 'static {
    /// What the forward pass leaves for the backward pass.
    type Saved: Debug + Send + Sync;

    /// The result, keeping nothing. The default makes what the backward pass would need, too.
    fn infer(&self) -> FlexTensor {
        self.forward().0
    }

    /// The result, and what the backward pass needs.
    fn forward(&self) -> (FlexTensor, Self::Saved);

    /// The gradients of the inputs from that of the result.
    fn backward(&self, saved: &Self::Saved, grad: &[f32]) -> [FlexTensor; N];
}

/// The primitive of a tensor, as [`apply`] wants it.
pub(crate) fn float_tensor<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> FloatTensor<B> {
    tensor.clone().into_primitive().tensor()
}

/// The result of the operation that `build` makes of `inputs`; `None` where there is none for `B`.
pub(crate) fn apply<B: Backend, O: Operation<N>, const N: usize, const D: usize>(
    inputs: [FloatTensor<B>; N],
    build: impl FnOnce([&FlexTensor; N]) -> Option<O>,
) -> Option<Tensor<B, D>> {
    if !enabled() {
        return None;
    }
    let (kind, inputs) = (TypeId::of::<B>(), Box::new(inputs) as Box<dyn Any>);
    if kind == TypeId::of::<Flex>() {
        let inputs = inputs.downcast::<[FlexTensor; N]>().ok()?;
        wrap(build(inputs.each_ref())?.infer())
    } else if kind == TypeId::of::<Autodiff<Flex, NoCheckpointing>>() {
        wrap(record::<NoCheckpointing, O, N>(
            *inputs.downcast().ok()?,
            build,
        )?)
    } else if kind == TypeId::of::<Autodiff<Flex, BalancedCheckpointing>>() {
        wrap(record::<BalancedCheckpointing, O, N>(
            *inputs.downcast().ok()?,
            build,
        )?)
    } else {
        None
    }
}

fn record<C: CheckpointStrategy, O: Operation<N>, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    build: impl FnOnce([&FlexTensor; N]) -> Option<O>,
) -> Option<FloatTensor<Autodiff<Flex, C>>> {
    let operation = build(inputs.each_ref().map(|input| &input.primitive))?;
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let node = Node(core::marker::PhantomData::<fn() -> O>);
    Some(match node.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (out, saved) = operation.forward();
            prep.finish(Arc::new((operation, saved)), out)
        }
        OpsKind::UnTracked(prep) => prep.finish(operation.infer()),
    })
}

/// The operation's node in the graph.
struct Node<O>(core::marker::PhantomData<fn() -> O>);

impl<O> Debug for Node<O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node<{}>", core::any::type_name::<O>())
    }
}

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Node<O> {
    type State = Arc<(O, O::Saved)>;

    fn backward(self, ops: Ops<Self::State, N>, graph: &mut Gradients, _: &mut Checkpointer) {
        let grad = graph.consume::<Flex>(&ops.node);
        let (operation, saved) = &*ops.state;
        // A gradient has the type of its tensor, which is f32 here.
        let Some(grad) = Floats::new(&grad) else {
            return;
        };
        let gradients = operation.backward(saved, grad.get());
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                graph.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
