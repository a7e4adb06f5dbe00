//! Disks that go wrong under a run: full, read-only, gone, slow. The run says so in one clear line, keeps its last good
//! state, ends with exit code 1 or goes on, and ends in the same weights as a run without trouble once it is taken up.
//!
//! The disks are mounted in a namespace of their own: a small tmpfs, or an ext4 file system in a file, which only root can
//! mount. Where that is not allowed, a test says so and checks nothing.

#![cfg(target_os = "linux")]
// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{not_tested, program};

mod common;

/// Exit code of [`SCRIPT`] where the disk that it needs is not to be had.
const NO_DISK: i32 = 77;

/// Runs the program on `$DISK`, with trouble once it has a checkpoint, then again, and copies the weights out.
const SCRIPT: &str = r#"
    eval "$MOUNT" || exit 77
    : > "$OUT/mounted"
    ( "$PROGRAM" $ARGS --run-dir "$DISK/run"; echo "exit code $?" >&2; : > "$OUT/ended" ) &
    until [ -e "$OUT/ended" ] || ls -d "$DISK"/run/*/step-* > /dev/null 2>&1; do sleep 0.01; done
    eval "$TROUBLE" || { echo "the trouble could not be made" >&2; exit 1; }
    wait
    eval "$REPAIR" || { echo "the disk is not as it should be" >&2; exit 1; }
    echo "once more" >&2
    "$PROGRAM" $ARGS --run-dir "$DISK/run" --resume || exit 1
    for model in "$DISK"/run/$ARM/step-*/model.safetensors; do cp "$model" "$OUT/model"; done
"#;

/// An ext4 file system that becomes read-only at its first error, as most do.
const EXT4: &str = r#"
    image() { mount -o loop,errors=remount-ro "$STORE/image" "$DISK"; }
    truncate -s 32M "$STORE/image" && mkfs.ext4 -q -F "$STORE/image" && image
"#;

/// A disk, what happens to it under a run, and how it becomes well again.
#[derive(Clone, Copy)]
struct Case {
    /// Only root can mount it.
    root: bool,
    mount: &'static str,
    trouble: &'static str,
    repair: &'static str,
    /// The whole smoke run, or its first stage alone with many checkpoints.
    whole: bool,
}

impl Case {
    fn args(self) -> (&'static str, &'static str) {
        if self.whole {
            return ("--preset smoke", "ar_relay");
        }
        let args = "--preset smoke --arms looped_aligned --set stage1.train.steps=60 \
                    --set stage1.train.checkpoint_every=2 --set stage1.train.log_every=60 \
                    --set stage1.train.validate_every=0";
        (args, "looped_aligned")
    }
}

/// What a run with trouble left.
struct Outcome {
    weights: Vec<u8>,
    /// What was said by the run that had the trouble, and by the one that took it up.
    said: [String; 2],
}

impl Outcome {
    fn lines(&self, run: usize, with: &str) -> Vec<&str> {
        let lines = self.said[run].lines();
        lines.filter(|line| line.contains(with)).collect()
    }

    /// That the first run ended with exit code 1 and one line that holds one of `reasons`, and the second one went on from
    /// a checkpoint of it.
    fn assert_ended_by(&self, reasons: &[&str]) {
        let errors = self.lines(0, "error:");
        assert!(
            matches!(errors[..], [error] if reasons.iter().any(|reason| error.contains(reason))),
            "{}",
            self.said[0]
        );
        assert_eq!(self.lines(0, "exit code 1").len(), 1, "{}", self.said[0]);
    }

    fn assert_taken_up(&self) {
        let taken_up = self.lines(1, "going on after step");
        assert_eq!(taken_up.len(), 1, "{}", self.said[1]);
        assert!(self.lines(1, "error:").is_empty(), "{}", self.said[1]);
    }
}

/// None where the disk is not to be had.
fn run(case: Case) -> Option<Outcome> {
    let dir = tempfile::tempdir().unwrap();
    let [disk, store, out] = ["disk", "store", "out"].map(|name| dir.path().join(name));
    for dir in [&disk, &store, &out] {
        fs::create_dir(dir).unwrap();
    }
    let namespace: &[&str] = match case.root {
        true => &["--mount"],
        false => &["--user", "--map-root-user", "--mount"],
    };
    let (args, arm) = case.args();
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", SCRIPT])
        .env("DISK", &disk)
        .env("STORE", &store)
        .env("OUT", &out)
        .env("PROGRAM", program("multitask_relay"))
        .env("MOUNT", case.mount)
        .env("TROUBLE", case.trouble)
        .env("REPAIR", case.repair)
        .env("ARGS", args)
        .env("ARM", arm)
        .env("RUST_LOG", "info")
        .output()
        .ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NO_DISK) || !out.join("mounted").exists() {
        not_tested(&format!("no such disk can be mounted here: {stderr}"));
        return None;
    }
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let (first, second) = stderr.split_once("once more\n").unwrap();
    Some(Outcome {
        weights: fs::read(out.join("model")).unwrap(),
        said: [first, second].map(str::to_owned),
    })
}

