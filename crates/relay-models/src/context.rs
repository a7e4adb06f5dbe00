//! What all layers and iterations of one forward pass share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use relay_kernels::PreparedLayer;

use crate::config::{Positions, TransformerConfig};
use crate::dropout::{Dropout, DropoutKey, Site};
use crate::positions::{Rope, alibi_slopes};

/// Added to the score of a key that may not be seen. Finite, so that no row becomes NaN, and so
/// large that the key's probability is exactly zero next to any allowed one.
pub(crate) const FORBIDDEN: f32 = -1e9;

/// Shapes, padding, positions and dropout of one forward pass.
///
/// Tables are made when first needed, once for all layers and iterations, and for the contexts that are [renewed](Self::renewed); the
/// fused kernels need none.
#[derive(Debug)]
pub struct Context<B: Backend> {
    pub(crate) size: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) causal: bool,
    pub(crate) positions: Positions,
    pub(crate) rope_base: f32,
    /// Of each head with ALiBi, else none.
    pub(crate) slopes: Vec<f32>,
    /// Columns on the left of each sample that are padding.
    pub(crate) pads: Vec<usize>,
    pub(crate) dropout: Option<Dropout>,
    device: B::Device,
    tables: Arc<OnceLock<Tables<B>>>,
    /// Of each layer by its index; None where its kernel takes parameters as they are.
    prepared: Mutex<BTreeMap<usize, Option<PreparedLayer<B>>>>,
}

/// What ordinary operations need beyond the parameters.
#[derive(Debug)]
pub(crate) struct Tables<B: Backend> {
    pub rope: Option<Rope<B>>,
    /// Added to the scores: `[size * heads, width * width]`, or `[1, width * width]` where all
    /// samples and heads have the same.
    pub bias: Option<Tensor<B, 2>>,
    /// 0 for rows that may see no key at all, 1 elsewhere: `[size * width, 1]`.
    pub seeing: Option<Tensor<B, 2>>,
}

impl<B: Backend> Context<B> {
    /// # Panics
    /// When `pads` has not one entry a sample or exceeds the width.
    pub(crate) fn new(
        config: &TransformerConfig,
        causal: bool,
        [size, width]: [usize; 2],
        pads: &[usize],
        dropout: Option<DropoutKey>,
        device: &B::Device,
    ) -> Self {
        assert_eq!(
            pads.len(),
            size,
            "one entry of pads a sample: {} entries, {size} samples",
            pads.len()
        );
        assert!(
            pads.iter().all(|pad| *pad <= width),
            "pads {pads:?} exceed the width {width}"
        );
        Self {
            size,
            width,
            heads: config.heads,
            head_dim: config.head_dim(),
            causal,
            positions: config.positions,
            rope_base: config.rope_base,
            slopes: match config.positions {
                Positions::Alibi => alibi_slopes(config.heads),
                Positions::Rope | Positions::None => Vec::new(),
            },
            pads: pads.to_vec(),
            dropout: Dropout::new(dropout, config.dropout),
            device: device.clone(),
            tables: Arc::default(),
            prepared: Mutex::default(),
        }
    }

    /// The context of some of the samples, in the order of `rows`.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        Self {
            size: rows.len(),
            pads: rows.iter().map(|row| self.pads[*row]).collect(),
            slopes: self.slopes.clone(),
            device: self.device.clone(),
            tables: Arc::default(),
            prepared: Mutex::default(),
            ..*self
        }
    }

    /// As [`select`](Self::select), with what is prepared: for the same weights, where nothing is recorded.
    pub(crate) fn kept(&self, rows: &[usize]) -> Self {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            prepared: Mutex::new(prepared.clone()),
            ..self.select(rows)
        }
    }

    /// The same for another graph: what is prepared belongs to one.
    pub fn renewed(&self) -> Self {
        let all: Vec<usize> = (0..self.size).collect();
        Self {
            tables: Arc::clone(&self.tables),
            ..self.select(&all)
        }
    }

    /// The parameters of the layer with this index, prepared by `make` if they have not been.
    pub(crate) fn prepared(
        &self,
        index: usize,
        make: impl FnOnce() -> Option<PreparedLayer<B>>,
    ) -> Option<PreparedLayer<B>> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.entry(index).or_insert_with(make).clone()
    }

    /// Drops elements if this pass has dropout.
    pub(crate) fn drop<const D: usize>(&self, x: Tensor<B, D>, site: Site) -> Tensor<B, D> {
        match &self.dropout {
            Some(dropout) => dropout.apply(x, site),
            None => x,
        }
    }

    pub(crate) fn tables(&self) -> &Tables<B> {
        self.tables.get_or_init(|| Tables {
            rope: (self.positions == Positions::Rope).then(|| {
                let (heads, head_dim) = (self.heads, self.head_dim);
                Rope::new(0, self.width, heads, head_dim, self.rope_base, &self.device)
            }),
            bias: self.bias(),
            seeing: self.seeing(),
        })
    }

    fn bias(&self) -> Option<Tensor<B, 2>> {
        let (size, width, heads) = (self.size, self.width, self.heads);
        let structure = self.structure_bias();
        let padded = self.pads.iter().any(|pad| *pad > 0);
        let bias = match (structure, padded) {
            (None, false) => return None,
            // Causality alone is the same for all samples and heads: one row, which broadcasts fast.
            (Some(structure), false) if structure.dims()[1] == 1 => {
                return Some(structure.reshape([1, width * width]));
            }
            (Some(structure), false) => structure,
            (None, true) => self.key_bias(),
            (Some(structure), true) => structure + self.key_bias(),
        };
        Some(
            bias.expand([size, heads, width, width])
                .reshape([size * heads, width * width]),
        )
    }

    /// What depends on the places of query and key only: `[1, heads or 1, width, width]`.
    fn structure_bias(&self) -> Option<Tensor<B, 4>> {
        let slopes = match self.slopes.as_slice() {
            [] if self.causal => &[0.0],
            [] => return None,
            slopes => slopes,
        };
        let width = self.width;
        let mut values = Vec::with_capacity(slopes.len() * width * width);
        for slope in slopes {
            for query in 0..width {
                values.extend((0..width).map(|key| {
                    let hidden = self.causal && key > query;
                    if hidden {
                        FORBIDDEN
                    } else {
                        -slope * query.abs_diff(key) as f32
                    }
                }));
            }
        }
        let shape = [1, slopes.len(), width, width];
        Some(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    /// Forbids the padding: `[size, 1, 1, width]`.
    fn key_bias(&self) -> Tensor<B, 4> {
        let values = self.columns(|pad, column| if column < pad { FORBIDDEN } else { 0.0 });
        Tensor::from_data(
            TensorData::new(values, [self.size, 1, 1, self.width]),
            &self.device,
        )
    }

    fn seeing(&self) -> Option<Tensor<B, 2>> {
        let (causal, width) = (self.causal, self.width);
        let blind = |pad: usize, column: usize| pad == width || (causal && column < pad);
        if !self.pads.iter().any(|pad| blind(*pad, 0)) {
            return None;
        }
        let values = self.columns(|pad, column| if blind(pad, column) { 0.0 } else { 1.0 });
        Some(Tensor::from_data(
            TensorData::new(values, [self.size * width, 1]),
            &self.device,
        ))
    }

    /// `value(pads of the sample, column)` for every sample and column.
    fn columns(&self, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let value = &value;
        self.pads
            .iter()
            .flat_map(|pad| (0..self.width).map(move |column| value(*pad, column)))
            .collect()
    }
}
