//! The rivals of Stage II: the auto-regressive model learns from chains that it wrote itself (section 4.3, Appendix D).
//!
//! Phase by phase (Table 4) the model writes chains for problems a little longer than the last ones. Chains with a confirmed
//! answer take the place of as many samples of the data so far, and the model is trained on the result. The vanilla looped
//! model confirms for the arm `ar_self_loop`, the true answer for `ar_self_truth`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::backend::AutodiffBackend;
use relay_tasks::{Chain, Example, Problem, Stream};
use relay_train::{Effort, Precision};
use serde_json::{Value, json};

use crate::{
    ChainYield, Corpus, DataUse, Done, Made, MergedLine, Origin, Pipeline, Result,
    arms::{AR_BASELINE, AR_SELF_LOOP, LOOPED_VANILLA},
    chains::{Drawn, keep_chains, read_chains},
    corpus::Unsolved,
    cost::{self, Written},
    json::to_value,
    kept_chains::KeptChains,
    line_file::read_lines,
    merge::write_merged,
    pipeline::Missing,
    stages::Writer,
};

/// Directory of one part of a phase, relative to the arm's.
pub(crate) fn phase_name(phase: usize, part: &str) -> String {
    format!("phase-{}/{part}", phase + 1)
}

impl<B: AutodiffBackend> Pipeline<B> {
    /// All phases of an arm that learns from its own chains; the record sums them up.
    pub(crate) fn self_arm(
        &self,
        arm: &'static str,
        done: &BTreeMap<&str, Done>,
        missing: Missing,
    ) -> Result<Done> {
        let mut model = done[AR_BASELINE].clone();
        let mut data: Option<Done> = None;
        let mut chains = BTreeMap::new();
        let (mut seconds, mut updates, mut samples) = (0.0, 0, 0);
        let mut effort = Some(Effort::default());
        for phase in 0..self.settings.phases() {
            let made = self.phase_data((arm, phase), &model, data.as_ref(), done, missing)?;
            model = self.phase_model((arm, phase), &model, &made, missing)?;
            seconds += made.seconds + model.seconds;
            let counted = |name| model.notes.get(name).and_then(Value::as_u64).unwrap_or(0);
            updates += counted("updates");
            samples += counted("samples");
            for part in [&made, &model] {
                effort = cost::effort(part).zip(effort).map(|(mut sum, part)| {
                    sum += part;
                    sum
                });
            }
            add(&mut chains, &made.notes);
            data = Some(made);
        }
        let notes =
            json!({ "updates": updates, "samples": samples, "chains": chains, "effort": effort });
        Ok(Done {
            seconds,
            notes,
            ..model
        })
    }

