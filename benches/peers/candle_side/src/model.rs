//! The block of RELAY's models in candle: pre-norm layers, RoPE (rotate-half), exact GELU, no bias in attention.
//!
//! Queries, keys and values come from one product. Candle's fused norm, softmax and rotation have no backward pass, so
//! training uses their spelled-out forms; generation uses the fused ones.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::{layer_norm, layer_norm_slow, softmax, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_slow};
use candle_nn::{Embedding, Init, Linear, Module, VarBuilder, embedding, linear, linear_no_bias};
use serde::Deserialize;

const EPSILON: f32 = 1e-5;

/// Sizes of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct Shape {
    pub heads: usize,
    pub layers: usize,
    pub vocab: usize,
    pub d_model: usize,
    pub batch: usize,
    pub width: usize,
    pub iterations: usize,
    pub new_tokens: usize,
}

/// Which operations are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those with a backward pass.
    Training,
    /// The fastest.
    Generation,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    mode: Mode,
}

impl Norm {
    fn new(d_model: usize, mode: Mode, vars: VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vars.get_with_hints(d_model, "weight", Init::Const(1.0))?,
            bias: vars.get_with_hints(d_model, "bias", Init::Const(0.0))?,
            mode,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.mode {
            Mode::Training => layer_norm_slow(x, &self.weight, &self.bias, EPSILON),
            Mode::Generation => layer_norm(&x.contiguous()?, &self.weight, &self.bias, EPSILON),
        }
    }
}

/// Keys and values of a layer, `[batch, heads, columns, head_dim]`, and how many columns are filled.
pub struct Cache {
    pub keys: Tensor,
    pub values: Tensor,
}

struct Layer {
    heads: usize,
    mode: Mode,
    norm_attention: Norm,
    query_key_value: Linear,
    output: Linear,
    norm_mlp: Norm,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(shape: &Shape, mode: Mode, vars: VarBuilder) -> Result<Self> {
        let d = shape.d_model;
        Ok(Self {
            heads: shape.heads,
            mode,
            norm_attention: Norm::new(d, mode, vars.pp("norm_attention"))?,
            query_key_value: linear_no_bias(d, 3 * d, vars.pp("query_key_value"))?,
            output: linear_no_bias(d, d, vars.pp("output"))?,
            norm_mlp: Norm::new(d, mode, vars.pp("norm_mlp"))?,
            up: linear(d, 4 * d, vars.pp("up"))?,
            down: linear(4 * d, d, vars.pp("down"))?,
        })
    }

    /// Rotated queries and keys, and values, `[batch, heads, width, head_dim]`.
    fn split(&self, x: &Tensor, rotation: &Rotation) -> Result<[Tensor; 3]> {
        let (batch, width, d_model) = x.dims3()?;
        let all = self
            .query_key_value
            .forward(&self.norm_attention.forward(x)?)?
            .reshape((batch, width, 3, self.heads, d_model / self.heads))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()?;
        let part = |i: usize| all.get(i);
        let turn = match self.mode {
            Mode::Training => rope_slow,
            Mode::Generation => rope,
        };
        Ok([
            turn(&part(0)?, &rotation.cos, &rotation.sin)?,
            turn(&part(1)?, &rotation.cos, &rotation.sin)?,
            part(2)?,
        ])
    }

    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let scale = 1.0 / (query.dim(D::Minus1)? as f64).sqrt();
        let mut scores = (query.matmul(&key.transpose(2, 3)?)? * scale)?;
        if let Some(mask) = mask {
            scores = scores.broadcast_add(mask)?;
        }
        let weights = match self.mode {
            Mode::Training => softmax(&scores, D::Minus1)?,
            Mode::Generation => softmax_last_dim(&scores)?,
        };
        weights.matmul(value)
    }

    /// Output product and perceptron.
    fn finish(&self, x: &Tensor, attention: &Tensor) -> Result<Tensor> {
        let attention = attention.transpose(1, 2)?.reshape(x.shape())?;
        let x = (x + self.output.forward(&attention)?)?;
        let hidden = self.up.forward(&self.norm_mlp.forward(&x)?)?.gelu_erf()?;
        &x + self.down.forward(&hidden)?
    }

    fn forward(&self, x: &Tensor, rotation: &Rotation, mask: Option<&Tensor>) -> Result<Tensor> {
        let [query, key, value] = self.split(x, rotation)?;
        self.finish(x, &self.attend(&query, &key, &value, mask)?)
    }

    /// Appends the columns of `x` at `at` to the cache; they see what is there and, by `mask`, themselves.
    fn append(
        &self,
        x: &Tensor,
        rotation: &Rotation,
        cache: &Cache,
        at: usize,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [query, key, value] = self.split(x, rotation)?;
        cache.keys.slice_set(&key.contiguous()?, 2, at)?;
        cache.values.slice_set(&value.contiguous()?, 2, at)?;
        let columns = at + x.dim(1)?;
        let keys = cache.keys.narrow(2, 0, columns)?;
        let values = cache.values.narrow(2, 0, columns)?;
        self.finish(x, &self.attend(&query, &keys, &values, mask)?)
    }
}

