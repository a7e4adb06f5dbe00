//! Lines as token ids.

use std::path::Path;

use relay_tasks::{Codec, Example, Problem};

use super::lines::UnsolvedLine;
use crate::{Result, corpus::Unsolved, line_file::at};

pub(super) fn encode_all(codec: &Codec, file: &Path, problems: &[Problem]) -> Result<Vec<Example>> {
    let encode = |(line, problem)| codec.encode(problem).map_err(|e| at(file, line, &e));
    problems.iter().enumerate().map(encode).collect()
}

pub(super) fn encode_longer(
    codec: &Codec,
    file: &Path,
    lines: &[UnsolvedLine],
    problems: Vec<Problem>,
    beyond: usize,
) -> Result<Vec<Unsolved>> {
    let encode = |(number, (line, problem)): (usize, (&UnsolvedLine, Problem))| {
        if line.iterations == 0 {
            return Err(at(file, number, &"iterations is 0, must be at least 1"));
        }
        let width = line.width.unwrap_or(width_of(&problem.prompt, beyond));
        let example = codec
            .encode_prompt(
                &problem.task,
                problem.length,
                &problem.prompt,
                line.iterations,
                width,
            )
            .map_err(|e| at(file, number, &e))?;
        Ok(Unsolved { problem, example })
    };
    lines.iter().zip(problems).enumerate().map(encode).collect()
}

/// The width of a window that nobody has named: the tag of the task stands before the problem, and the widest training step
/// had `beyond` tokens more than that.
pub(super) fn width_of(problem: &str, beyond: usize) -> usize {
    problem.split_whitespace().count() + 1 + beyond
}