    /// The model writes chains; those with a confirmed answer join the data so far.
    fn phase_data(
        &self,
        (arm, phase): (&'static str, usize),
        model: &Done,
        before: Option<&Done>,
        done: &BTreeMap<&str, Done>,
        missing: Missing,
    ) -> Result<Done> {
        let by_loop = (arm == AR_SELF_LOOP).then(|| &done[LOOPED_VANILLA].result);
        let own = self.settings.self_chains.as_ref();
        let mut made_from = json!({
            "model": model.result, "before": before.map(|done| &done.result), "confirmed by": by_loop,
            "samples": own.map(|own| own.samples), "tries": own.map(|own| own.tries), "phase": phase,
            "data": self.corpus.fingerprint(DataUse::Phase(phase))?,
            "batching": to_value(&self.settings.ar_baseline.batching)?,
        });
        // The first phase is written by the baseline, whose weights do not tell in what precision. Left out at its default, so that
        // runs from before it was noted can be resumed.
        let precision = own.map(|own| own.phase.train.precision).unwrap_or_default();
        if precision != Precision::default() {
            made_from["precision"] = to_value(&precision)?;
        }
        let name = format!("{arm}/{}", phase_name(phase, "data"));
        self.stage(&name, &made_from, missing, |dir| {
            tracing::info!("{arm}: phase {}, the model writes chains", phase + 1);
            let file = dir.join("chains.jsonl");
            let mut kept = KeptChains::open(dir, self.corpus.codec().vocab.len())?;
            let notes = self.phase_chains((arm, phase), &file, &mut kept)?;
            let before = self.data_before(arm, phase)?;
            let written = read_chains(&file, self.corpus.codec())?;
            let mut stream = Stream::named(self.settings.seed, arm, &[phase as u64, 1]);
            write_merged(
                &dir.join("merged.jsonl"),
                &join(before, written, &mut stream),
            )?;
            let seconds = kept.seconds();
            Ok(Made {
                files: ["chains.jsonl", "merged.jsonl"].map(PathBuf::from).into(),
                notes,
                seconds: Some(seconds),
            })
        })
    }

    /// Writes the chains of a phase; gives the notes of the stage.
    ///
    /// What it costs the looped model to confirm answers is not counted.
    fn phase_chains(
        &self,
        (arm, phase): (&'static str, usize),
        file: &Path,
        kept: &mut KeptChains,
    ) -> Result<Value> {
        let corpus = self.corpus.as_ref();
        let writer = self.stages.writer(arm, &self.model_before(arm, phase))?;
        let mut written = Written::by(arm, corpus.codec());
        let write = |examples: &[_]| Ok(written.count(examples, kept.write(examples, &writer)?));
        let own = self.settings.self_chains.as_ref();
        let drawn = Drawn {
            tries: own.map_or(1, |own| own.tries),
            longer: &|round| corpus.phase(phase, round),
        };
        let judge = self.judge(arm)?;
        let counts = keep_chains(corpus, drawn, file, write, |examples, problems, chains| {
            judge.confirms(examples, problems, chains)
        })?;
        let mut notes = json!({ "chains": counts });
        written.note(&mut notes)?;
        Ok(notes)
    }

    /// The model is trained on the data of the phase.
    fn phase_model(
        &self,
        (arm, phase): (&str, usize),
        model: &Done,
        data: &Done,
        missing: Missing,
    ) -> Result<Done> {
        let made_from = json!({
            "model": model.result, "data": data.result, "stage": self.stages.describe(arm)?,
            "seed": self.settings.seed,
        });
        let name = format!("{arm}/{}", phase_name(phase, "model"));
        self.stage(&name, &made_from, missing, |dir| {
            tracing::info!("{arm}: phase {}, it learns from them", phase + 1);
            let data = self.dir.path().join(arm).join(phase_name(phase, "data"));
            let before = self.model_before(arm, phase);
            let merged = data.join("merged.jsonl");
            self.stages
                .fine_tune(arm, Some(phase), &before, &merged, dir)
        })
    }

    /// Who confirms the answers of an arm's chains.
    fn judge(&self, arm: &str) -> Result<Judge<'_>> {
        if arm == AR_SELF_LOOP {
            let vanilla = self.dir.path().join(LOOPED_VANILLA);
            let writer = self.stages.writer(LOOPED_VANILLA, &vanilla)?;
            return Ok(Judge::Model(writer));
        }
        Ok(Judge::Truth(self.corpus.as_ref()))
    }

    /// The data that a phase begins with, in part of which its chains take their place.
    fn data_before(&self, arm: &str, phase: usize) -> Result<Vec<MergedLine>> {
        let Some(last) = phase.checked_sub(1) else {
            return self.first_data();
        };
        let last = self.dir.path().join(arm).join(phase_name(last, "data"));
        read_lines(&last.join("merged.jsonl"))
    }

    /// Where the model lies that a phase begins with.
    fn model_before(&self, arm: &str, phase: usize) -> PathBuf {
        match phase.checked_sub(1) {
            Some(last) => self.dir.path().join(arm).join(phase_name(last, "model")),
            None => self.dir.path().join(AR_BASELINE),
        }
    }

    /// What the first phase begins with: problems of the training lengths only.
    fn first_data(&self) -> Result<Vec<MergedLine>> {
        let samples = self
            .settings
            .self_chains
            .as_ref()
            .map_or(0, |own| own.samples);
        let batching = &self.settings.ar_baseline.batching;
        let originals = self.corpus.phase_start(batching, samples)?.into_iter();
        Ok(originals
            .map(|problem| MergedLine::new(Origin::Original, problem))
            .collect())
    }
}

/// Who confirms the answers of chains (Appendix D).
enum Judge<'a> {
    /// A model that solves the problems, too.
    Model(Writer<'a>),
    /// Those who know the answers.
    Truth(&'a dyn Corpus),
}

impl Judge<'_> {
    /// Which of the chains of some problems, which are given as examples, too, have the answer that it has.
    fn confirms(
        &self,
        examples: &[Example],
        problems: &[Unsolved],
        chains: &[Chain],
    ) -> Result<Vec<bool>> {
        let same =
            |(theirs, own): (&Chain, &Chain)| own.answer.is_some() && own.answer == theirs.answer;
        Ok(match self {
            Self::Model(solve) => solve(examples)?.iter().zip(chains).map(same).collect(),
            Self::Truth(corpus) => {
                let pairs = problems.iter().zip(chains);
                pairs
                    .map(|(problem, own)| is_true(*corpus, problem, own))
                    .collect()
            }
        })
    }
}

/// Whether the answer of a chain is the true one.
fn is_true(corpus: &dyn Corpus, problem: &Unsolved, chain: &Chain) -> bool {
    let written = corpus.codec().decode_chain(&problem.example, chain);
    corpus
        .truth(&problem.problem)
        .is_some_and(|truth| truth.answer == written.answer)
}

/// The written chains in place of as many samples of their task, drawn at random; the number of each task stays the same.
fn join(before: Vec<MergedLine>, written: Vec<Problem>, stream: &mut Stream) -> Vec<MergedLine> {
    let mut tasks: BTreeMap<String, (Vec<MergedLine>, Vec<MergedLine>)> = BTreeMap::new();
    for line in before {
        tasks.entry(line.task.clone()).or_default().0.push(line);
    }
    for problem in written {
        let lines = tasks.entry(problem.task.clone()).or_default();
        lines.1.push(MergedLine::new(Origin::Own, problem));
    }
    let mut joined = Vec::new();
    for (mut old, new) in tasks.into_values() {
        stream.shuffle(&mut old);
        old.truncate(old.len().saturating_sub(new.len()));
        joined.extend(old.into_iter().chain(new));
    }
    stream.shuffle(&mut joined);
    joined
}

/// What a stage that wrote chains says of them in its notes: `task length` to what became of them.
pub(crate) fn chains_in(notes: &Value) -> Option<BTreeMap<String, ChainYield>> {
    serde_json::from_value(notes.get("chains")?.clone()).ok()
}

/// Adds up what became of the chains of several phases; two phases may have the same length.
fn add(sums: &mut BTreeMap<String, ChainYield>, notes: &Value) {
    for (key, count) in chains_in(notes).unwrap_or_default() {
        *sums.entry(key).or_default() += &count;
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use relay_train::StopFlag;

    use super::*;
    use crate::{About, Existing, arms::AR_SELF_TRUTH};

    fn pipeline(dir: &Path) -> Pipeline<Autodiff<Flex>> {
        let settings = crate::preset("smoke", 1).unwrap();
        let about = About {
            device: "flex".into(),
            command: "test".into(),
        };
        let stop = StopFlag::new();
        let device = Default::default();
        Pipeline::open(settings, dir, Existing::Refuse, about, device, stop).unwrap()
    }

    /// Table 4: the model and the data of a phase are those that the phase before has made.
    #[test]
    fn phases_build_on_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = pipeline(dir.path());
        let before = |phase| pipeline.model_before(AR_SELF_TRUTH, phase);
        assert_eq!(before(0), dir.path().join(AR_BASELINE));
        for phase in 1..5 {
            let last = dir
                .path()
                .join(format!("ar_self_truth/phase-{phase}/model"));
            assert_eq!(before(phase), last);
        }
        let first = pipeline.data_before(AR_SELF_TRUTH, 0).unwrap();
        let trained = |line: &MergedLine| {
            let [shortest, longest] = match line.task.as_str() {
                "ari" => [1, 6],
                "ed" => [2, 8],
                _ => [3, 30],
            };
            (shortest..=longest).contains(&line.length)
        };
        assert_eq!(first.len(), 3 * 200);
        assert!(
            first
                .iter()
                .all(|line| line.source == Origin::Original && trained(line))
        );
        let made = dir.path().join("ar_self_truth/phase-2/data");
        std::fs::create_dir_all(&made).unwrap();
        let lines: Vec<_> = problems("ari", 7, 3)
            .into_iter()
            .map(|problem| MergedLine::new(Origin::Own, problem))
            .collect();
        write_merged(&made.join("merged.jsonl"), &lines).unwrap();
        assert_eq!(pipeline.data_before(AR_SELF_TRUTH, 2).unwrap(), lines);
        // Nobody else's.
        assert!(pipeline.data_before(AR_SELF_LOOP, 2).is_err());
    }

    #[test]
    fn the_vanilla_model_confirms_for_one_arm_and_the_truth_for_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = pipeline(dir.path());
        let truth = pipeline.judge(AR_SELF_TRUTH);
        assert!(matches!(truth, Ok(Judge::Truth(_))));
        // There is no such model yet.
        let error = pipeline.judge(AR_SELF_LOOP).err().unwrap().to_string();
        assert!(error.contains(LOOPED_VANILLA), "{error}");
    }