/// Cosines and sines of some columns, `[columns, head_dim / 2]`.
struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    fn new(columns: usize, head_dim: usize) -> Result<Self> {
        let half = head_dim / 2;
        let angles: Vec<f32> = (0..columns)
            .flat_map(|column| {
                (0..half).map(move |i| {
                    let wavelength = 10_000_f64.powf(i as f64 / half as f64);
                    (column as f64 / wavelength) as f32
                })
            })
            .collect();
        let angles = Tensor::from_vec(angles, (columns, half), &Device::Cpu)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    fn columns(&self, from: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            cos: self.cos.narrow(0, from, columns)?,
            sin: self.sin.narrow(0, from, columns)?,
        })
    }
}

/// Embedding, layers, final norm and one head: looped or causal by what is called.
pub struct Transformer {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm_final: Norm,
    head: Linear,
    rotation: Rotation,
}

impl Transformer {
    /// Random weights, for up to `columns` columns.
    pub fn new(shape: &Shape, columns: usize, mode: Mode, vars: VarBuilder) -> Result<Self> {
        let layers = (0..shape.layers)
            .map(|i| Layer::new(shape, mode, vars.pp(format!("layers.{i}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            embedding: embedding(shape.vocab, shape.d_model, vars.pp("embedding"))?,
            layers,
            norm_final: Norm::new(shape.d_model, mode, vars.pp("norm_final"))?,
            head: linear(shape.d_model, shape.vocab, vars.pp("head"))?,
            rotation: Rotation::new(columns, shape.d_model / shape.heads)?,
        })
    }

    /// State before the first iteration.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        self.embedding.forward(tokens)
    }

    /// One pass of the block over `[batch, width, d_model]`.
    pub fn iterate(&self, state: &Tensor) -> Result<Tensor> {
        self.pass(state, None)
    }

    /// States of texts `[batch, width]`, in which a column sees those before it and itself.
    pub fn read(&self, tokens: &Tensor) -> Result<Tensor> {
        self.pass(&self.embed(tokens)?, Some(&causal_mask(tokens.dim(1)?)?))
    }

    fn pass(&self, state: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let rotation = self.rotation.columns(0, state.dim(1)?)?;
        self.layers
            .iter()
            .try_fold(state.clone(), |state, layer| layer.forward(&state, &rotation, mask))
    }

    /// Logits of every column.
    pub fn readout(&self, state: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.norm_final.forward(state)?)
    }

    /// Adds the columns `tokens` at place `at`; the most probable token after the last one, `[batch, 1]`.
    pub fn append(&self, tokens: &Tensor, caches: &[Cache], at: usize) -> Result<Tensor> {
        let width = tokens.dim(1)?;
        let rotation = self.rotation.columns(at, width)?;
        let mask = (width > 1).then(|| causal_mask(width)).transpose()?;
        let mut state = self.embed(tokens)?;
        for (layer, cache) in self.layers.iter().zip(caches) {
            state = layer.append(&state, &rotation, cache, at, mask.as_ref())?;
        }
        let last = state.narrow(1, width - 1, 1)?.contiguous()?;
        self.readout(&last)?.argmax(D::Minus1)
    }

    /// Empty caches for `columns` columns.
    pub fn caches(&self, shape: &Shape, columns: usize) -> Result<Vec<Cache>> {
        let size = (shape.batch, shape.heads, columns, shape.d_model / shape.heads);
        let empty = || Tensor::zeros(size, DType::F32, &Device::Cpu);
        (0..shape.layers)
            .map(|_| Ok(Cache { keys: empty()?, values: empty()? }))
            .collect()
    }
}

/// 0 where a column may look, negative infinity after it.
fn causal_mask(width: usize) -> Result<Tensor> {
    let mask: Vec<f32> = (0..width * width)
        .map(|i| if i % width > i / width { f32::NEG_INFINITY } else { 0.0 })
        .collect();
    Tensor::from_vec(mask, (width, width), &Device::Cpu)
}
