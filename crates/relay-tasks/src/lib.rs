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
//! | `task`, `config`, `dialect`, `problem` | what a task offers; its settings, and those that change what steps mean; problems and solutions as text |
//! | `dataset`, `split`, `draws` | problems by index, in disjoint splits |
//! | `vocab`, `codec`, `example`, `own_data` | text to tokens and back; a vocabulary from one's own data |
//! | `chain`, `score` | chains as one line of text, and what is right in them |
//! | `forensics` | where a chain goes wrong, and what stands there instead |
//! | `align` | windows, targets, masks of every iteration |
//! | `group`, `batch`, `reshape` | groups with little padding; host batches as flat vectors; wider, or some of their rows |
//! | `jsonl`, `benchmark`, `record`, `lines`, `aside` | files in and out, whole or not at all |
//! | `text` | numbers and tokens in text |
//! | `random` | every random draw |
//! | `error` | what can go wrong |

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
mod example;
mod forensics;
mod group;
mod jsonl;
mod lines;
mod lis;
mod own_data;
mod problem;
mod random;
mod record;
mod reshape;
mod score;
mod split;
mod task;
mod text;
mod vocab;

pub use align::{Aligned, align, read_step, right_align};
pub use arithmetic::{Arithmetic, ArithmeticConfig, Domain, StepOrder};
pub use aside::{create_beside, parent_dir, sync_dir};
pub use batch::{CausalBatch, LoopedBatch};
pub use benchmark::{
    BenchmarkLine, BenchmarkReader, BenchmarkWriter, read_benchmark_line, write_benchmark_line,
};
pub use chain::{Chain, read_chain, write_chain};
pub use codec::{Codec, TaskInfo};
pub use config::TaskConfig;
pub use dataset::Dataset;
pub use dialect::Dialect;
pub use edit_distance::{CostDialect, EditDistance, EditDistanceConfig};
pub use error::{Result, TaskError};
pub use example::Example;
pub use forensics::{ChainDiagnosis, Confusion, examine};
pub use group::{GroupLimits, group_causal, group_looped};
pub use jsonl::{JsonlReader, JsonlWriter};
pub use lis::{Lis, LisConfig, LisValues};
pub use own_data::{ends_in_answer, is_closed_by};
pub use problem::{Problem, Solution};
pub use random::Stream;
pub use record::{Record, spaced};
pub use score::{Score, hits, score};
pub use split::Split;
pub use task::{ChainFormat, Task};
pub use vocab::{EOS, PAD, SEP, TokenId, Vocab};
