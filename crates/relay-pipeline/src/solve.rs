//! A trained arm of a run solves problems that somebody asks.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::backend::AutodiffBackend;
use relay_tasks::{Chain, Example, Problem, Score};
use relay_train::{Checkpoint, StopFlag, check_chains, start_threads};
use serde::{Deserialize, Serialize};

use crate::{
    ChainLine, Corpus, DataSettings, Done, FileCorpus, PipelineError, Question, Result, Settings,
    Stages, Unsolved,
    arms::{AR_BASELINE, AR_RELAY, LOOPED_ALIGNED, LOOPED_VANILLA, MERGED},
    chains, corpus,
    cost::needs,
    done::checkpoint_of,
    run_dir::hash_value,
};

/// Questions that are answered at a time; a stop is looked for between them.
const PART: usize = 512;

/// What a model wrote for a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Solved {
    /// The problem with the steps and the answer that the model wrote. As in the accuracies the answer of a looped model is what
    /// its answer head says, also where the last step is the answer; the vanilla one writes no steps.
    pub written: ChainLine,
    /// The problem with the true steps and the answer, if the data of the run know them: tasks do, where a problem has one right
    /// chain.
    pub truth: Option<Problem>,
    /// What is right of it, if the truth is known.
    pub score: Option<Score>,
}

/// Solves `questions` by the arm `arm` of the run in `run`, in their order. It needs the run's `settings.json` and the arm's
/// checkpoints; nothing is written. Where the data are files that are not there any more, or hold other tokens by now, nobody
/// knows which answers are right. While the arm is still being trained its newest
/// checkpoint is taken; an arm that learns from its own chains answers in its last phase only.
///
/// # Errors
/// When there is no such run, arm or good checkpoint, a question is none of the run's tasks or too large, or `stop` is set
/// meanwhile.
pub fn solve<B: AutodiffBackend>(
    run: &Path,
    arm: &str,
    questions: &[Question],
    device: B::Device,
    stop: StopFlag,
) -> Result<Vec<Solved>> {
    let mut all = Vec::new();
    solve_each::<B, PipelineError>(run, arm, questions, device, stop, |solved| {
        all.push(solved);
        Ok(())
    })?;
    Ok(all)
}

/// [`solve`], but that every answer goes to `each` as soon as it is there: of many questions those are not lost that were
/// answered before a stop. A question that cannot be asked is found before the first one is answered.
///
/// # Errors
/// As [`solve`], and what `each` returns, which ends it.
pub fn solve_each<B: AutodiffBackend, E: From<PipelineError>>(
    run: &Path,
    arm: &str,
    questions: &[Question],
    device: B::Device,
    stop: StopFlag,
    mut each: impl FnMut(Solved) -> Result<(), E>,
) -> Result<(), E> {
    start_threads().map_err(PipelineError::from)?;
    let (settings, arm, dir) = model_of(run, arm)?;
    let (corpus, lost) = corpus_of(&settings, &dir)?;
    let asked: Vec<_> = (1..)
        .zip(questions)
        .map(|(number, question)| {
            let asked = corpus.asked(question);
            asked.map_err(|reason| PipelineError::Asked {
                number,
                reason: Box::new(reason),
            })
        })
        .collect::<Result<_>>()?;
    let stages = Stages::<B>::new(settings, Arc::clone(&corpus), device, stop);
    if !lost {
        warn_of_others(&stages, run, arm, &dir)?;
    }
    let examples: Vec<Example> = asked.iter().map(|one| one.example.clone()).collect();
    let write = stages.writer(arm, &dir)?;
    for (examples, asked) in examples.chunks(PART).zip(asked.chunks(PART)) {
        let chains = write(examples)?;
        check_chains(examples, &chains).map_err(PipelineError::from)?;
        for (chain, asked) in chains.iter().zip(asked) {
            each(solved(corpus.as_ref(), asked, chain))?;
        }
    }
    Ok(())
}

/// The model of an arm of the run in the directory `run`, verified: that of its last phase, or of one that is not trained to its end the
/// newest good checkpoint. [`Checkpoint::looped`] and [`Checkpoint::causal`] make it.
///
/// # Errors
/// When the run has no such arm or no model of it, and when its settings or the checkpoint cannot be read.
pub fn arm_checkpoint(run: &Path, arm: &str) -> Result<Checkpoint> {
    let (_, _, dir) = model_of(run, arm)?;
    Ok(Checkpoint::open(&checkpoint_of(&dir)?)?)
}

