//! Kernels written in CUDA, as CubeCL compiles and remembers them.

use std::collections::HashSet;

use cubecl::cuda::CudaCompiler;
use cubecl::ir::{ElemType, StorageType, UIntKind};
use cubecl::prelude::{CompiledKernel, CubeDim, ExecutionMode, KernelId, KernelMetadata};
use cubecl::{CompilationError, Compiler, CubeTask, Info};
use cubecl_cpp::shared::{Body, ComputeKernel, Elem, Flags, Item, SharedMemory};

/// What stands before every file, and what before some.
const COMMON: &str = include_str!("common.cuh");
const ROWS: &str = include_str!("rows.cuh");
const ATTENTION: &str = include_str!("attention.cuh");
const ATTENTION_LONG: &str = include_str!("attention_long.cuh");
const BARRIER: &str = include_str!("barrier.cuh");
const CLUSTER: &str = include_str!("cluster.cuh");
const DECODE: &str = include_str!("decode.cuh");
const DECODE_LAYER: &str = include_str!("decode_layer.cuh");
const WGMMA: &str = include_str!("wgmma.cuh");
const HOPPER: &str = include_str!("hopper.cuh");
const PIPELINE: &str = include_str!("pipeline.cuh");
const GEMM: &str = include_str!("gemm.cuh");

/// A file of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum File {
    Attention,
    AttentionLong,
    AttentionLongBackward,
    Decode,
    Embedding,
    Gemm,
    Gradient,
    Infer,
    Narrow,
    Norm,
    Pack,
    Readout,
    Update,
}

impl File {
    const fn text(self) -> &'static str {
        match self {
            Self::Attention => include_str!("attention.cu"),
            Self::AttentionLong => include_str!("attention_long.cu"),
            Self::AttentionLongBackward => include_str!("attention_long_backward.cu"),
            Self::Decode => include_str!("decode.cu"),
            Self::Embedding => include_str!("embedding.cu"),
            Self::Gemm => include_str!("gemm.cu"),
            Self::Gradient => include_str!("gradient.cu"),
            Self::Infer => include_str!("infer.cu"),
            Self::Narrow => include_str!("narrow.cu"),
            Self::Norm => include_str!("norm.cu"),
            Self::Pack => include_str!("pack.cu"),
            Self::Readout => include_str!("readout.cu"),
            Self::Update => include_str!("update.cu"),
        }
    }

    /// What stands before the file.
    const fn headers(self) -> &'static [&'static str] {
        match self {
            Self::Attention => &[COMMON, ROWS, ATTENTION],
            Self::AttentionLong | Self::AttentionLongBackward => {
                &[COMMON, ROWS, ATTENTION, ATTENTION_LONG]
            }
            Self::Decode => &[COMMON, BARRIER, CLUSTER, DECODE, DECODE_LAYER],
            Self::Gemm => &[COMMON, ROWS, BARRIER, WGMMA, HOPPER, GEMM],
            Self::Gradient => &[COMMON, ROWS, BARRIER, WGMMA, HOPPER],
            Self::Infer => &[COMMON, BARRIER, WGMMA, PIPELINE],
            Self::Narrow | Self::Norm | Self::Pack | Self::Readout => &[COMMON, ROWS],
            Self::Embedding | Self::Update => &[COMMON],
        }
    }

    /// A number that changes with the text, so that what was compiled from another one is not taken for it.
    fn fingerprint(self) -> u64 {
        FINGERPRINTS[self as usize]
    }
}

/// All files, each at its place in the enumeration.
const FILES: [File; 13] = [
    File::Attention,
    File::AttentionLong,
    File::AttentionLongBackward,
    File::Decode,
    File::Embedding,
    File::Gemm,
    File::Gradient,
    File::Infer,
    File::Narrow,
    File::Norm,
    File::Pack,
    File::Readout,
    File::Update,
];

const FINGERPRINTS: [u64; FILES.len()] = {
    let mut all = [0; FILES.len()];
    let mut at = 0;
    while at < FILES.len() {
        assert!(FILES[at] as usize == at, "a file at another one's place");
        all[at] = fingerprint(FILES[at]);
        at += 1;
    }
    all
};

/// FNV-1a of a file and of what stands before it.
const fn fingerprint(file: File) -> u64 {
    let headers = file.headers();
    let (mut hash, mut part) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while part <= headers.len() {
        let text = if part < headers.len() {
            headers[part]
        } else {
            file.text()
        };
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        part += 1;
    }
    hash
}

/// A kernel of a file, compiled for given constants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kernel {
    pub file: File,
    /// The function, which is `extern "C"`.
    pub name: &'static str,
    /// What the preprocessor is told before it reads the file. `KERNEL_` with the name is always defined.
    pub defines: Vec<(&'static str, u32)>,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block whose size is not known to the file.
    pub shared: u32,
}

impl Kernel {
    fn source(&self) -> String {
        let mut source = format!("#define KERNEL_{} 1\n", self.name);
        for (name, value) in &self.defines {
            source += &format!("#define {name} {value}\n");
        }
        source + &self.file.headers().concat() + self.file.text()
    }

    /// CubeCL's own form of a kernel, of which it only asks how much shared memory it is to provide.
    fn form(&self) -> <CudaCompiler as Compiler>::Representation {
        let byte = Item::scalar(Elem::U8, true);
        ComputeKernel {
            tensor_maps: Vec::new(),
            buffers: Vec::new(),
            scalars: Vec::new(),
            info: Info::default(),
            meta_static_len: 0,
            body: Body {
                instructions: Vec::new(),
                shared_memories: vec![SharedMemory::Array {
                    index: 0,
                    item: byte,
                    length: self.shared as usize,
                    align: 1024,
                    offset: 0,
                }],
                pipelines: Vec::new(),
                barriers: Vec::new(),
                const_arrays: Vec::new(),
                local_arrays: Vec::new(),
                info_by_ptr: false,
                has_dynamic_meta: false,
                address_type: byte,
            },
            cube_dim: self.block(),
            cluster_dim: None,
            extensions: Vec::new(),
            flags: Flags::default(),
            items: HashSet::new(),
            kernel_name: self.name.to_owned(),
        }
    }

    fn block(&self) -> CubeDim {
        CubeDim::new_1d(self.threads)
    }
}

impl KernelMetadata for Kernel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>()
            .cube_dim(self.block())
            .info((self.clone(), self.file.fingerprint()))
    }

    fn address_type(&self) -> StorageType {
        ElemType::UInt(UIntKind::U32).into()
    }
}

impl CubeTask<CudaCompiler> for Kernel {
    fn compile(
        &self,
        _: &mut CudaCompiler,
        _: &<CudaCompiler as Compiler>::CompilationOptions,
        _: ExecutionMode,
        _: StorageType,
    ) -> Result<CompiledKernel<CudaCompiler>, CompilationError> {
        Ok(CompiledKernel {
            entrypoint_name: self.name.to_owned(),
            debug_name: Some(self.name),
            source: self.source(),
            repr: Some(self.form()),
            cube_dim: self.block(),
            debug_info: None,
        })
    }
}
