//! What a device is.

use burn::tensor::backend::Backend;

/// Whether it is one of NVIDIA's, by the name that its backend gives it: burn has no other way to ask.
pub(crate) fn is_cuda<B: Backend>(device: &B::Device) -> bool {
    B::name(device).contains("cuda")
}
