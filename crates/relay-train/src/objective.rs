//! What a model is trained for.

use burn::module::AutodiffModule;
use burn::tensor::{
    Int, Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};
use relay_models::DropoutKey;
use relay_tasks::{Chain, Codec, Example};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Effort, GradientSet, Result, TrainError, difference::first_difference};

/// The model of an objective without autodiff.
pub type InnerModel<B, O> = <<O as Objective<B>>::Model as AutodiffModule<B>>::InnerModule;

/// How examples become batches, batches a loss, and problems chains.
///
/// There is one trainer; looped and auto-regressive models, Stage I and Stage II differ in their objective.
pub trait Objective<B: AutodiffBackend>: std::fmt::Debug + Send + Sync {
    /// The model that is trained.
    type Model: AutodiffModule<B>;
    /// A micro-batch on the host.
    type Batch: Send + 'static;

    /// Short name for the log.
    fn name(&self) -> &str;

    /// Settings that change what is learnt; a run is resumed only under the same.
    fn settings(&self) -> Value;

    /// The codec that it counts tasks and tokens by, if it has one: it has to be that of the trainer.
    fn codec(&self) -> Option<&Codec> {
        None
    }

    /// Whether `model` can learn this at all, asked once before the first update. The default takes any.
    ///
    /// # Errors
    /// Names the setting of the model that is wrong.
    fn check_model(&self, _model: &Self::Model) -> Result<()> {
        Ok(())
    }

    /// Whether `settings`, which the checkpoints are to hold, are those of `model`: of others a model would be built that has the same
    /// parameters and computes something else. The default takes any.
    ///
    /// # Errors
    /// Names the first setting that differs.
    fn check_settings(&self, _model: &Self::Model, _settings: &Value) -> Result<()> {
        Ok(())
    }

    /// The micro-batches of one update. Their losses add up to the sum over the tasks of the task's weight times the
    /// mean over its samples (for the next-token objective: over its target tokens).
    ///
    /// # Errors
    /// When an example is not solved or does not fit.
    fn collate(&self, examples: &[Example]) -> Result<Vec<Self::Batch>>;

    /// A micro-batch whose width is a multiple of `columns`, by more padding: the same loss up to rounding. The default
    /// leaves it as it is.
    fn widen(&self, batch: Self::Batch, _columns: usize) -> Self::Batch {
        batch
    }

    /// The parts of a micro-batch for this many workers, in their order: their losses add up to its own. `None` where a
    /// worker has nothing to do. The default leaves all to the first.
    fn share(&self, batch: Self::Batch, workers: usize) -> Vec<Option<Self::Batch>> {
        let mut shares = vec![Some(batch)];
        shares.resize_with(workers.max(1), || None);
        shares
    }

    /// The loss of a micro-batch, scaled as [`collate`](Self::collate) says.
    fn loss(
        &self,
        model: &Self::Model,
        batch: &Self::Batch,
        key: DropoutKey,
        device: &B::Device,
    ) -> LossParts<B>;

    /// Adds the gradients of a micro-batch's [`loss`](Self::loss) to `gradients`.
    ///
    /// The default keeps all activations between the forward and the backward pass. An objective that can do with less
    /// memory says how here; the gradients have to be the same up to rounding.
    fn backward(
        &self,
        model: &Self::Model,
        batch: &Self::Batch,
        key: DropoutKey,
        device: &B::Device,
        gradients: &mut GradientSet<B::InnerBackend>,
    ) -> LossReport<B::InnerBackend> {
        keep_all(self.loss(model, batch, key, device), model, gradients)
    }

    /// Whether `model` writes steps, not answers alone: how many of them are right is then told, be it none. The default says so.
    fn writes_steps(&self, _model: &InnerModel<B, Self>) -> bool
    where
        Self: Sized,
    {
        true
    }

    /// What [`backward`](Self::backward) of a micro-batch costs, for the report. The default tells nothing.
    fn effort(&self, _: &Self::Batch) -> Effort {
        Effort::default()
    }

    /// Greedy chains for any number of examples, solved or not, in their order.
    ///
    /// # Errors
    /// When an example does not fit the model.
    fn write_chains(
        &self,
        model: &InnerModel<B, Self>,
        examples: &[Example],
        device: &B::Device,
    ) -> Result<Vec<Chain>>
    where
        Self: Sized;
}

