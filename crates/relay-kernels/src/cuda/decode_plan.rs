//! How `decode.cu` is launched: the forms of its products, and what its shared memory has room for.

use super::launch::narrow;
use super::source::{File, Kernel};

/// Blocks of a cluster, warps of a block that compute, and threads of a block.
const BLOCKS: usize = 8;
const WARPS: usize = 8;
const THREADS: u32 = 32 * WARPS as u32 + 32;
/// Clusters that an H100 has room for at a time, with one block on each of its multiprocessors.
const CLUSTERS: usize = 15;
/// Bytes of a stage, and of the units in it.
const STAGE: usize = 16384;
const UNIT: usize = 512;
/// Shared memory of a multiprocessor, and what each block has to leave.
const SHARED: usize = 228 * 1024;
const RESERVED: usize = 1024;
/// Bytes of keys and values that all clusters may have room for, if that leaves one at all.
const CACHE: usize = 16 << 30;
/// Most numbers of a product's row.
const MOST: usize = 4096;

/// The sizes of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub d: usize,
    /// Width of the MLP.
    pub m: usize,
    pub heads: usize,
    pub layers: usize,
    pub vocab: usize,
    /// Whether states are normalised before they are read out.
    pub norm: bool,
    pub rope: bool,
}

/// A product: how many numbers its rows have and its result's, and how the columns of the result are divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub outer: usize,
    pub inner: usize,
    /// Tiles of 16 columns that a block computes at a time, and how often.
    pub tiles: usize,
    pub parts: usize,
}

impl Form {
    fn new(outer: usize, inner: usize) -> Self {
        let all = outer.div_ceil(16 * BLOCKS);
        let parts = all.div_ceil(WARPS);
        let tiles = all.div_ceil(parts);
        Self {
            outer,
            inner,
            tiles,
            parts,
        }
    }

    /// Units of weights of a block.
    pub fn units(&self) -> usize {
        self.tiles * self.parts * self.inner / 16
    }

    /// Stages of weights of a block.
    fn stages(&self) -> usize {
        let active = WARPS / self.tiles * self.tiles;
        let stage = STAGE / UNIT / WARPS * active;
        self.parts * (self.units() / self.parts).div_ceil(stage)
    }

    /// Bytes of a block's sums for so many texts.
    fn sums(&self, rows: usize) -> usize {
        4 * (WARPS / self.tiles) * rows * (16 * self.tiles * self.parts + 4)
    }
}

impl Model {
    /// Width of a head.
    pub fn head(&self) -> usize {
        self.d / self.heads
    }

    /// Queries, keys and values; output; up; down; the readout.
    pub fn forms(&self) -> [Form; 5] {
        let Self { d, m, vocab, .. } = *self;
        [[3 * d, d], [d, d], [m, d], [d, m], [vocab, d]]
            .map(|[outer, inner]| Form::new(outer, inner))
    }

    /// Units of weights of a block.
    pub fn units(&self) -> usize {
        let [qkv, output, up, down, readout] = self.forms().map(|form| form.units());
        self.layers * (qkv + output + up + down) + readout
    }

    /// Numbers of all blocks' weights.
    pub fn weights(&self) -> usize {
        BLOCKS * self.units() * UNIT / 2
    }

    /// Whether there is a kernel for such sizes.
    pub fn fits(&self) -> bool {
        let Self { d, m, vocab, .. } = *self;
        let widths = d > 0 && d.is_multiple_of(64) && m > 0 && m.is_multiple_of(64);
        let most = 3 * d <= MOST && m <= MOST && (1..=MOST).contains(&vocab);
        widths && most && matches!(self.head(), 32 | 64) && self.stages(8).is_some()
    }

    /// Bytes of shared memory without stages, as `decode.cuh` lays it out.
    fn shared(&self, rows: usize) -> usize {
        let (d, m, head) = (self.d, self.m, self.head());
        let matrices = rows * (8 * d + 4 * (d + 8) + 2 * (m + 8));
        let attention =
            rows * self.heads / BLOCKS * 3 * head * 4 + WARPS / 2 * (4 * head + 4 * (head + 4) * 4);
        let texts = rows * (BLOCKS * 16 + 32 + 4) + 16;
        let sums = self.forms().map(|form| form.sums(rows));
        matrices + attention + texts + 8 * 8 + sums.into_iter().max().unwrap_or(0)
    }

