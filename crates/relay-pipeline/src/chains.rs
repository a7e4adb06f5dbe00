//! Chains for longer problems: written by the aligned looped model, kept as `chains.jsonl`.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

use relay_tasks::{Chain, Codec, Dialect, Example, Problem, Score, TaskInfo, score};
use relay_train::check_chains;
use serde::{Deserialize, Serialize};

use crate::{
    ChainFilter, ChainSettings, Corpus, Result,
    chain_filter::filter,
    corpus::Unsolved,
    line_file::{LineFile, at, read_lines},
};

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
    /// The answer: of a task whose last step is the answer that step, of others what the answer head says.
    pub answer: String,
    /// Mean probability of the tokens of each step.
    pub confidence: Vec<f32>,
    /// Probability of what the answer head says.
    pub answer_confidence: f32,
}

/// What became of the chains of one task and length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainYield {
    /// Chains wanted by the merged set.
    pub wanted: usize,
    /// Chains kept.
    pub kept: usize,
    /// Chains dropped because a step was empty, or because as one line of text their steps could not be told apart.
    pub unreadable: usize,
    /// Chains dropped because a step was less sure than the settings ask for or by a rule of one's own, or, where a model wrote
    /// them for itself, because nobody confirmed the answer.
    pub unsure: usize,
    /// Kept chains whose truth is known; for the report only.
    // Runs from before there was this field know the truth of all, or do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
    /// Chains without any wrong token among those whose truth is known; for the report only.
    pub right: Option<usize>,
}

impl ChainYield {
    /// Kept chains whose truth is known, also of runs that do not count them.
    pub(crate) fn truth_known(&self) -> Option<usize> {
        self.known.or_else(|| self.right.map(|_| self.kept))
    }

    /// Chains that are wanted and not there yet.
    fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.kept)
    }
}

impl std::ops::AddAssign<&ChainYield> for ChainYield {
    fn add_assign(&mut self, other: &Self) {
        let sum = |a: Option<usize>, b: Option<usize>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.known = sum(self.truth_known(), other.truth_known());
        self.wanted += other.wanted;
        self.kept += other.kept;
        self.unreadable += other.unreadable;
        self.unsure += other.unsure;
        self.right = sum(self.right, other.right);
    }
}

/// Writes chains for the corpus's longer problems with `write` and keeps in `file` those that are sure enough and that `own`, if there
/// is such a rule, keeps, too.
///
/// # Errors
/// When problems cannot be made, chains cannot be written or judged, or the file cannot be written.
pub fn write_chains(
    corpus: &dyn Corpus,
    settings: &ChainSettings,
    own: Option<&dyn ChainFilter>,
    file: &Path,
    write: impl FnMut(&[Example]) -> Result<Vec<Chain>>,
) -> Result<BTreeMap<String, ChainYield>> {
    let sure = |chain: &Chain| {
        let least = chain.confidence.iter().copied().fold(1.0_f32, f32::min);
        least >= settings.min_confidence
    };
    let drawn = Drawn {
        tries: settings.tries,
        longer: &|round| corpus.longer(round),
    };
    keep_chains(corpus, drawn, file, write, |_, problems, chains| {
        let mut kept: Vec<bool> = chains.iter().map(sure).collect();
        filter(own, (problems, chains), &mut kept)?;
        Ok(kept)
    })
}

/// Where the problems come from whose chains are written.
pub(crate) struct Drawn<'a> {
    /// How many rounds there are at most.
    pub tries: usize,
    /// The problems of a round; round 0 has as many as are wanted.
    pub longer: &'a dyn Fn(usize) -> Result<Vec<Unsolved>>,
}

/// Writes chains with `write` and keeps in `file` those that can be read and that `accept` takes, up to the number wanted
/// of each task and length.
pub(crate) fn keep_chains(
    corpus: &dyn Corpus,
    drawn: Drawn<'_>,
    file: &Path,
    mut write: impl FnMut(&[Example]) -> Result<Vec<Chain>>,
    mut accept: impl FnMut(&[Example], &[Unsolved], &[Chain]) -> Result<Vec<bool>>,
) -> Result<BTreeMap<String, ChainYield>> {
    let mut lines = LineFile::create(file)?;
    let mut counts: BTreeMap<String, ChainYield> = BTreeMap::new();
    for round in 0..drawn.tries.max(1) {
        // Later rounds only fill what earlier ones left open.
        if round > 0 && counts.values().all(|count| count.missing() == 0) {
            break;
        }
        let problems = (drawn.longer)(round)?;
        if problems.is_empty() {
            break;
        }
        let mut left = Kinds::new();
        for problem in problems {
            let key = key(&problem.problem);
            counts.entry(key.clone()).or_default().wanted += usize::from(round == 0);
            left.entry(key).or_default().push_back(problem);
        }
        loop {
            let problems = next_problems(&mut left, &counts);
            if problems.is_empty() {
                break;
            }
            tracing::info!("writing chains for {} longer problems", problems.len());
            for part in problems.chunks(1024) {
                let examples: Vec<_> = part.iter().map(|p| p.example.clone()).collect();
                let chains = write(&examples)?;
                check_chains(&examples, &chains)?;
                let accepted = accept(&examples, part, &chains)?;
                for ((unsolved, chain), accepted) in part.iter().zip(&chains).zip(accepted) {
                    let count = counts.entry(key(&unsolved.problem)).or_default();
                    if let Some(line) = judge(corpus, unsolved, chain, accepted, count) {
                        lines.line(&line)?;
                    }
                }
            }
        }
    }
    lines.finish()?;
    tell(&counts);
    Ok(counts)
}

