//! What the example programs share: choosing a device, logging, ending with a clear line and the right exit code.

mod args;
mod command;
mod comparison;
mod computing;
mod data_files;
mod device;
mod dialect_args;
mod finish;
mod json;
mod many;
mod meeting;
mod parts;
mod print;
mod run;
mod shell;
mod signals;
mod slot;

pub use args::parse_args;
pub use command::CommandLine;
pub use comparison::{Comparison, Difference, Side, Tolerances};
pub use computing::{Computing, adjusted, check_seed};
pub use data_files::{InputFormat, OutputFormat, PaperTasks, ProblemInput, ProblemOutput};
pub use device::{DeviceError, DeviceName, Program, on_device};
pub use dialect_args::{
    CostsName, DialectArgs, DomainName, OrderName, TaskName, ValuesName, parse_pair,
};
pub use finish::{CliError, finish, start_logging};
pub use json::write_json;
pub use many::{all_made, overrides, run_command, run_each};
pub use meeting::Meeting;
pub use parts::{PARTS, PartsError, join, split};
pub use print::{print, print_for_reader};
pub use run::{PipelineRun, warn_of_new_run};
pub use signals::{end_on_signals, stop_on_signals};
pub use slot::{Bench, Slot, Trained, trained_arm};
