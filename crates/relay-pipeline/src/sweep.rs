//! Sweeps: every combination of some values of some settings, each a run of its own.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use relay_train::first_difference;
use serde::{Deserialize, Serialize};

use crate::{
    Override, PipelineError, PlannedRun, Result, Settings,
    overrides::{full_paths, json_or_word, overlap},
};

mod files;
mod results;

pub use results::{FailedRun, SWEEP_SCHEMA, SweepResults, SweepRun, Swept};

/// The longest name of a directory; longer ones are cut and told apart by a hash.
const LONGEST_NAME: usize = 120;

/// A setting and the values that it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// Where the setting stands; see [`Settings::set`].
    pub path: String,
    /// Its values as JSON; words need no quotes.
    pub values: Vec<String>,
}

/// One value for each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combination {
    /// The settings in the order of the axes.
    pub overrides: Vec<Override>,
    /// What tells this combination from the others, such as `lambda=0.1`.
    pub label: String,
    /// The same with all axes, fit for a directory.
    pub name: String,
}

/// A sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The settings that vary. One with a single value is set for all runs.
    pub axes: Vec<Axis>,
    /// The seeds that every combination is run with.
    pub seeds: Vec<u64>,
}

impl FromStr for Axis {
    type Err = PipelineError;

    /// Reads `PATH=VALUE,VALUE,...`; commas within brackets and quotes do not part values.
    fn from_str(text: &str) -> Result<Self> {
        let Override { path, value } = text.parse()?;
        let values = parts(&value);
        for (place, value) in values.iter().enumerate() {
            let again = |other: &String| {
                first_difference("", &json_or_word(other), &json_or_word(value)).is_none()
            };
            if value.is_empty() || values[..place].iter().any(again) {
                let found = if value.is_empty() { "empty" } else { value };
                return Err(PipelineError::settings(
                    format!("a value of {path}"),
                    format!("{found} in `{text}`"),
                    "there once, between commas",
                ));
            }
        }
        Ok(Self { path, values })
    }
}

impl Axis {
    /// The axis of `evaluation.extra_iterations` from `FROM..TO`, both included: looped models do this many iterations more
    /// than a problem asks for.
    ///
    /// # Errors
    /// When the text is no such range.
    pub fn loops(text: &str) -> Result<Self> {
        let ends = text.split_once("..").and_then(|(from, to)| {
            let (from, to): (i64, i64) = (from.parse().ok()?, to.parse().ok()?);
            let few = to
                .checked_sub(from)
                .is_some_and(|more| (0..=1000).contains(&more));
            few.then_some((from, to))
        });
        let Some((from, to)) = ends else {
            let right = "FROM..TO in ascending order with at most 1,001 values, such as -2..4";
            return Err(PipelineError::settings("loops", text, right));
        };
        Ok(Self {
            path: "evaluation.extra_iterations".to_owned(),
            values: (from..=to).map(|extra| extra.to_string()).collect(),
        })
    }
}

impl Sweep {
    /// The product of all values, the last axis changing fastest.
    ///
    /// # Errors
    /// When an axis stands there twice, or two combinations would have the same directory.
    pub fn combinations(&self) -> Result<Vec<Combination>> {
        for (place, axis) in self.axes.iter().enumerate() {
            let before = self.axes[..place].iter();
            if let Some(other) = before
                .into_iter()
                .find(|other| meet(&other.path, &axis.path))
            {
                let found = match other.path == axis.path {
                    true => "swept twice".to_owned(),
                    false => format!("swept as {}, too", other.path),
                };
                return Err(PipelineError::settings(&axis.path, found, "swept once"));
            }
        }
        let products = self.products();
        let combinations: Vec<Combination> = products
            .into_iter()
            .map(|overrides| self.named(overrides))
            .collect();
        for (place, one) in combinations.iter().enumerate() {
            if let Some(other) = combinations[..place]
                .iter()
                .find(|other| other.name == one.name)
            {
                let found = format!("both `{}` and `{}`", other.label, one.label);
                let right = "values with different names";
                return Err(PipelineError::settings(
                    format!("the run {}", one.name),
                    found,
                    right,
                ));
            }
        }
        Ok(combinations)
    }