    /// The model's answer decides where it is the judge, be it right or wrong, and the true one where the truth is.
    #[test]
    fn an_answer_is_confirmed_by_its_judge_alone() {
        let corpus = crate::corpus(&crate::preset("mini", 1).unwrap()).unwrap();
        let codec = corpus.codec();
        let mut problems = corpus.longer(0).unwrap();
        problems.truncate(3);
        let examples: Vec<_> = problems.iter().map(|one| one.example.clone()).collect();
        let saying = |answers: [Option<u32>; 3]| {
            let chain = |answer| Chain {
                answer,
                ..Chain::default()
            };
            answers.map(chain).to_vec()
        };
        let truth: Vec<u32> = problems
            .iter()
            .map(|one| codec.encode(&corpus.truth(&one.problem).unwrap()).unwrap())
            .map(|solved| solved.answer.unwrap())
            .collect();
        let wrong = codec.vocab.id("+").unwrap();
        let chains = saying([Some(truth[0]), Some(wrong), None]);
        let confirmed = |judge: &Judge<'_>| judge.confirms(&examples, &problems, &chains).unwrap();
        let by_truth = Judge::Truth(corpus.as_ref());
        assert_eq!(confirmed(&by_truth), [true, false, false]);
        let contrary = saying([Some(wrong), Some(wrong), None]);
        let by_model = Judge::Model(Box::new(|_: &[Example]| Ok(contrary.clone())));
        assert_eq!(confirmed(&by_model), [false, true, false]);
    }

