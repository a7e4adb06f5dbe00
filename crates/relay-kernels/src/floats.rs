//! Access to what tensors of the Flex backend hold.

use core::any::Any;

use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType, Shape, Tensor, TensorPrimitive};
use burn_flex::{FlexTensor, Layout};

/// A contiguous tensor of `f32`.
#[derive(Debug, Clone)]
pub(crate) struct Floats(FlexTensor);

impl Floats {
    /// None for other types of numbers.
    pub fn new(tensor: &FlexTensor) -> Option<Self> {
        (tensor.dtype() == DType::F32).then(|| Self(tensor.to_contiguous()))
    }

    pub fn get(&self) -> &[f32] {
        self.0.storage()
    }

    /// Whether nobody else has this memory.
    pub fn alone(&self) -> bool {
        self.0.is_unique()
    }

    /// Whether both share their memory, hence their content: shared memory is never written to.
    pub fn same(&self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&self.0.data_arc(), &other.0.data_arc())
    }
}

/// A new tensor.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

/// The primitive of a tensor, if it is a `T`.
pub(crate) fn primitive<B: Backend, T: 'static, const D: usize>(
    tensor: &Tensor<B, D>,
) -> Option<T> {
    let primitive: Box<dyn Any> = Box::new(tensor.clone().into_primitive().tensor());
    primitive.downcast().ok().map(|primitive| *primitive)
}

/// The tensor of a primitive, if `B` has primitives of this type.
pub(crate) fn wrap<B: Backend, T: 'static, const D: usize>(primitive: T) -> Option<Tensor<B, D>> {
    let primitive: Box<dyn Any> = Box::new(primitive);
    let primitive = primitive.downcast::<B::FloatTensorPrimitive>().ok()?;
    Some(Tensor::from_primitive(TensorPrimitive::Float(*primitive)))
}