/// The settings of a run, the whole name of the arm, and where its model lies.
fn model_of(run: &Path, arm: &str) -> Result<(Settings, &'static str, PathBuf)> {
    let settings = Settings::load(&run.join("settings.json"))?;
    settings.validate()?;
    let arm = settings.arm(arm)?;
    let dir = settings.model_dir(run, arm);
    match dir.exists() {
        true => Ok((settings, arm, dir)),
        false => Err(not_trained(&settings, run, arm)),
    }
}

/// What the model in `dir` is asked by: the data of the run, or, where these are files that are lost or have other tokens than
/// the model, what it knows of them itself; and whether that is so.
fn corpus_of(settings: &Settings, dir: &Path) -> Result<(Arc<dyn Corpus>, bool)> {
    let found = corpus(settings);
    if let DataSettings::Generated(_) = settings.data {
        return Ok((found?, false));
    }
    let checkpoint = Checkpoint::open(&checkpoint_of(dir)?)?;
    let codec = &checkpoint.manifest().codec;
    let why = match found {
        Ok(found) => match codec.check_same(found.codec()) {
            Ok(()) => return Ok((found, false)),
            Err(error) => error.to_string(),
        },
        Err(error @ PipelineError::Io { .. }) => error.to_string(),
        Err(_) if matches!(settings.data, DataSettings::Own(_)) => {
            "its data are those of the program that trained it".to_owned()
        }
        Err(error) => return Err(error),
    };
    tracing::warn!(
        "{why}: the model is asked without the data of its run, so nobody knows which answers are right, and steps may be as wide as \
         their problem and {} tokens more, unless a width is given",
        FileCorpus::ROOM
    );
    Ok((Arc::new(FileCorpus::lost(codec.clone())), true))
}

/// Says if the model in `dir` is not, or not yet, the one that the settings of the run stand for. It answers all the same, so
/// markers that cannot be read say nothing.
fn warn_of_others<B: AutodiffBackend>(
    stages: &Stages<B>,
    run: &Path,
    arm: &str,
    dir: &Path,
) -> Result<()> {
    let done_in = |dir: &Path| Done::read(dir).ok().flatten();
    let Some(own) = done_in(dir) else {
        tracing::warn!("{arm} is not marked as trained to its end: its newest checkpoint answers");
        return Ok(());
    };
    let mut other = None;
    for stage in [LOOPED_ALIGNED, LOOPED_VANILLA, AR_BASELINE] {
        let stage_dir = run.join(stage);
        // Whoever copied the model alone has nothing to compare it with.
        if needs(arm, stage) && stage_dir.exists() {
            let wanted = hash_value(&stages.made_from(stage)?);
            let as_wanted = done_in(&stage_dir).is_some_and(|done| done.made_from == wanted);
            other = other.or((!as_wanted).then_some(stage));
        }
    }
    let below = [AR_BASELINE, MERGED].map(|stage| done_in(&run.join(stage)));
    if let (AR_RELAY, [Some(baseline), Some(merged)]) = (arm, below) {
        let wanted = hash_value(&stages.fine_tuned_from(&baseline, &merged)?);
        other = other.or((own.made_from != wanted).then_some(AR_RELAY));
    }
    if let Some(stage) = other {
        tracing::warn!(
            "{stage} is of other settings or data, or another version of this program, than the run has now: {arm} answers as it \
             was trained; going on with the run under its settings.json trains it anew"
        );
    }
    Ok(())
}

/// That the run has no model of `arm`, and of which arms it has.
fn not_trained(settings: &Settings, run: &Path, arm: &str) -> PipelineError {
    let arms = settings.stages().into_iter().map(|(arm, _)| arm);
    let trained: Vec<&str> = arms
        .filter(|arm| settings.model_dir(run, arm).exists())
        .collect();
    let right = match trained.as_slice() {
        [] => "trained first: the run has no model yet".to_owned(),
        trained => format!("one that the run has trained: {}", trained.join(", ")),
    };
    PipelineError::question("the arm", arm, right)
}

fn solved(corpus: &dyn Corpus, asked: &Unsolved, chain: &Chain) -> Solved {
    let (codec, example) = (corpus.codec(), &asked.example);
    let info = &codec.tasks[example.task];
    let truth = chains::true_chain(corpus, &asked.problem);
    let score = |truth| chains::true_score(codec, truth, chain);
    Solved {
        score: truth.as_ref().and_then(score),
        written: chains::line(info, codec.decode_chain(example, chain), chain),
        truth,
    }
}