    fn problems(task: &str, length: usize, number: usize) -> Vec<Problem> {
        let problem = |index: usize| Problem {
            task: task.into(),
            length,
            prompt: format!("{task} {length} {index}"),
            steps: vec!["1".into()],
            answer: "1".into(),
        };
        (0..number).map(problem).collect()
    }

    #[test]
    fn written_chains_replace_as_many_samples_of_their_task() {
        let original = |problem| MergedLine::new(Origin::Original, problem);
        let before: Vec<_> = problems("ari", 3, 10)
            .into_iter()
            .chain(problems("ed", 3, 10))
            .map(original)
            .collect();
        let mut stream = Stream::named(1, "test", &[]);
        let joined = join(before, problems("ari", 4, 4), &mut stream);
        let of = |task: &str, source| {
            let wanted = |line: &&MergedLine| line.task == task && line.source == source;
            joined.iter().filter(wanted).count()
        };
        assert_eq!(of("ari", Origin::Original), 6);
        assert_eq!(of("ari", Origin::Own), 4);
        assert_eq!(of("ed", Origin::Original), 10);
    }

    #[test]
    fn counts_of_phases_add_up() {
        let count = |right: Option<usize>| ChainYield {
            wanted: 5,
            kept: 3,
            unreadable: 1,
            unsure: 1,
            known: right.map(|_| 3),
            right,
        };
        let notes = |right| json!({ "chains": { "ari 7": count(right) } });
        let mut sums = BTreeMap::new();
        add(&mut sums, &notes(Some(2)));
        add(&mut sums, &notes(None));
        assert_eq!(sums["ari 7"].kept, 6);
        assert_eq!(
            (sums["ari 7"].known, sums["ari 7"].right),
            (Some(3), Some(2))
        );
        // A phase from before it was counted how many are known.
        let mut old = count(Some(3));
        old.known = None;
        add(&mut sums, &json!({ "chains": { "ari 7": old } }));
        assert_eq!(sums["ari 7"].known, Some(6));
        assert_eq!(sums["ari 7"].right, Some(5));
    }
}