    fn products(&self) -> Vec<Vec<Override>> {
        let mut products: Vec<Vec<Override>> = vec![Vec::new()];
        for axis in &self.axes {
            let with = |product: &Vec<Override>, value: &String| {
                let (path, value) = (axis.path.clone(), value.clone());
                let mut product = product.clone();
                product.push(Override { path, value });
                product
            };
            products = products
                .iter()
                .flat_map(|product| axis.values.iter().map(move |value| with(product, value)))
                .collect();
        }
        products
    }

    /// The runs below `out`, with the settings that `base` gives for a seed; `command` says how a run is repeated.
    ///
    /// # Errors
    /// When there is no seed or one is there twice, and when any combination is not valid; nothing has been run then.
    pub fn runs(
        &self,
        out: &Path,
        base: impl Fn(u64) -> Result<Settings>,
        command: impl Fn(u64, &[Override]) -> String,
    ) -> Result<Vec<PlannedRun>> {
        distinct(&self.seeds)?;
        let mut runs = Vec::new();
        for combination in self.combinations()? {
            for &seed in &self.seeds {
                let settings = base(seed)?.with(&combination.overrides)?;
                // Else it were the seed of every run, whatever the list of seeds says.
                if settings.seed != seed {
                    let right = "left out: the seeds of the runs are listed on their own";
                    let found = settings.seed.to_string();
                    return Err(PipelineError::settings("seed", found, right));
                }
                runs.push(PlannedRun {
                    dir: out.join(combination.dir(seed)),
                    settings,
                    command: command(seed, &combination.overrides),
                });
            }
        }
        Ok(runs)
    }

    /// The combination of `overrides`, with its names.
    fn named(&self, overrides: Vec<Override>) -> Combination {
        let several = |path: &str| {
            let axis = self.axes.iter().find(|axis| axis.path == path);
            axis.is_some_and(|axis| axis.values.len() > 1)
        };
        let text = |one: &Override| format!("{}={}", self.short(&one.path), one.value);
        let all: Vec<String> = overrides.iter().map(text).collect();
        let varied: Vec<String> = overrides
            .iter()
            .filter(|one| several(&one.path))
            .map(text)
            .collect();
        let label = if varied.is_empty() { &all } else { &varied };
        // Another sweep in the same directory may vary a setting with the same end.
        let paths: Vec<String> = overrides.iter().map(Override::to_string).collect();
        Combination {
            label: if label.is_empty() {
                "preset".to_owned()
            } else {
                label.join(", ")
            },
            name: directory(&paths.join("_")),
            overrides,
        }
    }

    /// The end of a path that tells it from the other axes.
    pub(crate) fn short<'a>(&self, path: &'a str) -> &'a str {
        let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
        let same = self
            .axes
            .iter()
            .filter(|axis| last(&axis.path) == last(path))
            .count();
        if same > 1 {
            return path;
        }
        path.rsplit('.').next().unwrap_or(path)
    }
}

impl Combination {
    /// The name of its run with `seed`.
    pub fn dir(&self, seed: u64) -> PathBuf {
        let separator = if self.name.is_empty() { "" } else { "_" };
        PathBuf::from(format!("{}{separator}seed-{seed}", self.name))
    }
}

/// Whether two paths lead to the same setting, or one to a part of what the other leads to.
fn meet(one: &str, other: &str) -> bool {
    let others = full_paths(other);
    full_paths(one)
        .iter()
        .any(|a| others.iter().any(|b| overlap(a, b)))
}

/// Seeds have to be there, each once.
fn distinct(seeds: &[u64]) -> Result<()> {
    let twice = |(place, seed): (usize, &u64)| seeds[..place].contains(seed);
    if seeds.is_empty() || seeds.iter().enumerate().any(twice) {
        let found = format!("{seeds:?}");
        return Err(PipelineError::settings(
            "seeds",
            found,
            "at least one, each once",
        ));
    }
    Ok(())
}

/// Parts at the commas outside of brackets, braces and quotes.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0_i32, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// Text as the name of a directory that needs no quotes on a command line.
fn directory(text: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || "=._-+".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(fit).collect();
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{}_{}", &name[..LONGEST_NAME], &hash[..8])
}

#[cfg(test)]
mod tests;