/// Says what became of the chains. Where none is left the fine-tuned model learns nothing of that length.
fn tell(counts: &BTreeMap<String, ChainYield>) {
    let mut sum = ChainYield::default();
    counts.values().for_each(|count| sum += count);
    let ChainYield {
        wanted,
        kept,
        unreadable,
        unsure,
        ..
    } = sum;
    tracing::info!(
        "chains: kept {kept} of {wanted}; dropped {unreadable} that cannot be read and {unsure} that were not sure \
         enough, not confirmed or left out by a rule"
    );
    let none = counts.iter().filter(|(_, count)| count.kept == 0);
    let none: Vec<&str> = none.map(|(key, _)| key.as_str()).collect();
    if !none.is_empty() {
        tracing::warn!("no chain was kept of {}", none.join(", "));
    }
}

/// Problems that are left of a round, by task and length.
type Kinds = BTreeMap<String, VecDeque<Unsolved>>;

/// Takes the next problems to write chains for: of each kind as many as chains are missing of it, so that hardly any are
/// written for nothing, but a few at least, so that a batch is worth its while.
fn next_problems(left: &mut Kinds, counts: &BTreeMap<String, ChainYield>) -> Vec<Unsolved> {
    const LEAST: usize = 32;
    let mut next = Vec::new();
    for (key, problems) in left {
        let missing = counts.get(key).map_or(0, ChainYield::missing);
        if missing > 0 {
            let number = missing.max(LEAST).min(problems.len());
            next.extend(problems.drain(..number));
        }
    }
    next
}

fn key(problem: &Problem) -> String {
    format!("{} {}", problem.task, problem.length)
}

/// Keeps or drops one chain, and counts it.
fn judge(
    corpus: &dyn Corpus,
    unsolved: &Unsolved,
    chain: &Chain,
    accepted: bool,
    count: &mut ChainYield,
) -> Option<ChainLine> {
    if count.kept >= count.wanted {
        return None;
    }
    let codec = corpus.codec();
    let info = &codec.tasks[unsolved.example.task];
    let chain = &in_text(info, chain);
    let written = codec.decode_chain(&unsolved.example, chain);
    if codec.encode(&written).is_err() || written.steps.iter().any(String::is_empty) {
        count.unreadable += 1;
        return None;
    }
    if !accepted {
        count.unsure += 1;
        return None;
    }
    count.kept += 1;
    let truth = true_chain(corpus, &unsolved.problem);
    if let Some(score) = truth.and_then(|truth| true_score(codec, &truth, chain)) {
        *count.known.get_or_insert(0) += 1;
        *count.right.get_or_insert(0) += usize::from(score.chain && score.answer);
    }
    Some(line(info, written, chain))
}

/// A chain as text, which `written` is already.
pub(crate) fn line(info: &TaskInfo, written: Problem, chain: &Chain) -> ChainLine {
    ChainLine {
        dialect: info.dialect.clone(),
        task: written.task,
        length: written.length,
        problem: written.prompt,
        steps: written.steps,
        answer: written.answer,
        confidence: chain.confidence.clone(),
        answer_confidence: chain.answer_confidence,
    }
}

/// The chain that a text tells of: where the last step is the answer, what the answer head says is in none.
fn in_text(info: &TaskInfo, chain: &Chain) -> Chain {
    let mut chain = chain.clone();
    if info.answer_is_last_step {
        chain.answer = match chain.steps.last().map(Vec::as_slice) {
            Some(&[answer]) => Some(answer),
            _ => None,
        };
    }
    chain
}

/// The one right chain of a problem, if there is no other and somebody knows it.
pub(crate) fn true_chain(corpus: &dyn Corpus, problem: &Problem) -> Option<Problem> {
    let truth = corpus.truth(problem)?;
    corpus.has_one_chain(&truth.task).then_some(truth)
}

/// How a chain compares with the true one.
pub(crate) fn true_score(codec: &Codec, truth: &Problem, chain: &Chain) -> Option<Score> {
    let example = codec.encode(truth).ok()?;
    Some(score(&example, chain))
}

/// The problems of a file of chains.
///
/// # Errors
/// When the file cannot be read, or a line is not a chain or of another dialect; the line is named.
pub fn read_chains(file: &Path, codec: &Codec) -> Result<Vec<Problem>> {
    let problem = |(index, chain): (usize, ChainLine)| {
        let task = codec.task_index(&chain.task);
        let info = &codec.tasks[task.map_err(|e| at(file, index, &e))?];
        if info.dialect != chain.dialect {
            let (found, right) = (&chain.dialect, &info.dialect);
            let what = format!("dialect {found} where this run has {right}");
            return Err(at(file, index, &what));
        }
        Ok(Problem {
            task: chain.task,
            length: chain.length,
            prompt: chain.problem,
            steps: chain.steps,
            answer: chain.answer,
        })
    };
    let lines = read_lines(file)?.into_iter().enumerate();
    lines.map(problem).collect()
}

#[cfg(test)]
mod tests;
