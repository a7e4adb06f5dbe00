//! Run directories from elsewhere: nothing in them makes a run read or write outside them, or wait for ever.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::*;
use relay_train::{Manifest, OptimizerConfig, StopFlag, TrainError, read_manifest, refuse_links};

/// A run with checkpoints after 9 and 12 updates, and something beside it that is none of its business.
fn trained_beside_a_file() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (run_dir, outside) = (dir.path().join("run"), dir.path().join("outside"));
    fs::write(&outside, "outside").unwrap();
    let config = config(OptimizerConfig::adamw());
    run::<Flex>(&trainer(config, &run_dir), &StopFlag::new()).unwrap();
    (dir, run_dir, outside)
}

/// A manifest that lists another file, with a digest that is right.
fn listing(manifest: &Manifest, name: &str, bytes: &[u8]) -> String {
    let mut manifest = manifest.clone();
    manifest.files.insert(name.to_owned(), record(bytes));
    sealed(manifest)
}

#[test]
fn a_manifest_cannot_name_files_outside() {
    let (_dir, run_dir, outside) = trained_beside_a_file();
    let newest = run_dir.join("step-000000012");
    let manifest = read_manifest(&newest).unwrap();
    let absolute = outside.to_str().unwrap();
    // The last two have no end and no beginning.
    for (name, bytes) in [
        ("../../outside", &b"outside"[..]),
        (absolute, b"outside"),
        ("manifest.json", b""),
        ("/dev/zero", b""),
        ("/dev/stdin", b""),
    ] {
        fs::write(
            newest.join("manifest.json"),
            listing(&manifest, name, bytes),
        )
        .unwrap();
        let error = read_manifest(&newest).unwrap_err().to_string();
        assert!(error.contains("is no file of a checkpoint"), "{error}");
        assert!(error.contains(name), "{error}");
        assert_eq!(read_manifest(&run_dir).unwrap().counters.step, 9);
    }
}

#[test]
fn links_and_pipes_in_a_checkpoint_are_passed_over() {
    let (dir, run_dir, _) = trained_beside_a_file();
    let newest = run_dir.join("step-000000012");
    let refused = |what: &str| {
        assert_eq!(read_manifest(&run_dir).unwrap().counters.step, 9, "{what}");
        let error = refuse_links(&run_dir).unwrap_err();
        assert!(
            matches!(error, TrainError::NotPlain { .. }),
            "{what}: {error}"
        );
    };
    for name in [
        "model.safetensors",
        "optimizer.safetensors",
        "manifest.json",
    ] {
        let (file, elsewhere) = (newest.join(name), dir.path().join(name));
        fs::rename(&file, &elsewhere).unwrap();
        // What it leads to is right in every byte.
        symlink(&elsewhere, &file).unwrap();
        refused(name);
        fs::remove_file(&file).unwrap();
        if Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
        {
            refused(name);
            fs::remove_file(&file).unwrap();
        }
        fs::rename(&elsewhere, &file).unwrap();
    }
    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&newest, &elsewhere).unwrap();
    symlink(&elsewhere, &newest).unwrap();
    refused("the checkpoint itself");
    // Asked for by name it is what the user wants.
    assert_eq!(read_manifest(&newest).unwrap().counters.step, 12);
}

#[test]
fn nothing_is_written_through_links() {
    let go_on = |run_dir: &Path| {
        let config = config(OptimizerConfig::adamw());
        run::<Flex>(&trainer(config, run_dir), &StopFlag::new())
    };
    for name in [
        "metrics.jsonl",
        "times.jsonl",
        "metrics.jsonl.partial",
        ".partial-step-000000012",
        ".old-step-000000009",
        "step-000000006",
        "step-000000012/weights.safetensors",
    ] {
        let (dir, run_dir, outside) = trained_beside_a_file();
        fs::create_dir(dir.path().join("full")).unwrap();
        fs::write(dir.path().join("full/file"), "file").unwrap();
        for target in [&outside, &dir.path().join("full"), &dir.path().join("new")] {
            let place = run_dir.join(name);
            let _ = fs::remove_file(&place);
            symlink(target, &place).unwrap();
            let error = go_on(&run_dir).unwrap_err();
            let named = matches!(&error, TrainError::NotPlain { path } if *path == place);
            assert!(named, "{name}: {error}");
        }
        assert_eq!(fs::read(&outside).unwrap(), b"outside", "{name}");
        assert_eq!(fs::read(dir.path().join("full/file")).unwrap(), b"file");
        assert!(!dir.path().join("new").exists(), "{name}");
    }
}
