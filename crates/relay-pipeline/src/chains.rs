//! Chains for longer problems: written by the aligned looped model, kept as `chains.jsonl`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use relay_tasks::{Chain, Codec, Dialect, Problem, Score, score};
use serde::{Deserialize, Serialize};

use crate::{ChainSettings, Corpus, PipelineError, Result, corpus::Unsolved, run_dir::LineFile};

/// One line of `chains.jsonl`: a problem with the steps and the answer that the looped model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainLine {
    /// Name of the task.
    pub task: String,
    /// Dialect of the task.
    pub dialect: Dialect,
    /// Problem length.
    pub length: usize,
    /// The problem.
    pub problem: String,
    /// The steps, one for each iteration.
    pub steps: Vec<String>,
    /// The answer.
    pub answer: String,
    /// Mean probability of the tokens of each step.
    pub confidence: Vec<f32>,
    /// Probability of the answer.
    pub answer_confidence: f32,
}

/// What became of the chains of one task and length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainCount {
    /// Chains wanted by the merged set.
    pub wanted: usize,
    /// Chains kept.
    pub kept: usize,
    /// Chains dropped because a step or the answer was empty or could not be read.
    pub unreadable: usize,
    /// Chains dropped because a step was less sure than the settings ask for.
    pub unsure: usize,
    /// Chains dropped because enough others were surer.
    #[serde(default)]
    pub surplus: usize,
    /// Kept chains without any wrong token, where the truth is known; for the report only.
    pub right: Option<usize>,
}

/// Writes chains for the corpus's longer problems with `write` and keeps the surest in `file`.
///
/// # Errors
/// When problems cannot be made, chains cannot be written, or the file cannot be.
pub fn write_chains(
    corpus: &dyn Corpus,
    settings: &ChainSettings,
    file: &Path,
    mut write: impl FnMut(&[relay_tasks::Example]) -> Result<Vec<Chain>>,
) -> Result<BTreeMap<String, ChainCount>> {
    // By task and length, in the order in which they first come.
    let mut order: Vec<String> = Vec::new();
    let mut all: BTreeMap<String, Kept> = BTreeMap::new();
    for round in 0..settings.tries.max(1) {
        let problems: Vec<Unsolved> = corpus.longer(round)?;
        if problems.is_empty() {
            break;
        }
        tracing::info!("writing chains for {} longer problems", problems.len());
        for part in problems.chunks(1024) {
            let examples: Vec<_> = part
                .iter()
                .map(|unsolved| unsolved.example.clone())
                .collect();
            for (unsolved, chain) in part.iter().zip(write(&examples)?) {
                let kept = all.entry(key(&unsolved.problem)).or_insert_with(|| {
                    order.push(key(&unsolved.problem));
                    Kept::default()
                });
                kept.count.wanted += usize::from(round == 0);
                judge(corpus, settings, unsolved, &chain, kept);
            }
        }
        all.values_mut().for_each(Kept::keep_surest);
    }
    let mut lines = LineFile::create(file)?;
    for kept in order.iter().filter_map(|key| all.get(key)) {
        kept.chains
            .iter()
            .try_for_each(|one| lines.line(&one.line))?;
    }
    lines.finish()?;
    Ok(all
        .into_iter()
        .map(|(key, kept)| (key, kept.count))
        .collect())
}

/// The chains of one task and length that are in the running.
#[derive(Debug, Default)]
struct Kept {
    count: ChainCount,
    chains: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    /// Confidence of the least sure step.
    least: f32,
    /// Whether it is right, where the truth is known.
    right: Option<bool>,
    line: ChainLine,
}

impl Kept {
    /// Drops all but as many as are wanted; among equals the first ones stay, and the order in which they came.
    fn keep_surest(&mut self) {
        let surplus = self.chains.len().saturating_sub(self.count.wanted);
        if surplus > 0 {
            let mut ranks: Vec<usize> = (0..self.chains.len()).collect();
            ranks.sort_by(|a, b| self.chains[*b].least.total_cmp(&self.chains[*a].least));
            let mut stays = vec![false; self.chains.len()];
            ranks[..self.count.wanted]
                .iter()
                .for_each(|&at| stays[at] = true);
            let mut stays = stays.into_iter();
            self.chains.retain(|_| stays.next().unwrap_or(false));
        }
        self.count.surplus += surplus;
        self.count.kept = self.chains.len();
        let judged = self.chains.iter().filter_map(|one| one.right);
        self.count.right = judged.fold(None, |sum, right| {
            Some(sum.unwrap_or(0) + usize::from(right))
        });
    }
}

