//! The stages of RELAY: loop alignment, chain generation, fine-tuning, evaluation, report.
//!
//! ```no_run
//! use relay_pipeline::{About, Existing, Pipeline, preset, table};
//! type Backend = burn::backend::Autodiff<burn::backend::Flex>;
//!
//! let about = About { device: "flex".into(), command: "my program".into() };
//! let settings = preset("smoke", 1)?;
//! let dir = "runs/smoke".as_ref();
//! let (device, stop) = Default::default();
//! let pipeline = Pipeline::<Backend>::open(settings, dir, Existing::Resume, about, device, stop)?;
//! println!("{}", table(&pipeline.run()?));
//! # Ok::<(), relay_pipeline::PipelineError>(())
//! ```
//!
//! Stages talk through files in the run directory only; each leaves a marker with a hash of what it was made from, so a
//! run is taken up where it was left and a changed setting redoes just what it must.
//!
//! | module | what it does |
//! |---|---|
//! | `settings`, `presets`, `arms` | everything that a run is made from; what its arms are called |
//! | `corpus`, `generated`, `files` | where problems come from: tasks, or the user's files |
//! | `run_dir`, `lock`, `done`, `atomic`, `line_file`, `file_name`, `left_over` | the run directory, its lock, its markers; files that are whole or not there, and what is left where a process was killed |
//! | `pipeline`, `stages` | the order of the stages; those that need a model |
//! | `chains`, `chain_filter`, `merge` | Stage II's data |
//! | `kept_chains` | what a model has written in a stage that is not finished |
//! | `self_chains` | its rivals: the auto-regressive model learns from its own chains |
//! | `solve` | a trained arm solves problems that somebody asks |
//! | `evaluate`, `predictions`, `test_time` | the arms on test problems, also with more or fewer iterations than those ask for |
//! | `results`, `json`, `machine`, `length_result`, `wilson`, `ordered`, `claims` | what was measured, on which machines, and what it says of the paper's claims |
//! | `forensics`, `cost`, `forecast`, `estimate` | where chains go wrong; what stages and arms cost, and will cost |
//! | `overrides`, `single_task` | settings changed by path; restricted to one task |
//! | `side_by_side`, `making` | stages and runs at the same time; what is being made is waited for, not made twice |
//! | `several`, `shared_dir`, `reuse`, `sweep` | many runs, which take over from each other what was made from the same |
//! | `aggregate` | runs of several seeds together |
//! | `table`, `plot`, `markup`, `report` | results on a terminal, as figures, as one page |
//! | `error` | what can go wrong |

mod aggregate;
pub mod arms;
mod atomic;
mod chain_filter;
mod chains;
mod claims;
mod corpus;
mod cost;
mod done;
mod error;
mod estimate;
mod evaluate;
mod file_name;
mod files;
mod forecast;
mod forensics;
mod generated;
mod json;
mod kept_chains;
mod left_over;
mod length_result;
mod line_file;
mod lock;
mod machine;
mod making;
mod markup;
mod merge;
mod ordered;
mod overrides;
mod pipeline;
mod plot;
mod predictions;
mod presets;
mod report;
mod results;
mod reuse;
mod run_dir;
mod self_chains;
mod settings;
mod several;
mod shared_dir;
mod side_by_side;
mod single_task;
mod solve;
mod stages;
mod sweep;
mod table;
mod test_time;
mod wilson;

pub use aggregate::{
    AGGREGATE_SCHEMA, Aggregate, AggregatedRun, ChainSpreads, ClaimVerdicts, LengthSpread,
    RunShare, RunVerdict, Spread,
};
pub use atomic::write_atomically;
pub use chain_filter::ChainFilter;
pub use chains::{ChainLine, ChainYield, read_chains, write_chains};
pub use claims::{Claim, Number, NumberKind, Verdict, judge};
pub use corpus::{Corpus, DataUse, Question, Unsolved, corpus};
pub use cost::StageCost;
pub use done::Done;
pub use error::{PipelineError, Result};
pub use estimate::{estimate, estimate_table};
pub use evaluate::{Counts, Measured, evaluate};
pub use files::{DEFAULT_TASK, FileCorpus};
pub use forecast::Forecast;
pub use forensics::{ChainForensics, ConfusedTokens, TaskForensics};
pub use generated::{GeneratedCorpus, OwnTask};
pub use length_result::{LengthResult, Measure, RightTokens, Share};
pub use lock::lock;
pub use machine::Machine;
pub use merge::{MergedLine, Origin, merge, read_merged};
pub use ordered::OrderedMap;
pub use overrides::Override;
pub use pipeline::{About, Pipeline};
pub use plot::{Extent, Figure, Traces, figures};
pub use predictions::{Prediction, read_predictions};
pub use presets::{PRESETS, own_data_preset, preset};
pub use report::write_report;
pub use results::{HitMatrices, HitMatrix, Results, SCHEMA};
pub use reuse::taken_from;
pub use run_dir::{Existing, Made, RunDir, holds_run};
pub use settings::{
    ChainSettings, DataSettings, EvaluationSettings, FileSettings, SelfChainSettings, Settings,
    StageSettings, TaskSettings,
};
pub use several::{PlannedRun, SeveralRuns};
pub use shared_dir::check_shared_dir;
pub use solve::{Solved, arm_checkpoint, solve, solve_each};
pub use stages::{Machines, Stages, Writer};
pub use sweep::{Axis, Combination, FailedRun, SWEEP_SCHEMA, Sweep, SweepResults, SweepRun, Swept};
pub use table::table;