/// That the outcomes have the weights of a run that nothing happened to.
fn assert_same_weights<'a>(case: Case, outcomes: impl IntoIterator<Item = &'a Outcome>) {
    let mut outcomes = outcomes.into_iter().peekable();
    if outcomes.peek().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (args, arm) = case.args();
    let status = Command::new(program("multitask_relay"))
        .args(args.split_whitespace())
        .arg("--run-dir")
        .arg(dir.path().join("run"))
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    let expected = fs::read(only_model(&dir.path().join("run").join(arm))).unwrap();
    for outcome in outcomes {
        assert!(outcome.weights == expected, "{:?}", outcome.said);
    }
}

fn only_model(stage: &Path) -> PathBuf {
    let entries = fs::read_dir(stage)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> = entries
        .map(|path| path.join("model.safetensors"))
        .filter(|path| path.exists())
        .collect();
    models.sort();
    models.pop().unwrap()
}

#[test]
fn a_full_disk_is_said_so_and_loses_nothing() {
    let case = |mount| Case {
        root: false,
        mount,
        trouble: "true",
        repair: r#"mount -o remount,size=64m "$DISK""#,
        whole: true,
    };
    // Full at the first checkpoint, and full when the figures are drawn.
    let cases = [
        case(r#"mount -t tmpfs -o size=200k tmpfs "$DISK""#),
        case(r#"mount -t tmpfs -o size=1200k tmpfs "$DISK""#),
    ];
    let outcomes: Vec<Outcome> = cases.into_iter().filter_map(run).collect();
    for outcome in &outcomes {
        outcome.assert_ended_by(&["No space left"]);
    }
    assert_same_weights(cases[0], &outcomes);
}

#[test]
fn a_disk_that_becomes_read_only_or_goes_away_loses_nothing() {
    // The kernel's own switch for tests: what an error of the device does.
    let read_only = Case {
        root: true,
        mount: EXT4,
        trouble: r#"echo test > /sys/fs/ext4/$(basename $(findmnt -no SOURCE "$DISK"))/trigger_fs_error"#,
        repair: r#"umount "$DISK" && { e2fsck -p "$STORE/image" > "$OUT/fsck"; [ $? -le 1 ]; } && image"#,
        whole: false,
    };
    // Nothing may be written where the disk was.
    let unmounted = Case {
        root: false,
        mount: r#"mount -t tmpfs -o size=64m tmpfs "$STORE" && mount --bind "$STORE" "$DISK""#,
        trouble: r#"umount -l "$DISK""#,
        repair: r#"[ -z "$(ls -A "$DISK")" ] && mount --bind "$STORE" "$DISK""#,
        whole: false,
    };
    let moved = Case {
        mount: r#"mount -t tmpfs -o size=64m tmpfs "$DISK""#,
        trouble: r#"mv "$DISK/run" "$DISK/away""#,
        repair: r#"[ ! -e "$DISK/run" ] && mv "$DISK/away" "$DISK/run""#,
        ..unmounted
    };
    let mut outcomes = Vec::new();
    for (case, reasons) in [
        (
            read_only,
            &["Read-only file system", "Input/output error"][..],
        ),
        (unmounted, &["its disk was taken away"]),
        (moved, &["its disk was taken away"]),
    ] {
        let Some(outcome) = run(case) else { continue };
        outcome.assert_ended_by(reasons);
        outcome.assert_taken_up();
        outcomes.push(outcome);
    }
    assert_same_weights(read_only, &outcomes);
}

#[test]
fn a_slow_disk_is_said_so_and_waited_for() {
    // Every write waits while the file system is frozen.
    let case = Case {
        root: true,
        mount: EXT4,
        trouble: r#"fsfreeze -f "$DISK" && { sleep 4; fsfreeze -u "$DISK"; }"#,
        repair: "true",
        whole: false,
    };
    let outcome = run(case);
    if let Some(outcome) = &outcome {
        let slow = outcome.lines(0, "the disk is slow");
        assert_eq!(slow.len(), 1, "{}", outcome.said[0]);
        assert_eq!(outcome.lines(0, "exit code 0").len(), 1);
    }
    assert_same_weights(case, &outcome);
}