fn key(problem: &Problem) -> String {
    format!("{} {}", problem.task, problem.length)
}

/// Lets one chain take part, or drops and counts it.
fn judge(
    corpus: &dyn Corpus,
    settings: &ChainSettings,
    unsolved: &Unsolved,
    chain: &Chain,
    kept: &mut Kept,
) {
    let codec = corpus.codec();
    let written = codec.decode_chain(&unsolved.example, chain);
    if codec.encode(&written).is_err() || written.steps.iter().any(String::is_empty) {
        kept.count.unreadable += 1;
        return;
    }
    let least = chain.confidence.iter().copied().fold(1.0_f32, f32::min);
    if least < settings.min_confidence {
        kept.count.unsure += 1;
        return;
    }
    let right = true_score(corpus, &unsolved.problem, chain);
    kept.chains.push(Candidate {
        least,
        right: right.map(|score| score.chain && score.answer),
        line: ChainLine {
            dialect: codec.tasks[unsolved.example.task].dialect.clone(),
            task: written.task,
            length: written.length,
            problem: written.prompt,
            steps: written.steps,
            answer: written.answer,
            confidence: chain.confidence.clone(),
            answer_confidence: chain.answer_confidence,
        },
    });
}

fn true_score(corpus: &dyn Corpus, problem: &Problem, chain: &Chain) -> Option<Score> {
    let truth = corpus.truth(problem)?;
    let example = corpus.codec().encode(&truth).ok()?;
    Some(score(&example, chain))
}

/// The problems of a file of chains.
///
/// # Errors
/// When the file cannot be read, or a line is not a chain or of another dialect; the line is named.
pub fn read_chains(file: &Path, codec: &Codec) -> Result<Vec<Problem>> {
    let reader = BufReader::new(File::open(file).map_err(|e| PipelineError::io("open", file, e))?);
    let mut problems = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|e| PipelineError::io("read", file, e))?;
        let wrong =
            |what: String| PipelineError::corrupt(file, format!("line {}: {what}", number + 1));
        let chain: ChainLine = serde_json::from_str(&line).map_err(|e| wrong(e.to_string()))?;
        let info = &codec.tasks[codec.task_index(&chain.task)?];
        if info.dialect != chain.dialect {
            return Err(wrong(format!(
                "dialect {} where this run has {}",
                chain.dialect, info.dialect
            )));
        }
        problems.push(Problem {
            task: chain.task,
            length: chain.length,
            prompt: chain.problem,
            steps: chain.steps,
            answer: chain.answer,
        });
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(least: f32, problem: &str) -> Candidate {
        let line = ChainLine {
            task: "ari".into(),
            dialect: Dialect::default(),
            length: 1,
            problem: problem.into(),
            steps: Vec::new(),
            answer: String::new(),
            confidence: vec![least],
            answer_confidence: 1.0,
        };
        Candidate {
            least,
            right: Some(least > 0.8),
            line,
        }
    }

    #[test]
    fn the_surest_stay_in_the_order_in_which_they_came() {
        let mut kept = Kept::default();
        kept.count.wanted = 3;
        let chains = [(0.5, "a"), (0.9, "b"), (0.9, "c"), (0.95, "d"), (0.9, "e")];
        kept.chains = chains.map(|(least, name)| candidate(least, name)).into();
        kept.keep_surest();
        let names: Vec<&str> = kept
            .chains
            .iter()
            .map(|c| c.line.problem.as_str())
            .collect();
        assert_eq!(names, ["b", "c", "d"]);
        assert_eq!((kept.count.kept, kept.count.surplus), (3, 2));
        assert_eq!(kept.count.right, Some(3));

        kept.chains.push(candidate(0.1, "f"));
        kept.keep_surest();
        assert_eq!((kept.count.kept, kept.count.surplus), (3, 3));
    }
}