/// The loss of a micro-batch and what the log tells of it.
#[derive(Debug)]
pub struct LossParts<B: AutodiffBackend> {
    /// What is minimised, `[1]`.
    pub total: Tensor<B, 1>,
    /// The part of the answers (equation 9), or of all tokens for the next-token objective, `[1]`; scaled like `total`.
    pub answer: Tensor<B::InnerBackend, 1>,
    /// The part of the steps (equation 8) before lambda, `[1]`; scaled like `total`.
    pub steps: Option<Tensor<B::InnerBackend, 1>>,
    /// Greedy guesses beside the truth, for the running accuracy.
    pub guesses: Vec<Guesses<B::InnerBackend>>,
    /// Task of the micro-batch.
    pub task: usize,
    /// Weight of that task, part of the scale of all losses here.
    pub weight: f32,
}

/// What is left of [`LossParts`] for the log once the backward pass has taken the graph.
#[derive(Debug)]
pub struct LossReport<I: Backend> {
    /// What was minimised, `[1]`.
    pub total: Tensor<I, 1>,
    /// As in [`LossParts`].
    pub answer: Tensor<I, 1>,
    /// As in [`LossParts`].
    pub steps: Option<Tensor<I, 1>>,
    /// As in [`LossParts`].
    pub guesses: Vec<Guesses<I>>,
    /// Task of the micro-batch.
    pub task: usize,
    /// Weight of that task.
    pub weight: f32,
}

/// The backward pass through a whole graph.
pub(crate) fn keep_all<B: AutodiffBackend, M: AutodiffModule<B>>(
    parts: LossParts<B>,
    model: &M,
    gradients: &mut GradientSet<B::InnerBackend>,
) -> LossReport<B::InnerBackend> {
    let LossParts {
        total,
        answer,
        steps,
        guesses,
        task,
        weight,
    } = parts;
    let report = LossReport {
        total: total.clone().inner(),
        answer,
        steps,
        guesses,
        task,
        weight,
    };
    gradients.add(model, total.backward());
    report
}

/// How many of the most probable tokens are right, left on their device until somebody asks.
#[derive(Debug)]
pub struct Guesses<B: Backend> {
    /// `[1]`; whole numbers, exact in f32 up to 16 million.
    right: Tensor<B, 1>,
    all: u64,
}

impl<B: Backend> Guesses<B> {
    /// The guesses of `logits`, `[rows, vocab]`, for the rows of `targets` whose weight is not 0.
    pub fn new(logits: Tensor<B, 2>, targets: &[i32], weights: &[f32]) -> Self {
        // No token is -1.
        let truth = targets.iter().zip(weights);
        let truth = truth.map(|(target, weight)| if *weight != 0.0 { *target } else { -1 });
        let truth = TensorData::new(truth.collect::<Vec<i32>>(), [targets.len(), 1]);
        let truth = Tensor::<B, 2, Int>::from_data(truth, &logits.device());
        Self {
            right: logits.argmax(1).equal(truth).float().sum(),
            all: judged(weights),
        }
    }

    /// So many right ones, `[1]`, of the rows whose weight is not 0.
    pub(crate) fn known(right: Tensor<B, 1>, weights: &[f32]) -> Self {
        Self {
            right,
            all: judged(weights),
        }
    }

    /// How many are right, of how many.
    pub fn count(self) -> (u64, u64) {
        let right = self.right.into_data().iter::<f64>().next();
        (right.unwrap_or(0.0) as u64, self.all)
    }

    /// The number of right ones, `[1]`, and of all.
    pub(crate) fn into_parts(self) -> (Tensor<B, 1>, u64) {
        (self.right, self.all)
    }
}

/// Rows that are judged.
fn judged(weights: &[f32]) -> u64 {
    weights.iter().filter(|weight| **weight != 0.0).count() as u64
}

/// The mean of some numbers, 0 where there are none.
pub(crate) fn mean(numbers: &[f32]) -> f32 {
    // A sum of nothing were -0.
    let sum = numbers.iter().fold(0.0, |sum, number| sum + number);
    sum / numbers.len().max(1) as f32
}

