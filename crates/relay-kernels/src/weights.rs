//! The matrices of a layer, packed once for as long as they do not change.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::bf16::Duo;
use crate::floats::Floats;
use crate::isa::Isa;
use crate::pack::{Matrix, Packed};

/// Matrices of a layer in the order query, key, value, output, up, down.
pub(crate) type Matrices = [Floats; 6];

/// How many layers are remembered.
const REMEMBERED: usize = 12;

static CACHE: Mutex<Vec<Arc<Weights>>> = Mutex::new(Vec::new());

/// The packed matrices of a layer.
#[derive(Debug)]
pub(crate) struct Weights {
    isa: Isa,
    d: usize,
    m: usize,
    matrices: Matrices,
    pub forward: Four,
    backward: OnceLock<Four>,
    forward_bf16: OnceLock<Four<Duo>>,
    backward_bf16: OnceLock<Four<Duo>>,
}

/// The four right-hand matrices of a pass.
#[derive(Debug)]
pub(crate) struct Four<E = f32> {
    pub qkv: Packed<E>,
    pub output: Packed<E>,
    pub up: Packed<E>,
    pub down: Packed<E>,
}

impl Weights {
    /// Packs the matrices, or finds them packed: the iterations of a loop and the passes of a step share the work.
    ///
    /// What is remembered holds on to the tensors, so that their memory can neither change nor be used again.
    pub fn of(isa: Isa, d: usize, m: usize, matrices: Matrices) -> Arc<Self> {
        let same = |known: &Arc<Self>| {
            known.isa.id() == isa.id()
                && (known.d, known.m) == (d, m)
                && known.matrices.iter().zip(&matrices).all(|(a, b)| a.same(b))
        };
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = cache.iter().position(same) {
            let found = cache.remove(index);
            cache.push(Arc::clone(&found));
            return found;
        }
        drop(cache);
        let [q, k, v, output, up, down] = Self::views(&matrices, d, m);
        let forward = Four {
            qkv: Packed::beside(isa, &[q, k, v]),
            output: Packed::beside(isa, &[output]),
            up: Packed::beside(isa, &[up]),
            down: Packed::beside(isa, &[down]),
        };
        let packed = Arc::new(Self {
            isa,
            d,
            m,
            matrices,
            forward,
            backward: OnceLock::new(),
            forward_bf16: OnceLock::new(),
            backward_bf16: OnceLock::new(),
        });
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push(Arc::clone(&packed));
        let surplus = cache.len().saturating_sub(REMEMBERED);
        let forgotten: Vec<_> = cache.drain(..surplus).collect();
        drop(cache);
        drop(forgotten);
        packed
    }

    /// The transposes.
    pub fn backward(&self) -> &Four {
        self.backward.get_or_init(|| self.transposes())
    }

    /// The matrices in bf16.
    pub fn forward_bf16(&self) -> &Four<Duo> {
        self.forward_bf16
            .get_or_init(|| self.forward.narrowed(self.isa))
    }

    /// The transposes in bf16.
    pub fn backward_bf16(&self) -> &Four<Duo> {
        self.backward_bf16
            .get_or_init(|| self.transposes().narrowed(self.isa))
    }

    fn transposes(&self) -> Four {
        let [q, k, v, output, up, down] = Self::views(&self.matrices, self.d, self.m);
        Four {
            qkv: Packed::transposes_below(self.isa, &[q, k, v]),
            output: Packed::transposes_below(self.isa, &[output]),
            up: Packed::transposes_below(self.isa, &[up]),
            down: Packed::transposes_below(self.isa, &[down]),
        }
    }

    fn views(matrices: &Matrices, d: usize, m: usize) -> [Matrix<'_>; 6] {
        let dims = [[d, d], [d, d], [d, d], [d, d], [d, m], [m, d]];
        core::array::from_fn(|i| Matrix {
            data: matrices[i].get(),
            rows: dims[i][0],
            cols: dims[i][1],
        })
    }
}

impl Four {
    fn narrowed(&self, isa: Isa) -> Four<Duo> {
        Four {
            qkv: Packed::narrowed(isa, &self.qkv),
            output: Packed::narrowed(isa, &self.output),
            up: Packed::narrowed(isa, &self.up),
            down: Packed::narrowed(isa, &self.down),
        }
    }
}
