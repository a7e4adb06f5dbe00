//! Losses, optimizers, trainer and checkpoints for loop-aligned reasoning.
//!
//! ```
//! use relay_train::{Schedule, TrainConfig};
//!
//! let config = TrainConfig { steps: 200, warmup_ratio: 0.05, ..TrainConfig::default() };
//! config.validate()?;
//! let schedule = Schedule::new(&config);
//! assert_eq!(schedule.factor(9), 1.0); // the warm-up is over after 10 of 200 updates
//! # Ok::<(), relay_train::TrainError>(())
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
//! | `recompute` | the backward pass of a long loop in little memory |
//! | `parameters`, `gradients` | the parameters of a model by path; gradients, their sum and norm |
//! | `schedule`, `adamw`, `muon`, `ordinary_step`, `optimizer`, `moments`, `average` | how weights change |
//! | `config`, `step`, `trainer`, `own_pool`, `stop` | settings; one update; the whole run, on threads of its own, until it is asked to stop |
//! | `workers`, `all_reduce`, `collective` | a run on several devices |
//! | `machines`, `wire`, `following` | a run on several machines |
//! | `recovery`, `divergence` | what a run does when its numbers go wrong |
//! | `statistics`, `validation`, `metrics`, `usage`, `progress`, `after_update` | what a run tells |
//! | `cost` | what a run costs, counted from the shapes of its batches |
//! | `tensors`, `manifest`, `checkpoint`, `restore`, `difference`, `plain`, `files`, `resume` | all that is needed to go on, on disk |
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
mod looped_objective;
mod loss;
mod machines;
mod manifest;
mod metrics;
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
mod trainer;
mod usage;
mod validation;
mod wire;
mod workers;

pub use batching::Batching;
pub use causal_objective::{CausalMicroBatch, CausalObjective};
pub use checkpoint::{
    list as list_checkpoints, name_of as checkpoint_name, remove_after as remove_checkpoints_after,
};
pub use config::{OptimizerConfig, TrainConfig};
pub use cost::Effort;
pub use curriculum::Curriculum;
pub use difference::first_difference;
pub use divergence::{LossPast, OnDivergence};
pub use error::{Result, TrainError};
pub use following::Followed;
pub use gradients::GradientSet;
pub use list_source::{ExampleListSource, hash_examples};
pub use looped_objective::{LoopedMicroBatch, LoopedObjective};
pub use loss::{cross_entropy, readout_cross_entropy};
pub use machines::{Followers, Leader};
pub use manifest::{Counters, FileRecord, Manifest};
pub use objective::{Guesses, InnerModel, LossParts, LossReport, Objective, check_task_weights};
pub use own_pool::start_threads;
pub use plain::refuse_links;
pub use recovery::Recovery;
pub use relay_kernels::{Precision, with_generation_of};
pub use restore::{load_model, read_manifest};
pub use schedule::Schedule;
pub use source::ExampleSource;
pub use statistics::{TaskWindow, Window};
pub use stop::StopFlag;
pub use task_source::TaskSource;
pub use trainer::{Resume, Trained, Trainer, check_precision};
pub use validation::Validated;
