//! Bad input to the programs: one clear line, the right exit code, no panic, nothing lost.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::program;

#[path = "../common/mod.rs"]
mod common;
mod own_data;

fn quiet(name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env("RUST_LOG", "error");
    command
}

fn run(name: &str, args: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = quiet(name).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{name} {args:?}: {stderr}");
    (status.code().unwrap(), stderr)
}

/// The program ends with `code` and one line that holds all `parts`.
fn refuses(name: &str, args: &[&str], code: i32, parts: &[&str]) {
    let (found, stderr) = run(name, args);
    assert_eq!(found, code, "{name} {args:?}: {stderr}");
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    assert_eq!(lines.len(), 1, "{name} {args:?}: {stderr}");
    for part in parts {
        assert!(lines[0].contains(part), "`{part}` is not in: {}", lines[0]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn usage_errors_name_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("run");
    let base = ["--run-dir", text(&run_dir)];
    refuses(
        "multitask_relay",
        &[&base[..], &["--preset", "tiny"]].concat(),
        2,
        &["tiny", "smoke", "quick", "mini", "paper"],
    );
    refuses(
        "multitask_relay",
        &[&base[..], &["--device", "tpu"]].concat(),
        2,
        &["tpu", "flex", "ndarray", "cuda"],
    );
    refuses(
        "multitask_relay",
        &[&base[..], &["--seed", "-1"]].concat(),
        2,
        &["-1"],
    );
    if !cfg!(feature = "cuda") {
        refuses(
            "multitask_relay",
            &[&base[..], &["--device", "cuda"]].concat(),
            2,
            &["cuda", "--features"],
        );
    }
    if !cfg!(feature = "collective") {
        let options = "train --preset smoke --device flex --minutes 1 --collective --out";
        let options: Vec<&str> = options.split(' ').chain([text(&run_dir)]).collect();
        refuses("gpu_slot", &options, 2, &["collective", "--features"]);
    }
    let half = [
        "--device",
        "ndarray",
        "--preset",
        "smoke",
        "--precision",
        "bf16",
    ];
    refuses(
        "multitask_relay",
        &[&base[..], &half].concat(),
        2,
        &["train.precision is bf16", "f32 here"],
    );
    for (wrong, says) in [
        ("--minutes 1e300", "--minutes is 1e300: too many"),
        ("--minutes 0", "--minutes is 0: it must be"),
        ("--minutes 1 --peak-tflops 0", "--peak-tflops is 0"),
    ] {
        let options = format!("train --preset smoke --device flex {wrong} --out");
        let options: Vec<&str> = options.split(' ').chain([text(&run_dir)]).collect();
        refuses("gpu_slot", &options, 2, &[says]);
    }
    assert!(!run_dir.exists(), "a usage error must not begin a run");
}

#[test]
fn a_training_on_ones_own_task_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let base = ["--run-dir", text(&run)];
    for (options, parts) in [
        (["--steps", "0"], ["`steps` is 0", "at least 1"]),
        (["--device", "tpu"], ["unknown device `tpu`", "flex"]),
    ] {
        refuses("custom_task", &[base, options].concat(), 2, &parts);
    }
}

#[test]
fn settings_by_path_arms_and_seeds_are_checked_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let refused = |name: &str, place: &str, args: &[&str], parts: &[&str]| {
        let base = ["--preset", "smoke", place, text(&out)];
        refuses(name, &[&base[..], args].concat(), 2, parts);
        assert!(!out.exists(), "{args:?} must not begin a run");
    };
    for (args, parts) in [
        (["--set", "stage1.lamda=1"], ["stage1.lamda", "lambda"]),
        (
            ["--set", "stage1.lambda=-1"],
            ["stage1.lambda is -1", "at least 0"],
        ),
        (["--arms", "ar_self"], ["ar_self", "looped_aligned"]),
        (["--arms", ""], ["--arms <ARMS>", "a value is required"]),
        (["--seeds", "1,1"], ["seeds", "each once"]),
    ] {
        refused("multitask_relay", "--run-dir", &args, &parts);
        refused("sweep", "--out", &args, &parts);
    }
    refused(
        "multitask_relay",
        "--run-dir",
        &["--task", "sort"],
        &["sort", "ari, ed, lis"],
    );
    refused(
        "sweep",
        "--out",
        &["--loops", "4..-2"],
        &["4..-2", "FROM..TO"],
    );
    refused("paper_figures", "--out", &["--seeds", "one"], &["one"]);
}