/// The weight of each task of `codec`: as given, or 1 for all when none is given.
pub(crate) fn task_weight(weights: &[f32], task: usize) -> f32 {
    weights.get(task).copied().unwrap_or(1.0)
}

/// Checks task weights: none, or one finite number of at least 0 for each of `tasks` tasks.
///
/// # Errors
/// [`TrainError::Setting`] names them as `task_weights`.
pub fn check_task_weights(weights: &[f32], tasks: usize) -> Result<()> {
    let numbers = weights
        .iter()
        .all(|weight| weight.is_finite() && *weight >= 0.0);
    let some = weights.iter().any(|weight| *weight > 0.0);
    if weights.is_empty() || (weights.len() == tasks && numbers && some) {
        return Ok(());
    }
    let expected =
        format!("empty, or a number of at least 0 for each of {tasks} tasks, not all of them 0");
    Err(TrainError::setting(
        "task_weights",
        format!("{weights:?}"),
        expected,
    ))
}

/// That `settings` are those of the model with the settings `own`.
///
/// # Errors
/// [`TrainError::Setting`] names the first one that differs, or what makes them none of such a model.
pub(crate) fn check_model_settings<C: Serialize + DeserializeOwned>(
    own: &C,
    settings: &Value,
) -> Result<()> {
    // Read first: what is left out has its default, and a number has as many digits as the model's own.
    let told = C::deserialize(settings).and_then(serde_json::to_value);
    let told = told.map_err(|error| {
        let expected = format!("the settings of the model, its `config()`: {error}");
        TrainError::setting("model_settings", settings, expected)
    })?;
    let own = serde_json::to_value(own);
    let own =
        own.map_err(|error| TrainError::setting("model_settings", settings, error.to_string()))?;
    match first_difference("model_settings", &told, &own) {
        None => Ok(()),
        Some((field, told, own)) => {
            let expected = format!("{own}, as in the model that is trained");
            Err(TrainError::setting(field, told, expected))
        }
    }
}

/// That a model of `vocab` tokens has all those of `codec`.
///
/// # Errors
/// [`TrainError::Setting`] names them as `transformer.vocab`.
pub(crate) fn check_vocab(vocab: usize, codec: &Codec) -> Result<()> {
    let tokens = codec.vocab.len();
    if vocab >= tokens {
        return Ok(());
    }
    let expected = format!("at least {tokens}, the tokens of the codec");
    Err(TrainError::setting("transformer.vocab", vocab, expected))
}

/// Per task of `codec` the sum of `count` over its examples.
///
/// # Errors
/// When an example is of no task of the codec, or a token of it is none of the vocabulary.
pub(crate) fn count_by_task(
    examples: &[Example],
    codec: &Codec,
    count: impl Fn(&Example) -> Result<usize>,
) -> Result<Vec<usize>> {
    let mut counts = vec![0; codec.tasks.len()];
    for (at, example) in examples.iter().enumerate() {
        let Some(sum) = counts.get_mut(example.task) else {
            let expected = format!("below {}, the number of tasks", codec.tasks.len());
            let what = format!("the task of example {at}");
            return Err(TrainError::input(what, example.task, expected));
        };
        *sum += count(example)?;
        let steps = example.steps.iter().flatten();
        let mut tokens = example.prompt.iter().chain(steps).chain(&example.answer);
        let vocab = codec.vocab.len();
        if let Some(token) = tokens.find(|token| **token as usize >= vocab) {
            let expected = format!("below {vocab}, the number of tokens of the codec");
            let what = format!("a token of example {at}");
            return Err(TrainError::input(what, token, expected));
        }
    }
    Ok(counts)
}

/// The rows of each of `workers`, as even as can be; `None` for those that are left without one.
pub(crate) fn shares(
    rows: usize,
    workers: usize,
) -> impl Iterator<Item = Option<std::ops::Range<usize>>> {
    let workers = workers.max(1);
    (0..workers).map(move |rank| {
        let range = rank * rows / workers..(rank + 1) * rows / workers;
        (!range.is_empty()).then_some(range)
    })
}
