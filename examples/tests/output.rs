//! What programs say, and where they say it: standard output and standard error that are closed or full end none of them by
//! a panic, what a program is run for is made all the same; commands can be typed as they stand, and runs of other times be read.

#![cfg(target_os = "linux")]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::program;
use relay_pipeline::{Aggregate, Settings};
use serde_json::Value;

mod common;

fn telling(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.args(args).env("RUST_LOG", "info");
    command
}

/// A file that is always full.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Exit code, and what was said on standard error.
fn ending(mut command: Command, stdout: Stdio) -> (i32, String) {
    let Output { status, stderr, .. } = command.stdout(stdout).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), stderr)
}

/// That the program ends with 0 where nobody reads what it says, and with 1 and one line where that cannot be written.
fn ends_well(name: &str, args: &[&str]) {
    let (code, said) = ending(telling(name, args), closed());
    assert_eq!(code, 0, "{name} {args:?}: {said}");
    let (code, said) = ending(telling(name, args), full());
    assert_eq!(code, 1, "{name} {args:?}: {said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("error")).collect();
    assert!(
        matches!(errors[..], [one] if one.starts_with("error: cannot write to standard output: ")),
        "{name} {args:?}: {said}"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn results_that_nobody_reads_are_no_panic() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/mini/seed-1");
    ends_well("results_table", &[text(&recorded)]);
    ends_well("multitask_relay", &["--preset", "smoke", "--dry-run"]);
    ends_well("multitask_relay", &["--help"]);
    ends_well("generate_data", &["--version"]);
    let cost = [
        "cost",
        "--preset",
        "smoke",
        "--task",
        "ari",
        "--updates",
        "5",
    ];
    ends_well("gpu_slot", &cost);
}

#[test]
fn all_files_are_written_before_anything_is_said() {
    let dir = tempfile::tempdir().unwrap();
    ends_well("own_data", &["--make-demo", text(dir.path())]);
    assert_eq!(dir.path().read_dir().unwrap().count(), 3);
}

/// A run of a few updates in `dir`.
fn short_run(dir: &Path) -> Command {
    let set = "stage1.train.steps=4";
    let mut command = telling("multitask_relay", &["--preset", "smoke", "--set", set]);
    command.args(["--arms", "looped_aligned", "--run-dir", text(dir)]);
    command
}

#[test]
fn a_run_ends_well_where_nothing_can_be_said() {
    let place = tempfile::tempdir().unwrap();
    let report = |dir: &Path| dir.join("report.html").exists();
    for (number, (stdout, stderr)) in [(closed(), full()), (full(), closed())]
        .into_iter()
        .enumerate()
    {
        let dir = place.path().join(format!("run-{number}"));
        let mut run = short_run(&dir);
        let status = run.stdout(stdout).stderr(stderr).status().unwrap();
        // A full disk under the table of results counts, a reader who went away does not.
        assert_eq!(status.code(), Some(number as i32));
        assert!(report(&dir), "run {number}");
    }
}

#[test]
fn resuming_where_there_is_no_run_begins_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let warning = "to go on with: a new one begins";
    let run_dir: PathBuf = dir.path().join("run");
    let resumed = || {
        let mut run = short_run(&run_dir);
        run.arg("--resume");
        ending(run, Stdio::null())
    };
    let (code, said) = resumed();
    let place = format!("there is no run in {} {warning}", run_dir.display());
    assert!(code == 0 && said.contains(&place), "{said}");
    let (code, said) = resumed();
    assert!(code == 0 && !said.contains(warning), "{said}");
}

/// The command of a run, word by word as a shell reads it, without the program.
fn recorded_command(run: &Path) -> Vec<String> {
    let results = fs::read(run.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    let command = results["command"].as_str().unwrap();
    let words = format!("printf '%s\\n' {command}");
    let output = Command::new("sh").args(["-c", &words]).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    let words = words.lines().skip_while(|word| *word != "--").skip(1);
    words.map(str::to_owned).collect()
}

#[test]
fn paths_in_recorded_commands_are_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let [data, settings, run] =
        ["it's data", "my settings.json", "run"].map(|n| dir.path().join(n));
    let (code, said) = ending(
        telling("own_data", &["--make-demo", text(&data)]),
        Stdio::null(),
    );
    assert_eq!(code, 0, "{said}");
    let files = ["chains.jsonl", "problems.jsonl", "test.jsonl"].map(|name| data.join(name));
    let [train, longer, test] = files.each_ref().map(|file| text(file));
    let options = ["--train", train, "--longer", longer, "--test", test];
    let mut own = telling("own_data", &options);
    own.args(["--preset", "smoke", "--run-dir", text(&run)]);
    let (code, said) = ending(own, Stdio::null());
    assert_eq!(code, 0, "{said}");
    assert_eq!(recorded_command(&run)[..6], options);

    fs::copy(run.join("settings.json"), &settings).unwrap();
    let again = dir.path().join("again");
    let options = ["--settings", text(&settings), "--arms", "looped_aligned"];
    let mut main = telling("multitask_relay", &options);
    main.args(["--run-dir", text(&again)]);
    let (code, said) = ending(main, Stdio::null());
    assert_eq!(code, 0, "{said}");
    assert_eq!(recorded_command(&again)[..4], options);
}

#[test]
fn runs_of_other_times_are_put_together() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/mini");
    let runs = ["seed-1", "seed-2"].map(|run| recorded.join(run));
    let out = tempfile::tempdir().unwrap();
    let args = [text(&runs[0]), text(&runs[1]), "--out", text(out.path())];
    let output = telling("results_table", &args).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let file = |name: &str| out.path().join(name);
    let written = fs::read_to_string(file("aggregate.md")).unwrap();
    // The file has the chains and the minutes, too.
    let rest = written.strip_prefix(printed.trim_end()).unwrap();
    assert!(rest.contains("Minutes of the stages"), "{rest}");
    let all = Aggregate::load(&file("aggregate.json")).unwrap();
    assert_eq!((all.runs.len(), all.claims.len()), (2, 12));
    assert!(file("figures/answer_accuracy.svg").is_file());
}