    /// Stages that a block, alone on its multiprocessor, has room for beside so many texts; None if for too few. Those that come
    /// after a column's keys and values were written are no fewer in any token: that each of them has been used again is how it
    /// is known that the column can be fetched.
    fn stages(&self, rows: usize) -> Option<usize> {
        let [qkv, _, up, down, readout] = self.forms().map(|form| form.stages());
        let room = SHARED.checked_sub(self.shared(rows) + RESERVED)? / (STAGE + 16);
        (room >= 3).then_some(room.min(qkv + up + down + readout))
    }
}

/// How texts are divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    model: Model,
    clusters: usize,
    /// Texts that a cluster has room for, and stages.
    rows: usize,
    stages: usize,
    /// Texts that a cluster takes at first.
    pub share: usize,
    /// Numbers of keys and values.
    pub cache: usize,
}

impl Plan {
    /// For so many texts, the longest of so many columns; None if there is no kernel for such sizes.
    pub fn new(model: Model, texts: usize, longest: usize) -> Option<Self> {
        let slot = model.layers * model.d * 2 * longest;
        let room = CACHE / (2 * slot);
        let most = room.max(1).min(texts);
        let wanted = most.div_ceil(CLUSTERS);
        let fits = |rows: &usize| model.stages(*rows).is_some();
        let mut rows = [8, 16].into_iter().filter(fits);
        let fewest = rows.next()?;
        let rows = if wanted > fewest { rows.next() } else { None }.unwrap_or(fewest);
        // A cluster has the memory of all its rows, taken or not.
        let clusters = most.div_ceil(rows.min(wanted));
        let clusters = clusters.min(CLUSTERS).min((room / rows).max(1));
        Some(Self {
            model,
            clusters,
            rows,
            stages: model.stages(rows)?,
            share: most.div_ceil(clusters).min(rows),
            cache: clusters * rows * slot,
        })
    }

    pub fn kernel(&self) -> Kernel {
        let Model {
            d,
            m,
            heads,
            vocab,
            norm,
            rope,
            ..
        } = self.model;
        let shared = self.model.shared(self.rows) + self.stages * (STAGE + 16);
        let defines = [
            ("D", d),
            ("M", m),
            ("HEADS", heads),
            ("HD", self.model.head()),
            ("VOCAB", vocab),
            ("NORM", usize::from(norm)),
            ("ROPE", usize::from(rope)),
            ("ROWS", self.rows),
            ("STAGES", self.stages),
            ("TOGETHER", 1),
        ];
        Kernel {
            file: File::Decode,
            name: "decode",
            defines: defines.map(|(name, x)| (name, narrow(x))).to_vec(),
            threads: THREADS,
            shared: narrow(shared),
        }
    }

    pub fn grid(&self) -> [usize; 3] {
        [self.clusters * BLOCKS, 1, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: Model = Model {
        d: 256,
        m: 1024,
        heads: 4,
        layers: 3,
        vocab: 300,
        norm: true,
        rope: true,
    };

    #[test]
    fn memory_for_keys_and_values_is_bounded() {
        for longest in [1, 500, 4096, 20_000, 87_000, 300_000, 1 << 20] {
            for texts in [1, 2, 7, 8, 15, 64, 120, 121, 240, 512, 5000] {
                let plan = Plan::new(MODEL, texts, longest).unwrap();
                let slot = MODEL.layers * MODEL.d * 2 * longest;
                let what = format!("{texts} texts of {longest}: {plan:?}");
                assert_eq!(plan.cache, plan.clusters * plan.rows * slot, "{what}");
                assert!(plan.clusters == 1 || 2 * plan.cache <= CACHE, "{what}");
                assert!((1..=CLUSTERS).contains(&plan.clusters), "{what}");
                assert!((1..=plan.rows).contains(&plan.share), "{what}");
            }
        }
    }

    /// As long as there is memory, texts are divided among all clusters.
    #[test]
    fn short_texts_have_all_clusters() {
        let clusters = |texts| Plan::new(MODEL, texts, 504).map(|plan| (plan.clusters, plan.share));
        assert_eq!(clusters(1), Some((1, 1)));
        assert_eq!(clusters(15), Some((15, 1)));
        assert_eq!(clusters(64), Some((13, 5)));
        assert_eq!(clusters(512), Some((15, 16)));
    }
}
