//! The work that is measured.

use std::time::Instant;

use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor};
use relay_benches::{Measured, Result, Shape, StepwiseRun};
use relay_kernels::with_precision;
use relay_models::{
    CausalTransformer, LoopedPrompts, LoopedTransformer, generate_causal, generate_looped,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// No token: texts go on to their limit.
const NEVER: u32 = u32::MAX;

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One update of the looped model by the trainer.
    TrainStep,
    /// One update of the AR model by the trainer.
    ArTrainStep,
    /// Chains of the looped model, every iteration read out.
    LoopedGeneration,
    /// Texts of the AR model, token by token.
    ArGeneration,
    /// The products of a training step by burn's own `matmul`: on a CPU that is the `gemm` crate.
    GemmRate,
}

/// Work that is ready to run.
#[derive(Debug)]
pub enum Work {
    TrainStep(StepwiseRun),
    LoopedGeneration(Box<LoopedTransformer<Measured>>, Shape),
    ArGeneration(Box<CausalTransformer<Measured>>, Shape),
    GemmRate(Vec<[Tensor<Measured, 2>; 2]>),
}

impl Work {
    /// Makes models and data.
    pub fn prepare(kind: Kind, shape: Shape) -> Result<Self> {
        let device = Default::default();
        Ok(match kind {
            Kind::TrainStep => Self::TrainStep(StepwiseRun::looped(&shape)?),
            Kind::ArTrainStep => Self::TrainStep(StepwiseRun::causal(&shape)?),
            Kind::LoopedGeneration => {
                let config = shape.looped_config();
                config.validate()?;
                Self::LoopedGeneration(Box::new(config.init(&device, 1)), shape)
            }
            Kind::ArGeneration => {
                let config = shape.causal_config();
                config.validate()?;
                Self::ArGeneration(Box::new(config.init(&device, 1)), shape)
            }
            Kind::GemmRate => Self::GemmRate(products(&shape)),
        })
    }

    /// A short run; what [`run`](Self::run) gives.
    pub fn warm_up(&mut self) -> Result<Value> {
        match self {
            Self::LoopedGeneration(model, shape) => {
                let iterations = shape.iterations.min(2);
                write_looped(
                    model,
                    &Shape {
                        iterations,
                        ..*shape
                    },
                )
            }
            Self::ArGeneration(model, shape) => {
                let new_tokens = shape.new_tokens.min(8);
                write_texts(
                    model,
                    &Shape {
                        new_tokens,
                        ..*shape
                    },
                )
            }
            _ => self.run(),
        }
    }

    /// Runs it once; gives what shows that it did what it should.
    pub fn run(&mut self) -> Result<Value> {
        match self {
            Self::TrainStep(run) => {
                let loss = run.step()?;
                if loss > 0.0 && loss < 40.0 {
                    Ok(json!({ "loss": loss }))
                } else {
                    Err(format!("a loss of {loss}").into())
                }
            }
            Self::LoopedGeneration(model, shape) => write_looped(model, shape),
            Self::ArGeneration(model, shape) => write_texts(model, shape),
            Self::GemmRate(products) => {
                let rate = best_rate(products)?;
                Ok(json!({ "flops_per_second": rate }))
            }
        }
    }
}

fn write_looped(model: &LoopedTransformer<Measured>, shape: &Shape) -> Result<Value> {
    let rows = shape.random_rows(shape.batch, "problems");
    let prompts = LoopedPrompts {
        tokens: rows.into_iter().flatten().map(u32::cast_signed).collect(),
        size: shape.batch,
        width: shape.width,
        pads: vec![0; shape.batch],
        iterations: vec![shape.iterations; shape.batch],
    };
    let write = || generate_looped(model, &prompts, &Default::default());
    let chains = with_precision(shape.precision, write)?;
    let whole = chains.iter().all(|chain| {
        chain.columns.len() == shape.iterations
            && chain.columns.iter().all(|row| row.len() == shape.width)
    });
    if whole && chains.len() == shape.batch {
        Ok(json!({ "columns": [shape.iterations, shape.batch, shape.width] }))
    } else {
        Err("chains of other sizes than asked for".into())
    }
}

fn write_texts(model: &CausalTransformer<Measured>, shape: &Shape) -> Result<Value> {
    let prompts = shape.random_rows(shape.batch, "problems");
    let limits = vec![shape.new_tokens; shape.batch];
    let write = || generate_causal(model, &prompts, NEVER, &limits, &Default::default());
    let texts = with_precision(shape.precision, write)?;
    let whole = texts
        .iter()
        .all(|text| text.tokens.len() == shape.new_tokens);
    if whole && texts.len() == shape.batch {
        Ok(json!({ "tokens": [shape.batch, shape.new_tokens] }))
    } else {
        Err("texts of other lengths than asked for".into())
    }
}

/// The operands of one layer's products, forward and backward, over the whole batch.
fn products(shape: &Shape) -> Vec<[Tensor<Measured, 2>; 2]> {
    let (rows, d) = (shape.batch * shape.columns(), shape.d_model);
    let hidden = 4 * d;
    let matrix = |dims: [usize; 2]| {
        Tensor::<Measured, 2>::random(dims, Distribution::Default, &Default::default())
    };
    let mut products = Vec::new();
    for [inputs, outputs] in [[d, d], [d, hidden], [hidden, d]] {
        let (x, weight, gradient) = (
            matrix([rows, inputs]),
            matrix([inputs, outputs]),
            matrix([rows, outputs]),
        );
        products.push([x.clone(), weight.clone()]);
        products.push([gradient.clone(), weight.transpose()]);
        products.push([x.transpose(), gradient]);
    }
    products
}

/// Operations a second of the product that goes best, on the whole device.
///
/// On a CPU burn's `matmul` is `gemm` and the allocation of the result, which is small beside it where the inner dimension is
/// large; so the best product shows what `gemm` reaches. On a GPU it is CubeCL's, and a launch and a wait are in it, too.
fn best_rate(products: &[[Tensor<Measured, 2>; 2]]) -> Result<f64> {
    let mut best: f64 = 0.0;
    for [left, right] in products {
        let ([rows, inner], [_, columns]) = (left.dims(), right.dims());
        let device = left.device();
        let mut fastest = f64::INFINITY;
        for _ in 0..15 {
            // What made the operands, and what the round before has left, is not measured.
            Measured::sync(&device)?;
            let start = Instant::now();
            let result = left.clone().matmul(right.clone());
            Measured::sync(&device)?;
            fastest = fastest.min(start.elapsed().as_secs_f64());
            assert_eq!(result.dims(), [rows, columns]);
        }
        best = best.max(2.0 * (rows * inner * columns) as f64 / fastest);
    }
    Ok(best)
}
