//! A single byte that changes anywhere in a checkpoint is noticed, and the newest good one is taken.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::common::*;
use relay_tasks::Stream;
use relay_train::{Manifest, TrainError, read_manifest};

fn data_files(checkpoint: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(checkpoint)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("manifest.json"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    files
}

/// That the newest checkpoint is refused, with its reason, and the one before is taken.
fn passed_over(dir: &Path, newest: &Path, what: &str) -> String {
    let error = read_manifest(newest).unwrap_err();
    assert!(
        matches!(&error, TrainError::Checkpoint { path, .. } if path == newest),
        "{what}: {error}"
    );
    assert_eq!(read_manifest(dir).unwrap().counters.step, 9, "{what}");
    error.to_string()
}

#[test]
fn every_byte_of_a_manifest_counts() {
    let (dir, newest) = trained();
    let path = newest.join("manifest.json");
    let text = fs::read(&path).unwrap();
    assert_eq!(Manifest::parse(&text).unwrap().counters.step, 12);
    let mut stream = Stream::named(1, "corruption", &[]);
    for place in 0..text.len() {
        // Every other value of the byte has its turn somewhere, white space for white space among them.
        let values = [1, 1 << 5, 1 + stream.below(255) as u8].map(|change| text[place] ^ change);
        for value in values.into_iter().chain(*b" \n\t") {
            if value == text[place] {
                continue;
            }
            let mut altered = text.clone();
            altered[place] = value;
            assert!(
                Manifest::parse(&altered).is_err(),
                "byte {place} as {value}"
            );
        }
        assert!(
            Manifest::parse(&text[..place]).is_err(),
            "cut after {place}"
        );
    }
    for more in [" ", "\n", "{}", "\0"] {
        let longer = [&text, more.as_bytes()].concat();
        assert!(Manifest::parse(&longer).is_err(), "{more:?} added");
    }
    // The same through the files, for some of them.
    for place in (0..text.len()).step_by(text.len() / 40) {
        let mut altered = text.clone();
        altered[place] ^= 1;
        fs::write(&path, altered).unwrap();
        let what = format!("byte {place} of the manifest");
        assert!(passed_over(dir.path(), &newest, &what).contains("step-000000012"));
    }
    fs::write(&path, text).unwrap();
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);
}

/// Changes `count` bytes, one at a time, anywhere in the data files.
fn changes(count: u64) {
    let (dir, newest) = trained();
    let files = data_files(&newest);
    let total: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut stream = Stream::named(2, "corruption", &[]);
    for _ in 0..count {
        let mut place = stream.below(total) as usize;
        let (path, bytes) = files
            .iter()
            .find(|(_, bytes)| {
                let here = place < bytes.len();
                if !here {
                    place -= bytes.len();
                }
                here
            })
            .unwrap();
        let mut altered = bytes.clone();
        altered[place] ^= 1 + stream.below(255) as u8;
        fs::write(path, altered).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let error = passed_over(dir.path(), &newest, &format!("byte {place} of {name}"));
        assert!(
            error.contains(&format!("{name} was altered")),
            "{place}: {error}"
        );
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 12);
}

#[test]
fn a_changed_byte_of_the_weights_is_found() {
    changes(200);
}

/// Run by `cargo test -p relay-train --test suite -- --ignored ten_thousand`.
#[test]
#[ignore = "takes a minute"]
fn ten_thousand_changed_bytes_of_the_weights_are_found() {
    changes(10_000);
}

#[test]
fn cut_off_longer_and_missing_files_are_found() {
    let (dir, newest) = trained();
    for (path, bytes) in data_files(&newest) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for length in [0, 1, 7, 8, 9, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = passed_over(dir.path(), &newest, &name);
            assert!(
                error.contains(&format!("{name} has {length} bytes instead of")),
                "{error}"
            );
        }
        fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
        assert!(passed_over(dir.path(), &newest, &name).contains("bytes instead of"));
        // A terabyte that is not there: it must not be read into memory before it is looked at.
        let huge = fs::File::create(&path).unwrap();
        if huge.set_len(1 << 40).is_ok() {
            assert!(passed_over(dir.path(), &newest, &name).contains("bytes instead of"));
        }
        fs::remove_file(&path).unwrap();
        assert!(passed_over(dir.path(), &newest, &name).contains(&name));
        fs::create_dir(&path).unwrap();
        passed_over(dir.path(), &newest, &name);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
    }
    let manifest = newest.join("manifest.json");
    let huge = fs::File::create(&manifest).unwrap();
    if huge.set_len(1 << 40).is_ok() {
        assert!(passed_over(dir.path(), &newest, "manifest").contains("far too many"));
    }
    fs::remove_file(&manifest).unwrap();
    assert_eq!(read_manifest(dir.path()).unwrap().counters.step, 9);
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn which_one_is_taken_and_why_is_said() {
    let (dir, newest) = trained();
    fs::write(newest.join("optimizer.safetensors"), "x").unwrap();
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // Where another test, without a subscriber, meets these events for the first time while this one sets its own up, they
    // stay switched off. So they are met before, and asked anew.
    assert!(read_manifest(dir.path()).is_ok());
    let found = tracing::subscriber::with_default(subscriber, || {
        tracing::callsite::rebuild_interest_cache();
        read_manifest(dir.path())
    });
    assert_eq!(found.unwrap().counters.step, 9);
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    for part in [
        "step-000000012: optimizer.safetensors has 1 bytes instead of",
        "it is passed over",
        "step-000000009 of",
        "is the newest good checkpoint and is used",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}
