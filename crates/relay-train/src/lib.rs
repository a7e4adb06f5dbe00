//! Losses, optimizers, trainer and checkpoints for loop-aligned reasoning.
//!
//! Train, load, write chains:
//!
//! ```
//! use burn::backend::{Autodiff, Flex};
//! use relay_models::{LoopedConfig, TransformerConfig};
//! use relay_tasks::{Codec, EditDistanceConfig, GroupLimits, Split, TaskConfig};
//! use relay_train::{
//!     Batching, Checkpoint, LoopedObjective, Resume, StopFlag, TaskSource, TrainConfig, Trainer, write_looped_chains,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let task = TaskConfig::Ed(EditDistanceConfig { letters: 3, ..Default::default() }).build()?;
//! let codec = Codec::for_tasks(&[task.clone()])?;
//! let transformer = TransformerConfig { vocab: codec.vocab.len(), d_model: 32, ..Default::default() };
//! let model = LoopedConfig { transformer, ..Default::default() };
//!
//! let config = TrainConfig { steps: 2, ..Default::default() }; // 2,000 and more learn something
//! let batching = Batching::OneLength { tokens: 64 };
//! let source = TaskSource::new(vec![task.clone()], vec![2..=4], codec.clone(), batching, None, config.seed)?;
//! let objective = LoopedObjective::aligned(1.0, Vec::new(), GroupLimits::default(), codec.clone());
//! let run_dir = tempfile::tempdir()?; // any directory: a second start goes on with what it holds
//! let (settings, device) = (serde_json::to_value(&model)?, Default::default());
//! let trainer = Trainer::new(config, objective, codec, settings, device, run_dir.path())?;
//! let start = model.init::<Autodiff<Flex>>(&device, 1);
//! trainer.run(start, &source, &[], Resume::Continue, &StopFlag::new())?;
//!
//! // Later, or in another program.
//! let checkpoint = Checkpoint::open(run_dir.path())?;
//! let model = checkpoint.looped::<Flex>(&device)?;
//! let problem = task.generate(1, Split::Test, 0, 5)?; // longer than any trained on
//! let problems = [checkpoint.manifest().codec.encode(&problem)?];
//! let chains = write_looped_chains(&model, &problems, &device)?;
//! assert_eq!(chains[0].steps.len(), problems[0].iterations);
//! # Ok(())
//! # }
//! ```
//!
//! In the order of a training run:
//!
//! | module | what it does |
//! |---|---|
//! | `source`, `batching`, `curriculum`, `task_source`, `list_source` | examples of each update, a pure function of its number |
//! | `loader` | makes them ahead on a thread of its own |
//! | `batch`, `loss` | host batches to tensors; masked cross-entropy as weighted sums |
//! | `objective`, `looped_objective`, `causal_objective` | what is learnt: equations 8 to 10, or the next token |
//! | `looped_chains` | the chains that a looped model writes, read off its iterations |
//! | `recompute` | the backward pass of a long loop in little memory |
//! | `parameters`, `gradients` | the parameters of a model by path; gradients, their sum and norm |
//! | `schedule`, `adamw`, `muon`, `ordinary_step`, `optimizer`, `moments`, `average` | how weights change |
//! | `config`, `step`, `trainer`, `trained`, `own_pool`, `thread_part`, `stop` | settings; one update; the whole run, on threads of its own, until it is asked to stop |
//! | `workers`, `all_reduce`, `collective` | a run on several devices |
//! | `machines`, `wire`, `following` | a run on several machines |
//! | `recovery`, `divergence` | what a run does when its numbers go wrong |
//! | `statistics`, `validation`, `metrics`, `usage`, `progress`, `after_update` | what a run tells |
//! | `cost` | what a run costs, counted from the shapes of its batches |
//! | `tensors`, `manifest`, `checkpoint`, `restore`, `difference`, `plain`, `files`, `lock`, `resume` | all that is needed to go on, on disk |
//! | `model_file` | models on disk, outside a run |
//! | `error` | what can go wrong |

mod adamw;
mod after_update;
mod all_reduce;
mod average;
mod batch;
mod batching;
mod causal_objective;
mod checkpoint;
#[cfg(feature = "collective")]
mod collective;
mod config;
mod cost;
mod curriculum;
mod difference;
mod divergence;
mod error;
mod files;
mod following;
mod gradients;
mod list_source;
mod loader;
mod lock;
mod looped_chains;
mod looped_objective;
mod loss;
mod machines;
mod manifest;
mod metrics;
mod model_file;
mod moments;
mod muon;
mod objective;
mod optimizer;
mod ordinary_step;
mod own_pool;
mod parameters;
mod plain;
mod progress;
mod recompute;
mod recovery;
mod restore;
mod resume;
mod schedule;
mod source;
mod statistics;
mod step;
mod stop;
mod task_source;
mod tensors;
#[cfg(test)]
mod test_model;
mod thread_part;
mod trained;
mod trainer;
mod usage;
mod validation;
mod wire;
mod workers;

pub use batching::Batching;
pub use causal_objective::{CausalMicroBatch, CausalObjective, write_causal_chains};
pub use checkpoint::{
    list as list_checkpoints, name_of as checkpoint_name, remove_after as remove_checkpoints_after,
};
pub use config::{OptimizerConfig, TrainConfig};
pub use cost::Effort;
pub use curriculum::Curriculum;
pub use difference::{first_difference, value_text};
pub use divergence::{LossPast, OnDivergence};
pub use error::{Result, TrainError};
pub use following::Followed;
pub use gradients::GradientSet;
pub use list_source::{ExampleListSource, hash_examples};
pub use lock::{LOCK, lock};
pub use looped_chains::write_looped_chains;
pub use looped_objective::{LoopedMicroBatch, LoopedObjective};
pub use loss::{cross_entropy, readout_cross_entropy};
pub use machines::{Followers, Leader};
pub use manifest::{Counters, FileRecord, Manifest};
pub use model_file::{Checkpoint, save_model};
pub use objective::{Guesses, InnerModel, LossParts, LossReport, Objective, check_task_weights};
pub use own_pool::start_threads;
pub use plain::refuse_links;
pub use recovery::Recovery;
pub use relay_kernels::{Precision, with_generation_of, with_precision};
pub use restore::{load_model, read_manifest};
pub use schedule::Schedule;
pub use source::ExampleSource;
pub use statistics::{TaskWindow, Window};
pub use stop::StopFlag;
pub use task_source::TaskSource;
pub use thread_part::ThreadPart;
pub use trained::Trained;
pub use trainer::{Resume, Trainer, check_precision};
pub use validation::{Validated, check_chains};
