//! What is measured, in candle.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap, loss::cross_entropy};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::{Cache, Mode, Shape, Transformer};

/// The kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    TrainStep,
    ArTrainStep,
    LoopedGeneration,
    ArGeneration,
}

/// Work that is ready to be run.
pub enum Work {
    TrainStep(Box<TrainStep>),
    ArTrainStep(Box<ArTrainStep>),
    Looped(Box<Looped>),
    Ar(Box<Ar>),
}

impl Work {
    /// Makes everything that the work needs.
    pub fn prepare(kind: Kind, shape: Shape) -> Result<Self> {
        Ok(match kind {
            Kind::TrainStep => Self::TrainStep(Box::new(TrainStep::new(shape)?)),
            Kind::ArTrainStep => Self::ArTrainStep(Box::new(ArTrainStep::new(shape)?)),
            Kind::LoopedGeneration => Self::Looped(Box::new(Looped::new(shape)?)),
            Kind::ArGeneration => Self::Ar(Box::new(Ar::new(shape)?)),
        })
    }

    /// A short run.
    pub fn warm_up(&mut self) -> Result<Value> {
        match self {
            Self::TrainStep(work) => work.run(),
            Self::ArTrainStep(work) => work.run(),
            Self::Looped(work) => work.write(2),
            Self::Ar(work) => work.write(work.shape.new_tokens.min(8)),
        }
    }

    /// One unit; what it gave.
    pub fn run(&mut self) -> Result<Value> {
        match self {
            Self::TrainStep(work) => work.run(),
            Self::ArTrainStep(work) => work.run(),
            Self::Looped(work) => work.write(work.shape.iterations),
            Self::Ar(work) => work.write(work.shape.new_tokens),
        }
    }
}

fn random_tokens(shape: &Shape, seed: u64, dims: &[usize]) -> Result<Tensor> {
    let mut random = StdRng::seed_from_u64(seed);
    let tokens: Vec<u32> = (0..dims.iter().product())
        .map(|_| random.random_range(0..shape.vocab as u32))
        .collect();
    Tensor::from_vec(tokens, dims, &Device::Cpu)
}

/// Forward over all iterations, backward, AdamW.
pub struct TrainStep {
    model: Transformer,
    tokens: Tensor,
    targets: Vec<Tensor>,
    optimizer: AdamW,
}

impl TrainStep {
    fn new(shape: Shape) -> Result<Self> {
        let (model, optimizer) = learning(&shape, shape.width)?;
        Ok(Self {
            model,
            tokens: random_tokens(&shape, 1, &[shape.batch, shape.width])?,
            targets: (0..shape.iterations)
                .map(|t| random_tokens(&shape, 2 + t as u64, &[shape.batch * shape.width]))
                .collect::<Result<_>>()?,
            optimizer,
        })
    }

    fn run(&mut self) -> Result<Value> {
        let mut state = self.model.embed(&self.tokens)?;
        let mut losses = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            state = self.model.iterate(&state)?;
            let logits = self.model.readout(&state)?.flatten(0, 1)?;
            losses.push(cross_entropy(&logits, target)?);
        }
        step(&mut self.optimizer, &Tensor::stack(&losses, 0)?.mean_all()?)
    }
}

/// Forward over texts, backward, AdamW.
pub struct ArTrainStep {
    model: Transformer,
    tokens: Tensor,
    targets: Tensor,
    optimizer: AdamW,
}

impl ArTrainStep {
    fn new(shape: Shape) -> Result<Self> {
        let columns = shape.width + shape.new_tokens - 1;
        let (model, optimizer) = learning(&shape, columns)?;
        Ok(Self {
            model,
            tokens: random_tokens(&shape, 1, &[shape.batch, columns])?,
            targets: random_tokens(&shape, 2, &[shape.batch, shape.new_tokens])?,
            optimizer,
        })
    }

    fn run(&mut self) -> Result<Value> {
        let state = self.model.read(&self.tokens)?;
        let (columns, learnt) = (state.dim(1)?, self.targets.dim(1)?);
        let state = state.narrow(1, columns - learnt, learnt)?.contiguous()?;
        let logits = self.model.readout(&state)?.flatten(0, 1)?;
        step(&mut self.optimizer, &cross_entropy(&logits, &self.targets.flatten_all()?)?)
    }
}

/// A model that learns, and what changes it.
fn learning(shape: &Shape, columns: usize) -> Result<(Transformer, AdamW)> {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let model = Transformer::new(shape, columns, Mode::Training, builder)?;
    let settings = ParamsAdamW {
        lr: 5e-4,
        weight_decay: 0.01,
        ..ParamsAdamW::default()
    };
    Ok((model, AdamW::new(vars.all_vars(), settings)?))
}

/// Backward pass and update; gives the loss.
fn step(optimizer: &mut AdamW, loss: &Tensor) -> Result<Value> {
    optimizer.backward_step(loss)?;
    let loss = loss.to_scalar::<f32>()?;
    if !(0.0..20.0).contains(&loss) {
        bail!("loss {loss}");
    }
    Ok(json!({ "loss": loss }))
}

/// All iterations of the looped model, the greedy tokens of each read out.
pub struct Looped {
    shape: Shape,
    model: Transformer,
    tokens: Tensor,
}

impl Looped {
    fn new(shape: Shape) -> Result<Self> {
        Ok(Self {
            shape,
            model: generating(&shape, shape.width)?,
            tokens: random_tokens(&shape, 1, &[shape.batch, shape.width])?,
        })
    }

    fn write(&mut self, iterations: usize) -> Result<Value> {
        let mut state = self.model.embed(&self.tokens)?;
        let mut columns = Vec::with_capacity(iterations);
        for _ in 0..iterations {
            state = self.model.iterate(&state)?;
            columns.push(self.model.readout(&state)?.argmax(candle_core::D::Minus1)?);
        }
        let columns = Tensor::stack(&columns, 0)?;
        columns.flatten_all()?.to_vec1::<u32>()?;
        if columns.dims() != [iterations, self.shape.batch, self.shape.width] {
            bail!("columns {:?}", columns.dims());
        }
        Ok(json!({ "columns": columns.dims() }))
    }
}

/// Greedy continuation of prompts, token by token, with preallocated caches of keys and values.
pub struct Ar {
    shape: Shape,
    model: Transformer,
    tokens: Tensor,
    caches: Vec<Cache>,
}

impl Ar {
    fn new(shape: Shape) -> Result<Self> {
        let columns = shape.width + shape.new_tokens;
        let model = generating(&shape, columns)?;
        Ok(Self {
            caches: model.caches(&shape, columns)?,
            model,
            tokens: random_tokens(&shape, 1, &[shape.batch, shape.width])?,
            shape,
        })
    }

    fn write(&mut self, new_tokens: usize) -> Result<Value> {
        let mut tokens = vec![self.model.append(&self.tokens, &self.caches, 0)?];
        for at in self.shape.width..self.shape.width + new_tokens - 1 {
            let last = &tokens[tokens.len() - 1];
            tokens.push(self.model.append(last, &self.caches, at)?);
        }
        let tokens = Tensor::cat(&tokens, 1)?;
        tokens.flatten_all()?.to_vec1::<u32>()?;
        if tokens.dims() != [self.shape.batch, new_tokens] {
            bail!("tokens {:?}", tokens.dims());
        }
        Ok(json!({ "tokens": tokens.dims() }))
    }
}

fn generating(shape: &Shape, columns: usize) -> Result<Transformer> {
    let builder = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    Transformer::new(shape, columns, Mode::Generation, builder)
}