/// All that lies below `dir`: files with what they hold, directories with nothing.
fn all_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_below(&path));
            all.insert(path, Vec::new());
        } else {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
    // Two are named as the files are that a killed run leaves half written.
    for file in ["thesis.txt", ".2024-notes.txt", "sub/deep/.7-x"] {
        fs::write(dir.path().join(file), "years of work").unwrap();
    }
    let before = all_below(dir.path());
    for option in [&[][..], &["--resume"], &["--update"]] {
        let base = ["--preset", "smoke", "--run-dir", text(dir.path())];
        let args = [&base[..], option].concat();
        refuses("multitask_relay", &args, 2, &["no run"]);
        assert_eq!(all_below(dir.path()), before, "{option:?}");
    }
}

#[test]
fn the_same_run_is_not_counted_twice() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/mini");
    let [one, two, again] = ["seed-1", "seed-2", "seed-2/../seed-1"].map(|run| results.join(run));
    let [one, two, again] = [&one, &two, &again].map(|run| text(run));
    let (code, stderr) = run("results_table", &[one, two]);
    assert_eq!(code, 0, "{stderr}");
    for runs in [&[one, one][..], &[one, two, again]] {
        refuses("results_table", runs, 2, &[one, "the same run"]);
    }
}

#[test]
fn what_several_runs_have_in_common_does_not_go_into_one_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = text(dir.path());
    fs::write(dir.path().join("settings.json"), "{}").unwrap();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/mini/seed-1");
    let smoke = ["--preset", "smoke"];
    for (name, options) in [
        ("multitask_relay", &["--seeds", "1,2", "--run-dir", run][..]),
        ("paper_figures", &["--seeds", "1", "--out", run]),
        ("sweep", &["--set", "stage1.lambda=1,2", "--out", run]),
    ] {
        let args = [&smoke[..], options].concat();
        refuses(name, &args, 2, &[run, "a run of its own"]);
    }
    let args = [text(&results), "--out", run];
    refuses("results_table", &args, 2, &[run, "a run of its own"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn files_of_others_are_not_written_over_by_what_several_runs_have_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(dir.path());
    fs::create_dir(dir.path().join("figures")).unwrap();
    for file in ["thesis.txt", "figures/hit_matrix_mine.png"] {
        fs::write(dir.path().join(file), "years of work").unwrap();
    }
    let before = all_below(dir.path());
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/results/mini/seed-1");
    let smoke = ["--preset", "smoke"];
    for (name, options) in [
        ("multitask_relay", &["--seeds", "1,2", "--run-dir", out][..]),
        ("paper_figures", &["--seeds", "1", "--out", out]),
        ("sweep", &["--set", "stage1.lambda=1,2", "--out", out]),
    ] {
        refuses(
            name,
            &[&smoke[..], options].concat(),
            2,
            &[out, "`figures`"],
        );
    }
    let args = [text(&results), "--out", out];
    refuses("results_table", &args, 2, &[out, "`figures`"]);
    assert_eq!(all_below(dir.path()), before);
}

/// The settings of one run would otherwise be put on the one that lies where its preset's runs lie.
#[test]
fn a_run_to_be_changed_to_the_settings_of_a_file_has_to_be_named() {
    let args = ["--settings", "runs/one/settings.json", "--update"];
    refuses("multitask_relay", &args, 2, &["--update", "--run-dir"]);
}

#[test]
fn nothing_to_solve_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("settings.json"), "{}").unwrap();
    let args = ["--run-dir", text(dir.path())];
    refuses("solve", &args, 2, &["standard input is empty"]);
}

#[test]
fn help_names_the_exit_codes() {
    for args in [
        &["multitask_relay", "--help"][..],
        &["results_table", "-h"],
        &["gpu_slot", "--help"],
        &["gpu_slot", "train", "--help"],
    ] {
        let output = quiet(args[0]).args(&args[1..]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(said.contains("Exit codes: 0 done; 1 failure; 2 usage"));
    }
}

#[test]
fn a_run_of_other_settings_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let settings = relay_pipeline::preset("smoke", 1).unwrap();
    fs::write(
        dir.path().join("settings.json"),
        serde_json::to_string_pretty(&settings).unwrap(),
    )
    .unwrap();
    let args = ["--preset", "smoke", "--run-dir", text(dir.path())];
    refuses(
        "multitask_relay",
        &args,
        2,
        &["holds a run already", "--resume"],
    );
    refuses(
        "multitask_relay",
        &[&args[..], &["--resume", "--seed", "2"]].concat(),
        2,
        &["seed", "1", "2"],
    );
    fs::write(dir.path().join("settings.json"), "{").unwrap();
    refuses(
        "multitask_relay",
        &[&args[..], &["--resume"]].concat(),
        1,
        &["settings.json"],
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let run_dir = file.join("run");
    refuses(
        "multitask_relay",
        &["--preset", "smoke", "--run-dir", text(&run_dir)],
        1,
        &["file"],
    );
}
