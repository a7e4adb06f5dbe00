//! Everything that a run is made from, in one value that a run directory keeps as JSON.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use relay_models::{CausalConfig, LoopedConfig};
use relay_tasks::{Codec, GroupLimits, TaskConfig};
use relay_train::{Batching, Curriculum, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::{PipelineError, Result, json::to_value};

mod checks;
mod stages;
mod whole;

/// The most samples of a task or of a length that settings may ask for: memory must not depend on a typing error.
pub(crate) const MOST_SAMPLES: usize = 1 << 24;

/// The settings of a whole run: data, models, every stage.
///
/// A preset ([`preset`](crate::preset())) returns a complete value; a run directory keeps its own in `settings.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the preset that these settings came from; it only labels the results.
    pub preset: String,
    /// Seed of every random draw of the run.
    pub seed: u64,
    /// Where problems come from.
    pub data: DataSettings,
    /// The looped model; the vanilla arm uses it without its step head.
    pub looped: LoopedConfig,
    /// The auto-regressive model.
    pub causal: CausalConfig,
    /// Stage I: the looped model with an aligned chain (equations 8 to 10).
    pub looped_aligned: StageSettings,
    /// The looped model that sees answers only; `None` leaves the arm out.
    pub looped_vanilla: Option<StageSettings>,
    /// The auto-regressive model on the original data.
    pub ar_baseline: StageSettings,
    /// Stage II: fine-tuning of the baseline on the merged data.
    pub ar_relay: StageSettings,
    /// The two rivals of Stage II, fine-tuned on chains that the auto-regressive model wrote itself (section 4.3); `None`,
    /// the default, leaves them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_chains: Option<SelfChainSettings>,
    /// How Stage II's chains are written and kept.
    pub chains: ChainSettings,
    /// How the arms are measured.
    pub evaluation: EvaluationSettings,
}

/// Where problems come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSettings {
    /// Drawn from tasks as they are needed.
    Generated(Vec<TaskSettings>),
    /// Read from files of the user.
    Files(FileSettings),
    /// Brought along by the program that opens the run, see [`Pipeline::open_with`](crate::Pipeline::open_with); what is held
    /// here only names them. There are no self-chains on them.
    Own(String),
}

/// One generated task and the lengths it is used at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// The task in its dialect.
    pub task: TaskConfig,
    /// Shortest and longest length of the original training data.
    pub train: [usize; 2],
    /// Shortest and longest length at which the arms are measured.
    pub test: [usize; 2],
    /// Samples of the original data in the merged set (Table 3, first column).
    pub original: usize,
    /// Length and number of the chains in the merged set (Table 3, the other columns).
    pub longer: Vec<(usize, usize)>,
    /// Length and greatest number of self-written chains of each phase (Table 4); used if there are
    /// [`self_chains`](Settings::self_chains).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub self_phases: Vec<(usize, usize)>,
}

/// The user's own files: see `docs/your-own-data.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Problems with steps and answers to learn from.
    pub train: PathBuf,
    /// Longer problems without solutions: `problem` and `iterations` only.
    pub longer: PathBuf,
    /// Problems with steps and answers to measure on.
    pub test: PathBuf,
}

/// How one model is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// Optimizer, schedule, number of updates. Its seed is not used: each model has one of its own, drawn from the run's.
    pub train: TrainConfig,
    /// What one update is made of.
    pub batching: Batching,
    /// Lengths that grow with the updates; `None` trains on all lengths from the start, as the paper does. Only where
    /// problems are drawn for every update: not in fine-tuning, nor on files.
    pub curriculum: Option<Curriculum>,
    /// Weight of each task in the loss, in the order of the tasks (Appendix D); empty means 1 for every task.
    pub task_weights: Vec<f32>,
    /// How large a micro-batch may become; 10 % waste at most by default.
    pub groups: GroupLimits,
    /// Iterations of the loop whose activations are kept at a time in training; 0, the default, keeps all. The others are
    /// computed again in the backward pass, so that memory does not grow with T.
    // Left out where it is off, so that runs from before there was such a setting can be resumed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint_iterations: usize,
    /// Weight lambda of the step loss in equation 10; only the aligned looped model has it.
    pub lambda: f32,
}

/// A list of places; the error says what each one is.
fn places<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<(String, usize)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of places, each a task and a length, such as [[\"lis\", 30]]"
    )]
    enum Places {
        All(Vec<(String, usize)>),
    }
    Places::deserialize(deserializer).map(|Places::All(places)| places)
}

/// For settings that are left out of the file where they have their default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How Stage II's chains are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
    /// A chain is kept if the mean probability of its least sure step is at least this; 0, the paper's way, keeps all
    /// that can be read.
    pub min_confidence: f32,
    /// How many problems may be drawn for each chain that is wanted before the stage gives up; above 1 where
    /// `min_confidence` drops some. What cannot be read is dropped in any case: with 1 it is missing from the merged set.
    pub tries: usize,
}

