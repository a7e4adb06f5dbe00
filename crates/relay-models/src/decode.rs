//! A causal model with its caches: one new column at a time.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::cache::LayerCache;
use crate::causal::CausalTransformer;
use crate::config::{Positions, TransformerConfig};
use crate::context::FORBIDDEN;
use crate::generate_causal::NextToken;
use crate::greedy::Logits;
use crate::indices::indices;
use crate::positions::{Rope, alibi_slopes};

/// What all layers share when one column is added.
#[derive(Debug)]
pub(crate) struct Column<B: Backend> {
    pub heads: usize,
    pub head_dim: usize,
    /// Tables of this column.
    pub rope: Option<Rope<B>>,
    /// Added to the scores, `[rows * heads, columns so far and this one]`.
    pub bias: Option<Tensor<B, 2>>,
}

/// A batch of texts that grow together.
#[derive(Debug)]
pub(crate) struct Decoder<'a, B: Backend> {
    model: &'a CausalTransformer<B>,
    caches: Vec<LayerCache<B>>,
    /// Columns on the left of each row that are padding.
    pads: Vec<usize>,
    /// Columns so far.
    length: usize,
    /// States of the last column, `[rows, d_model]`.
    last: Tensor<B, 2>,
}

impl<'a, B: Backend> Decoder<'a, B> {
    /// Reads left-padded prompts, `[rows, width]`.
    pub fn new(model: &'a CausalTransformer<B>, tokens: Tensor<B, 2, Int>, pads: &[usize]) -> Self {
        let context = model.context(&tokens, pads, None);
        let mut x = model.block.embed(tokens);
        let mut caches = Vec::with_capacity(model.block.layers.len());
        for (index, layer) in model.block.layers.iter().enumerate() {
            // Computed here and again within the layer: two small products, once a prompt, and the
            // layer stays free to be one fused kernel.
            caches.push(LayerCache::new(layer.keys_values(x.clone(), &context)));
            x = layer.forward(x, &context, 1, index);
        }
        let [rows, width, d_model] = x.dims();
        let last = x
            .slice([0..rows, width - 1..width, 0..d_model])
            .reshape([rows, d_model]);
        Self {
            model,
            caches,
            pads: pads.to_vec(),
            length: width,
            last,
        }
    }

    fn column(&self) -> Column<B> {
        let (config, device) = (&self.model.config().transformer, self.last.device());
        let (heads, head_dim) = (config.heads, config.head_dim());
        let rope = (config.positions == Positions::Rope)
            .then(|| Rope::new(self.length, 1, heads, head_dim, config.rope_base, &device));
        let bias = self.bias(config).map(|bias| {
            let shape = [self.pads.len() * heads, self.length + 1];
            Tensor::from_data(TensorData::new(bias, shape), &device)
        });
        Column {
            heads,
            head_dim,
            rope,
            bias,
        }
    }

    fn bias(&self, config: &TransformerConfig) -> Option<Vec<f32>> {
        let slopes = match config.positions {
            Positions::Alibi => alibi_slopes(config.heads),
            Positions::Rope | Positions::None if self.pads.iter().all(|pad| *pad == 0) => {
                return None;
            }
            Positions::Rope | Positions::None => vec![0.0; config.heads],
        };
        let query = self.length;
        let mut bias = Vec::with_capacity(self.pads.len() * slopes.len() * (query + 1));
        for pad in &self.pads {
            for slope in &slopes {
                bias.extend(core::iter::repeat_n(FORBIDDEN, *pad));
                bias.extend((*pad..=query).map(|key| -slope * (query - key) as f32));
            }
        }
        Some(bias)
    }
}

impl<B: Backend> NextToken for Decoder<'_, B> {
    fn logits(&mut self) -> Logits {
        Logits::read(self.model.logits(self.last.clone()))
    }

    fn push(&mut self, tokens: &[u32]) {
        let column = self.column();
        let data = TensorData::new(
            tokens.iter().map(|token| *token as i32).collect::<Vec<_>>(),
            [tokens.len(), 1],
        );
        let block = &self.model.block;
        let x = block.embed(Tensor::from_data(data, &self.last.device()));
        let [rows, _, d_model] = x.dims();
        let layers = block.layers.iter().zip(&mut self.caches);
        self.last = layers.fold(x.reshape([rows, d_model]), |x, (layer, cache)| {
            layer.append(x, cache, &column)
        });
        self.length += 1;
    }

    fn keep(&mut self, rows: &[usize]) {
        self.caches.iter_mut().for_each(|cache| cache.keep(rows));
        self.last = self
            .last
            .clone()
            .select(0, indices(rows, &self.last.device()));
        self.pads = rows.iter().map(|row| self.pads[*row]).collect();
    }
}
