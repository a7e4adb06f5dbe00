//! Sizes of models and batches.

use relay_models::{CausalConfig, LoopedConfig, TransformerConfig};
use relay_tasks::{Codec, Example, SEP, Stream, TaskConfig, TokenId};
use relay_train::Precision;
use serde::{Deserialize, Serialize};

use crate::Result;

/// A model and a batch by their sizes; the rest is as in the paper, without dropout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers of the block.
    pub layers: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Samples of a batch.
    pub batch: usize,
    /// Columns of the looped model's window; of a prompt for the AR model.
    pub width: usize,
    /// Iterations of the looped model; for the AR model 1.
    pub iterations: usize,
    /// Tokens that the AR model writes, or learns to write; for the looped model 0.
    pub new_tokens: usize,
    /// What the layers' products multiply in training.
    #[serde(default)]
    pub precision: Precision,
}

impl Shape {
    /// A looped model and batch: 3 layers, 4 heads, 300 tokens.
    pub fn looped(d_model: usize, batch: usize, width: usize, iterations: usize) -> Self {
        Self {
            d_model,
            heads: 4,
            layers: 3,
            vocab: 300,
            batch,
            width,
            iterations,
            new_tokens: 0,
            precision: Precision::F32,
        }
    }

    /// An AR model and a batch of texts: 3 layers, 4 heads, 300 tokens.
    pub fn causal(d_model: usize, batch: usize, prompt: usize, new_tokens: usize) -> Self {
        Self {
            new_tokens,
            ..Self::looped(d_model, batch, prompt, 1)
        }
    }

    /// Columns of a training step: those of the window, or of a text, whose last token is a target only.
    pub fn columns(&self) -> usize {
        self.width + self.new_tokens.saturating_sub(1)
    }

    fn transformer(&self) -> TransformerConfig {
        TransformerConfig {
            vocab: self.vocab,
            d_model: self.d_model,
            heads: self.heads,
            layers: self.layers,
            dropout: 0.0,
            ..TransformerConfig::default()
        }
    }

    /// The looped model's settings.
    pub fn looped_config(&self) -> LoopedConfig {
        LoopedConfig {
            transformer: self.transformer(),
            ..LoopedConfig::default()
        }
    }

    /// The AR model's settings.
    pub fn causal_config(&self) -> CausalConfig {
        CausalConfig {
            transformer: self.transformer(),
        }
    }

    /// Rows of random tokens of the paper's tasks, one a sample, none of them reserved. The model may have more, up to a round number.
    pub fn random_rows(&self, rows: usize, name: &str) -> Vec<Vec<TokenId>> {
        let mut stream = Stream::named(1, name, &[]);
        let mut token = || 3 + stream.below(TOKENS - 3) as TokenId;
        (0..rows)
            .map(|_| (0..self.width).map(|_| token()).collect())
            .collect()
    }

    /// A batch of examples whose problems and steps fill the window, so that every column of every iteration counts.
    pub fn examples(&self) -> Vec<Example> {
        let mut rows = self
            .random_rows(self.batch * (1 + self.iterations), "examples")
            .into_iter();
        let mut example = |prompt: Vec<TokenId>| {
            let steps: Vec<Vec<TokenId>> = rows.by_ref().take(self.iterations).collect();
            let answer = steps.last().and_then(|step| step.last().copied());
            Example {
                task: 0,
                length: self.iterations,
                iterations: self.iterations,
                width: self.width,
                prompt,
                steps,
                answer,
            }
        };
        self.random_rows(self.batch, "problems")
            .into_iter()
            .map(&mut example)
            .collect()
    }

    /// A batch of examples whose text, after a problem of `width` tokens, has `new_tokens` tokens to learn.
    ///
    /// # Errors
    /// When so few tokens leave none for a step.
    pub fn texts(&self) -> Result<Vec<Example>> {
        let step = self.new_tokens.checked_sub(ENDS).filter(|step| *step > 0);
        let width = step.ok_or_else(|| {
            let tokens = self.new_tokens;
            format!("{tokens} tokens to learn in a text, needs more than {ENDS}")
        })?;
        let steps = Self { width, ..*self }.random_rows(self.batch, "steps");
        let problems = self.random_rows(self.batch, "problems").into_iter();
        let example = |(prompt, mut step): (Vec<TokenId>, Vec<TokenId>)| {
            let answer = step.last().copied();
            step.push(SEP);
            Example {
                task: TEXTS,
                length: 1,
                iterations: 1,
                width: self.width.max(width + 1),
                prompt,
                steps: vec![step],
                answer,
            }
        };
        Ok(problems.zip(steps).map(example).collect())
    }
}

/// The task whose examples are texts: the subsequence, which ends a step by `<sep>` and has its answer after the last one.
const TEXTS: usize = 2;

/// Tokens of a text beside the random ones of its only step: `<sep>`, the answer, `<eos>`.
const ENDS: usize = 3;

/// Tokens of the paper's three tasks.
const TOKENS: u64 = 291;

/// The codec of the paper's three tasks: the trainer wants one, whatever the examples are.
///
/// # Errors
/// Never, as long as the paper's settings are valid.
pub(crate) fn codec() -> Result<Codec> {
    let tasks = TaskConfig::paper().map(TaskConfig::build);
    let tasks = tasks
        .into_iter()
        .collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Codec::for_tasks(&tasks)?)
}
