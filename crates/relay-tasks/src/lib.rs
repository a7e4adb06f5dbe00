//! Reasoning tasks, their step-by-step solutions, and their alignment with loop iterations.
//!
//! ```
//! use relay_tasks::{Codec, Split, TaskConfig, align};
//!
//! let task = TaskConfig::Ed(Default::default()).build()?;
//! let problem = task.generate(1, Split::Train, 0, 4)?;
//! let codec = Codec::for_tasks(&[task])?;
//! let example = codec.encode(&problem)?;
//! let aligned = align(&example, example.width)?;
//! assert_eq!(aligned.targets.len(), aligned.iterations * aligned.width);
//! # Ok::<(), relay_tasks::TaskError>(())
//! ```
//!
//! In the order in which data are made:
//!
//! | module | what it does |
//! |---|---|
//! | `arithmetic`, `edit_distance`, `lis` | the paper's three tasks |
//! | `task`, `config`, `dataset`, `split` | what a task offers; its settings; problems by index, in disjoint splits |
//! | `vocab`, `codec`, `own_data` | text to tokens and back; a vocabulary from one's own data |
//! | `chain`, `score` | chains as one line of text, and what is right in them |
//! | `align` | windows, targets, masks of every iteration |
//! | `group`, `batch` | groups with little padding; host batches as flat vectors |
//! | `jsonl`, `benchmark` | files in and out |
//! | `random` | every random draw |

mod align;
mod arithmetic;
mod aside;
mod batch;
mod benchmark;
mod chain;
mod codec;
mod config;
mod dataset;
mod dialect;
mod draws;
mod edit_distance;
mod error;
mod group;
mod jsonl;
mod lines;
mod lis;
mod own_data;
mod problem;
mod random;
mod record;
mod score;
mod split;
mod task;
mod text;
mod vocab;

pub use align::*;
pub use arithmetic::*;
pub use aside::*;
pub use batch::*;
pub use benchmark::*;
pub use chain::*;
pub use codec::*;
pub use config::*;
pub use dataset::*;
pub use dialect::*;
pub use edit_distance::*;
pub use error::*;
pub use group::*;
pub use jsonl::*;
pub use lis::*;
pub use problem::*;
pub use random::*;
pub use record::*;
pub use score::*;
pub use split::*;
pub use task::*;
pub use vocab::*;