/// How the auto-regressive model is fine-tuned on its own chains (section 4.3, Table 4).
///
/// In each phase it writes chains of the phase's lengths, those with a confirmed answer take the place of as many samples
/// of the data so far, and the model is trained on the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfChainSettings {
    /// The training of one phase.
    pub phase: StageSettings,
    /// Samples of each task that a phase is trained on; 100,000 in the paper.
    pub samples: usize,
    /// How many problems may be drawn for each chain that is wanted.
    pub tries: usize,
}

/// How the arms are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Problems per task and length; a length that has fewer in its test split gives the different ones among four times as
    /// many draws.
    pub samples: usize,
    /// Task and length of each hit matrix (figures 5 and 6).
    #[serde(deserialize_with = "places")]
    pub hit_matrices: Vec<(String, usize)>,
    /// Iterations that the looped models do beyond those that a problem asks for; fewer where it is below 0, but one at
    /// least. The chains of Stage II are not affected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extra_iterations: i64,
    /// Whether what each arm wrote on every test problem is kept, too, as lines of `evaluation/ARM/predictions.jsonl`, which
    /// [`read_predictions`](crate::read_predictions) reads. Default false.
    #[serde(default, skip_serializing_if = "is_default")]
    pub predictions: bool,
}

impl TaskSettings {
    /// Name of the task, for messages and file names.
    pub fn name(&self) -> &'static str {
        self.task.name()
    }
}

impl Settings {
    /// Reads settings from a JSON file, such as the `settings.json` that every run keeps.
    ///
    /// # Errors
    /// When the file cannot be read, or a field is unknown, missing or of the wrong kind; it is named by its path. A field is
    /// missing though it has a default: a training of another length than it was meant to have takes hours to be noticed.
    pub fn load(file: &Path) -> Result<Self> {
        let text = text_of(file)?;
        let corrupt = |reason: String| PipelineError::corrupt(file, reason);
        // Editors of some systems put a byte order mark before everything.
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = serde_json::Deserializer::from_str(text);
        let settings: Self =
            serde_path_to_error::deserialize(&mut reader).map_err(|e| corrupt(e.to_string()))?;
        reader.end().map_err(|e| corrupt(e.to_string()))?;
        let given = serde_json::from_str(text).map_err(|e| corrupt(e.to_string()))?;
        match whole::fault("", &given, &to_value(&settings)?) {
            Some(fault) => Err(corrupt(fault)),
            None => Ok(settings),
        }
    }

    /// The same for the vocabulary of the data: they, not the preset, say how many tokens there are.
    pub(crate) fn with_vocab(mut self, codec: &Codec) -> Self {
        for transformer in [&mut self.looped.transformer, &mut self.causal.transformer] {
            transformer.vocab = codec.vocab.len();
        }
        self
    }
}

/// The most bytes of a file of settings, far beyond what there is to say: what has no end, such as a device, must not be read on.
const MOST_BYTES: u64 = 16 << 20;

fn text_of(file: &Path) -> Result<String> {
    let io = |e| PipelineError::io("read", file, e);
    let mut text = String::new();
    let opened = File::open(file).map_err(io)?;
    let read = opened.take(MOST_BYTES + 1).read_to_string(&mut text);
    match read.map_err(io)? as u64 > MOST_BYTES {
        true => Err(PipelineError::corrupt(
            file,
            format!("more than {} MiB: no settings of a run", MOST_BYTES >> 20),
        )),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_file_and_unknown_fields_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.json");
        for name in crate::PRESETS {
            let settings = crate::preset(name, 5).unwrap();
            std::fs::write(&file, serde_json::to_string(&settings).unwrap()).unwrap();
            assert_eq!(Settings::load(&file).unwrap(), settings);
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let error = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Settings::load(&file).unwrap_err().to_string()
        };
        let unknown = error(&text.replacen("\"lambda\"", "\"lamda\"", 1));
        assert!(
            unknown.contains("settings.json: looped_aligned") && unknown.contains("`lamda`"),
            "{unknown}"
        );
        let kind = error(&text.replacen("\"lambda\":1.0", "\"lambda\":\"much\"", 1));
        assert!(kind.contains("looped_aligned.lambda: "), "{kind}");
        assert!(error(&format!("{text}]")).contains("trailing characters"));
        let endless = error(&" ".repeat(MOST_BYTES as usize + 1));
        assert!(endless.contains("more than 16 MiB"), "{endless}");
        let fewer = error(&text.replacen("\"warmup_ratio\":0.01,", "", 1));
        let says = "looped_aligned.train.warmup_ratio is missing; its default is 0.01";
        assert!(fewer.contains(says), "{fewer}");
    }
}
