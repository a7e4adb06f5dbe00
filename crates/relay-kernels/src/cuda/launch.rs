//! Memory of the device, and how kernels are started on it.

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::ComputeClient;
use cubecl::cuda::{CudaDevice, CudaRuntime};
use cubecl::prelude::CubeCount;
use cubecl::server::{Handle, KernelArguments, MetadataBindingInfo};

use super::source::{File, Kernel};
use crate::dropout::DropoutMask;
use crate::switch::Precision;

/// A tensor whose content exists on the device, or will when the work before is done.
pub(super) type Eager = CubeTensor<CudaRuntime>;

/// Where a part of a buffer may begin: where CubeCL lets buffers begin.
const ALIGNMENT: usize = 512;

/// The numbers that a kernel gets by value, in the order of its last parameter's fields.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<u32>);

impl Params {
    /// From sizes. Whoever plans a launch sees to it that they fit.
    ///
    /// # Panics
    /// As [`narrow`] does.
    pub fn sizes<const N: usize>(sizes: [usize; N]) -> Self {
        Self(sizes.map(narrow).to_vec())
    }

    pub fn float(mut self, x: f32) -> Self {
        self.0.push(x.to_bits());
        self
    }

    /// A mask, or one that keeps everything as it is.
    pub fn mask(mut self, mask: Option<DropoutMask>) -> Self {
        let nothing = [0, 0, 0, 1.0_f32.to_bits()];
        self.0.extend(mask.map_or(nothing, |mask| mask.words()));
        self
    }

    /// Two numbers a word, the first in the low half: their bytes lie one after the other.
    fn words(&self) -> Vec<u64> {
        let word = |pair: &[u32]| {
            let high = pair.get(1).copied().unwrap_or_default();
            u64::from(pair[0]) | u64::from(high) << 32
        };
        self.0.chunks(2).map(word).collect()
    }
}

/// A size as kernels count.
///
/// # Panics
/// If it has more than 32 bits: another size would be written and read past the end of what there is.
pub(super) fn narrow(size: usize) -> u32 {
    let narrow = size as u32;
    assert!(
        narrow as usize == size,
        "a size of {size}, where kernels for GPUs count in 32 bits"
    );
    narrow
}

/// Bytes of a number that products multiply: of bf16, or in [`Precision::F32`] of two, which `rows.cuh` tells of.
pub(super) fn bytes(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
    }
}

/// What kernels are told that read or write such numbers.
pub(super) fn split(precision: Precision) -> (&'static str, u32) {
    ("SPLIT", u32::from(precision == Precision::F32))
}

/// Parts of one buffer: to ask for memory once instead of many times, and to hand on one tensor instead of many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<const N: usize> {
    /// Of each part its first byte and its size.
    places: [(usize, usize); N],
    /// Of all.
    pub bytes: usize,
}

impl<const N: usize> Parts<N> {
    /// Of parts of so many bytes.
    pub fn of(sizes: [usize; N]) -> Self {
        let mut bytes = 0;
        let places = sizes.map(|size| {
            let begin = bytes;
            bytes += size.next_multiple_of(ALIGNMENT);
            (begin, size)
        });
        Self { places, bytes }
    }

    /// The form of a tensor that holds all parts.
    pub fn form(&self) -> (DType, Vec<usize>) {
        (DType::F32, vec![self.bytes / 4])
    }

    /// The parts of a buffer.
    pub fn cut(&self, all: &Handle) -> [Handle; N] {
        self.places.map(|(begin, size)| {
            all.clone()
                .offset_start(begin as u64)
                .offset_end((self.bytes - begin - size) as u64)
        })
    }
}

/// The device and the stream of work on it.
pub(super) struct Queue {
    client: ComputeClient<CudaRuntime>,
    device: CudaDevice,
    /// What the work multiplies.
    precision: Precision,
}

impl Queue {
    /// The one that a tensor was made by, for work in a precision.
    pub fn of(tensor: &Eager, precision: Precision) -> Self {
        Self {
            client: tensor.client.clone(),
            device: tensor.device.clone(),
            precision,
        }
    }

    /// Bytes of a number that products multiply.
    pub fn bytes(&self) -> usize {
        bytes(self.precision)
    }

    /// What kernels are told that read or write such numbers.
    pub fn split(&self) -> (&'static str, u32) {
        split(self.precision)
    }

    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Room for so many f32, with anything in it.
    pub fn floats(&self, count: usize) -> Handle {
        self.client.empty(4 * count)
    }

    /// Room for so many numbers that products multiply, with anything in it.
    pub fn operands(&self, count: usize) -> Handle {
        self.client.empty(self.bytes() * count)
    }

    /// A buffer with this content.
    pub fn upload(&self, words: &[u32]) -> Handle {
        self.client.create_from_slice(bytemuck::cast_slice(words))
    }

    /// A one of f32.
    pub fn one(&self) -> Handle {
        self.upload(&[1.0_f32.to_bits()])
    }

    /// Room for all parts, with anything in it.
    pub fn room<const N: usize>(&self, parts: &Parts<N>) -> Handle {
        self.client.empty(parts.bytes)
    }

    /// Buffers of so many f32 each, all zero: parts of one, so that one kernel clears them.
    pub fn zeros<const N: usize>(&self, counts: [usize; N]) -> [Handle; N] {
        let parts = Parts::of(counts.map(|count| 4 * count));
        let all = self.room(&parts);
        self.zero(&all, parts.bytes);
        parts.cut(&all)
    }

    /// Clears the first `bytes` of a buffer, which are whole f32.
    pub fn zero(&self, buffer: &Handle, bytes: usize) {
        let count = bytes / 4;
        let kernel = Kernel {
            file: File::Narrow,
            name: "zero",
            // Of no meaning to this kernel, but the file asks for it.
            defines: vec![("D", 64)],
            threads: 256,
            shared: 0,
        };
        let grid = [count.div_ceil(1024), 1, 1];
        self.launch(kernel, grid, &[buffer], Params::sizes([count]));
    }

    /// Starts a kernel with `buffers` and `params` as its parameters, when all work before is done.
    pub fn launch(&self, kernel: Kernel, grid: [usize; 3], buffers: &[&Handle], params: Params) {
        let [x, y, z] = grid.map(narrow);
        let words = params.words();
        // With nothing behind this offset, all of the words are passed by value, after the buffers.
        let end = words.len();
        let arguments = KernelArguments::new()
            .with_buffers(buffers.iter().map(|b| (*b).clone().binding()).collect())
            .with_info(MetadataBindingInfo::new(words, end));
        self.client
            .launch(Box::new(kernel), CubeCount::Static(x, y, z), arguments);
    }

    /// What is in a buffer, as a tensor.
    pub fn tensor(&self, buffer: Handle, shape: Shape, dtype: DType) -> Eager {
        CubeTensor::new_contiguous(
            self.client.clone(),
            self.device.clone(),
            shape,
            buffer,
            dtype,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::narrow;

    #[test]
    fn sizes_of_32_bits_fit() {
        assert_eq!(narrow(u32::MAX as usize), u32::MAX);
    }

    #[test]
    #[should_panic(expected = "a size of 4294967296, where kernels for GPUs count in 32 bits")]
    fn larger_sizes_are_refused() {
        narrow(1 << 32);
    }
}