#[test]
fn runs_of_one_task_each_stand_side_by_side_and_sweeps_are_drawn_anew() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results");
    let runs: Vec<_> = ["ari/seed-1", "ari/seed-2", "ed/seed-1"]
        .map(|run| recorded.join("mini/single").join(run))
        .to_vec();
    let args: Vec<&str> = runs.iter().map(|run| text(run)).collect();
    let output = telling("results_table", &args).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("Arithmetic 8 | Edit distance"),
        "{printed}"
    );

    let dir = tempfile::tempdir().unwrap();
    let sweep = recorded.join("ablations/loops");
    fs::copy(sweep.join("sweep.json"), dir.path().join("sweep.json")).unwrap();
    let output = telling("results_table", &[text(dir.path()), "--redraw"]).output();
    let output = output.unwrap();
    assert!(output.status.success());
    let tables = fs::read_to_string(dir.path().join("sweep.md")).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), tables);
    assert_eq!(fs::read_to_string(sweep.join("sweep.md")).unwrap(), tables);
    assert!(dir.path().join("figures/lis_looped_vanilla.png").is_file());
}

/// A run goes on only where its settings are those of today, so a setting that was added since must be left out where it has
/// its default.
#[test]
fn runs_of_other_times_can_be_gone_on_with() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results");
    for run in ["mini/seed-1", "mini/seed-2", "mini/seed-3", "gpu/ari"] {
        let file = results.join(run).join("settings.json");
        let held: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let today = serde_json::to_value(Settings::load(&file).unwrap()).unwrap();
        assert_eq!(today, held, "{run}");
    }
}
