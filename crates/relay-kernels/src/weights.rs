//! The matrices of a layer, packed once for as long as they do not change.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::bf16::Duo;
use crate::floats::Floats;
use crate::isa::Isa;
use crate::pack::{Matrix, Packed};

/// Matrices of a layer in the order query, key, value, output, up, down.
pub(crate) type Matrices = [Floats; 6];

/// How many layers are remembered that nothing is being computed with.
const REMEMBERED: usize = 48;

static CACHE: Cache = Cache(Mutex::new(Vec::new()));

/// Packed matrices, those that were asked for last at the end.
#[derive(Debug)]
struct Cache(Mutex<Vec<Arc<Weights>>>);

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
        CACHE.get(isa, d, m, matrices)
    }

    fn pack(isa: Isa, d: usize, m: usize, matrices: Matrices) -> Self {
        let [q, k, v, output, up, down] = Self::views(&matrices, d, m);
        let forward = Four {
            qkv: Packed::beside(isa, &[q, k, v]),
            output: Packed::beside(isa, &[output]),
            up: Packed::beside(isa, &[up]),
            down: Packed::beside(isa, &[down]),
        };
        Self {
            isa,
            d,
            m,
            matrices,
            forward,
            backward: OnceLock::new(),
            forward_bf16: OnceLock::new(),
            backward_bf16: OnceLock::new(),
        }
    }

    fn is_of(&self, isa: Isa, d: usize, m: usize, matrices: &Matrices) -> bool {
        self.isa.id() == isa.id()
            && (self.d, self.m) == (d, m)
            && self.matrices.iter().zip(matrices).all(|(a, b)| a.same(b))
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

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Weights>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, isa: Isa, d: usize, m: usize, matrices: Matrices) -> Arc<Weights> {
        let find = |all: &mut Vec<Arc<Weights>>, matrices: &Matrices| {
            let index = all
                .iter()
                .position(|known| known.is_of(isa, d, m, matrices))?;
            let found = all.remove(index);
            all.push(Arc::clone(&found));
            Some(found)
        };
        if let Some(found) = find(&mut self.lock(), &matrices) {
            return found;
        }
        let packed = Arc::new(Weights::pack(isa, d, m, matrices));
        let mut all = self.lock();
        // Another thread may have done the same meanwhile.
        if let Some(found) = find(&mut all, &packed.matrices) {
            return found;
        }
        all.push(Arc::clone(&packed));
        let forgotten = forget(&mut all);
        drop(all);
        drop(forgotten);
        packed
    }
}

/// Takes out what no graph holds on to, if its matrices are nobody else's, so that they cannot be asked for again, or if more
/// than [`REMEMBERED`] others were asked for later. What a graph holds costs nothing to remember.
fn forget(all: &mut Vec<Arc<Weights>>) -> Vec<Arc<Weights>> {
    let free = |weights: &Arc<Weights>| Arc::strong_count(weights) == 1;
    let gone = |weights: &Arc<Weights>| weights.matrices.iter().any(Floats::alone);
    let mut forgotten: Vec<_> = all
        .extract_if(.., |weights| free(weights) && gone(weights))
        .collect();
    let mut surplus = all.iter().filter(|weights| free(weights)).count();
    forgotten.extend(all.extract_if(.., |weights| {
        let old = free(weights) && surplus > REMEMBERED;
        surplus -= usize::from(old);
        old
    }));
    forgotten
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floats::tensor;

    const D: usize = 2;

    fn cache() -> Cache {
        Cache(Mutex::new(Vec::new()))
    }

    /// The matrices of so many layers.
    fn layers(count: usize) -> Vec<Matrices> {
        let matrix = |at: usize| Floats::new(&tensor(vec![at as f32; D * D], [D, D]));
        let layer = |layer| core::array::from_fn(|at| matrix(6 * layer + at).unwrap());
        (0..count).map(layer).collect()
    }

    fn pass(cache: &Cache, layers: &[Matrices]) -> Vec<Arc<Weights>> {
        let get = |matrices: &Matrices| cache.get(Isa::best(), D, D, matrices.clone());
        layers.iter().map(get).collect()
    }

    /// The number that `packed` shares with `others`.
    fn same(packed: &[Arc<Weights>], others: &[Arc<Weights>]) -> usize {
        let pairs = packed.iter().zip(others);
        pairs.filter(|(a, b)| Arc::ptr_eq(a, b)).count()
    }

    #[test]
    fn layers_are_packed_once_however_many_there_are() {
        let (cache, layers) = (cache(), layers(REMEMBERED + 20));
        // As a graph does until its backward pass.
        let held = pass(&cache, &layers);
        let again = pass(&cache, &layers);
        assert_eq!(same(&held, &again), layers.len());
        // Without a graph the last ones are known.
        let before: Vec<_> = held.iter().map(Arc::downgrade).collect();
        drop((held, again));
        drop(pass(&cache, &self::layers(1)));
        let kept = before.iter().filter(|weights| weights.strong_count() > 0);
        assert_eq!(kept.count(), REMEMBERED);
    }

    #[test]
    fn loops_over_many_layers_find_them_packed() {
        let (cache, layers) = (cache(), layers(REMEMBERED));
        let first: Vec<_> = pass(&cache, &layers).iter().map(Arc::downgrade).collect();
        drop(pass(&cache, &layers));
        assert!(first.iter().all(|weights| weights.strong_count() == 1));
    }

    #[test]
    fn matrices_that_nobody_has_are_forgotten() {
        let cache = cache();
        let before = layers(3);
        let packed: Vec<_> = pass(&cache, &before).iter().map(Arc::downgrade).collect();
        // An optimizer's step.
        drop(before);
        let after = layers(1);
        drop(pass(&cache, &after));
        assert!(packed.iter().all(|weights| weights.strong_count() == 0));
        assert_eq!(cache.lock().len(), 1);
    }
}
