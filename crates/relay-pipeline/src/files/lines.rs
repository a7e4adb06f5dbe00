//! The lines of files of one's own.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Error, ErrorKind},
    path::Path,
};

use relay_tasks::{Problem, spaced};
use serde::{Deserialize, de::IgnoredAny};

use super::DEFAULT_TASK;
use crate::{PipelineError, Result, line_file::at, overrides::in_words};

/// A line of `--train` or `--test`.
#[derive(Debug, Deserialize)]
pub(super) struct SolvedLine {
    #[serde(default = "default_task")]
    pub(super) task: String,
    pub(super) problem: String,
    pub(super) steps: Vec<String>,
    pub(super) answer: String,
    pub(super) length: Option<usize>,
    // The dialect that lines of `generate_data` carry is passed over: here the files themselves are the dialect.
}

/// A line of `--longer`.
#[derive(Debug, Deserialize)]
pub(super) struct UnsolvedLine {
    #[serde(default = "default_task")]
    pub(super) task: String,
    pub(super) problem: String,
    pub(super) iterations: usize,
    pub(super) length: Option<usize>,
    pub(super) width: Option<usize>,
}

fn default_task() -> String {
    DEFAULT_TASK.to_owned()
}

pub(super) fn problem(line: SolvedLine) -> Problem {
    let length = line.length.unwrap_or(line.steps.len());
    Problem {
        task: line.task,
        length,
        prompt: spaced(line.problem),
        steps: line.steps.into_iter().map(spaced).collect(),
        answer: spaced(line.answer),
    }
}

pub(super) fn bare(line: &UnsolvedLine) -> Problem {
    let length = line.length.unwrap_or(line.iterations);
    let (steps, answer) = (Vec::new(), String::new());
    Problem {
        task: line.task.clone(),
        length,
        prompt: spaced(line.problem.clone()),
        steps,
        answer,
    }
}

/// What lines may have, those that `generate_data` or `solve` wrote included, of which not all is read.
const FIELDS: [&str; 12] = [
    "task",
    "problem",
    "steps",
    "answer",
    "length",
    "iterations",
    "width",
    "dialect",
    "confidence",
    "answer_confidence",
    "answer_is_right",
    "chain_is_right",
];

/// The first field of an object that is none of [`FIELDS`]: somebody's own, or a misspelt one.
fn unknown_field(object: &str) -> Option<String> {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_str(object).ok()?;
    fields.into_keys().find(|name| !FIELDS.contains(&&**name))
}

/// The lines of a file, and the hash of what it holds.
pub(super) fn read_lines<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<(Vec<T>, String)> {
    let opened = File::open(file).map_err(|e| {
        let from = match e.kind() {
            ErrorKind::NotFound if file.is_relative() => {
                "; the path counts from the directory in which the run was started"
            }
            _ => "",
        };
        PipelineError::io("open", file, Error::new(e.kind(), format!("{e}{from}")))
    });
    let opened = opened?;
    // Whoever resumes a run reads it again, which pipes cannot give, and devices may have no end.
    if opened.metadata().is_ok_and(|found| !found.is_file()) {
        let what = "is a directory, a pipe or a device; a file is needed";
        return Err(PipelineError::corrupt(file, what));
    }
    let reader = BufReader::new(opened);
    let mut hasher = blake3::Hasher::new();
    let mut lines = Vec::new();
    let (mut blank, mut odd) = (None, None);
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| match e.kind() {
            ErrorKind::InvalidData => at(file, number, &"is no UTF-8 text"),
            _ => PipelineError::io("read", file, e),
        })?;
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
        // Editors put the mark in front of a file, and blank lines after it.
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            blank = blank.or(Some(number));
            continue;
        }
        if let Some(blank) = blank {
            return Err(at(file, blank, &"is blank; one problem a line is needed"));
        }
        // A list would pass for an object, its items in the order of the fields.
        if !text.starts_with('{') {
            return Err(at(file, number, &"it is no JSON object"));
        }
        lines.push(serde_json::from_str(text).map_err(|e| at(file, number, &reason(&e)))?);
        if odd.is_none() {
            odd = unknown_field(text).map(|name| (number + 1, name));
        }
    }
    if let Some((line, name)) = odd {
        tracing::warn!(
            "{}: line {line} has a field `{name}`, which nothing reads; what a line may have is {}",
            file.display(),
            FIELDS.join(", ")
        );
    }
    if lines.is_empty() {
        return Err(PipelineError::corrupt(
            file,
            "is empty; one problem a line is needed",
        ));
    }
    Ok((lines, hasher.finalize().to_hex().to_string()))
}

/// What is wrong with a line of JSON. The reader counts lines from this one; only its column says something.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match text.split_once("expected ") {
        Some((before, _)) => {
            let expected = in_words(text);
            format!("{before}expected {expected} (column {})", error.column())
        }
        None => format!("{text} (column {})", error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_noticed() {
        let of = |text: &str| unknown_field(text);
        assert_eq!(
            of(r#"{"problem": "1", "steps": [], "lenght": 3}"#).unwrap(),
            "lenght"
        );
        assert_eq!(
            of(r#"{"problem": "1", "width": 3, "dialect": {"p": 5}}"#),
            None
        );
    }
}
