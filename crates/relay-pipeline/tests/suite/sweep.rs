//! Sweeps and several seeds on models that learn nothing: what is run, what is taken over, what is written.

use std::{fs, path::Path};

use relay_pipeline::{
    Aggregate, Existing, PipelineError, PlannedRun, Results, RunDir, Settings, SeveralRuns, Sweep,
    SweepResults, preset, read_predictions, taken_from,
};
use relay_train::StopFlag;

use crate::{
    runs::{Backend, made_at},
    stopping::stopped_by,
};

/// One small task, four updates.
fn tiny(seed: u64) -> Result<Settings, PipelineError> {
    let one = preset("smoke", seed)?.single_task("ari")?;
    let mut overrides = vec![
        "model.d_model=16".to_owned(),
        "evaluation.samples=3".to_owned(),
    ];
    for stage in [
        "looped_aligned",
        "looped_vanilla",
        "ar_baseline",
        "ar_relay",
    ] {
        overrides.push(format!("{stage}.train.steps=4"));
        overrides.push(format!("{stage}.train.checkpoint_every=2"));
        overrides.push(format!("{stage}.train.validate_every=0"));
    }
    one.with(
        &overrides
            .iter()
            .map(|text| text.parse().unwrap())
            .collect::<Vec<_>>(),
    )
}

fn sweep(axes: &[&str], seeds: &[u64]) -> Sweep {
    Sweep {
        axes: axes.iter().map(|axis| axis.parse().unwrap()).collect(),
        seeds: seeds.to_vec(),
    }
}

fn run(runs: &[PlannedRun], arms: &[&str]) -> Result<Vec<Results>, PipelineError> {
    run_with(runs, arms, 1)
}

fn run_with(
    runs: &[PlannedRun],
    arms: &[&str],
    jobs: usize,
) -> Result<Vec<Results>, PipelineError> {
    let several = several(runs, arms, jobs);
    several.run::<Backend>(&Default::default(), &StopFlag::default())
}

fn several(runs: &[PlannedRun], arms: &[&str], jobs: usize) -> SeveralRuns {
    SeveralRuns {
        runs: runs.to_vec(),
        existing: Existing::Resume,
        arms: arms.iter().map(|&arm| arm.to_owned()).collect(),
        reuse: true,
        jobs,
        device: "flex".to_owned(),
    }
}

fn planned(sweep: &Sweep, out: &Path) -> Vec<PlannedRun> {
    sweep
        .runs(out, tiny, |seed, _| format!("run {seed}"))
        .unwrap()
}

#[test]
fn a_sweep_trains_what_its_values_change_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = sweep(&["stage1.lambda=0,1"], &[1]);
    let runs = planned(&sweep, dir.path());
    let results = run(&runs, &[]).unwrap();
    let (first, second) = (&runs[0].dir, &runs[1].dir);
    assert!(second.ends_with("stage1.lambda=1_seed-1"), "{second:?}");
    for (stage, taken) in [
        ("looped_aligned", false),
        ("looped_vanilla", true),
        ("ar_baseline", true),
        ("evaluation/looped_aligned", false),
        ("evaluation/ar_baseline", true),
    ] {
        let from = taken_from(second, stage);
        assert_eq!(
            from.as_deref(),
            taken.then_some("stage1.lambda=0_seed-1"),
            "{stage}"
        );
        assert_eq!(taken_from(first, stage), None);
    }
    assert_eq!(
        results[0].of("ar_baseline", "ari"),
        results[1].of("ar_baseline", "ari")
    );

    let outcomes: Vec<_> = results.iter().cloned().map(Ok).collect();
    let few = sweep.results(&runs, &outcomes[..1], "the command");
    assert!(few.unwrap_err().to_string().contains("outcomes is 1"));
    let swept = sweep.results(&runs, &outcomes, "the command").unwrap();
    // A sweep of more tasks was drawn here before.
    let drawn = |name: &str| dir.path().join("figures").join(name);
    fs::create_dir(dir.path().join("figures")).unwrap();
    for name in ["ed_ar_relay.png", "ar_relay.png", "notes.png"] {
        fs::write(drawn(name), "before").unwrap();
    }
    swept.write(dir.path()).unwrap();
    assert!(drawn("ari_ar_relay.png").exists() && !drawn("ed_ar_relay.png").exists());
    assert!(drawn("ar_relay.png").exists() && drawn("notes.png").exists());
    assert_eq!(
        SweepResults::load(&dir.path().join("sweep.json")).unwrap(),
        swept
    );
    assert_eq!(
        swept.combinations[1].runs[0]
            .reused
            .get("ar_baseline")
            .unwrap(),
        "stage1.lambda=0_seed-1"
    );
    let text = fs::read_to_string(dir.path().join("sweep.md")).unwrap();
    assert!(
        text.contains("| arm | lambda | 6 (trained) | 7 | 8 |"),
        "{text}"
    );
    assert!(text.contains("| AR + RELAY | lambda=1 |"), "{text}");
    let csv = fs::read_to_string(dir.path().join("sweep.csv")).unwrap();
    assert!(csv.starts_with("arm,task,stage1.lambda,measure,length,trained,runs,mean,min,max\n"));
    assert!(csv.contains("ar_relay,ari,1,answer,7,no,1,"), "{csv}");
    let svg = fs::read_to_string(dir.path().join("figures/ari_looped_aligned.svg")).unwrap();
    assert!(svg.contains("lambda=0") && svg.contains("lambda=1"));

    // More values later: what is there is not made again.
    let before = made_at(second, "looped_aligned");
    fs::remove_dir_all(first).unwrap();
    // Of the weights alone its marker knows, and a reader wants this, too: so it is made anew and not taken over.
    let optimizer = second.join("looped_vanilla/step-000000004/optimizer.safetensors");
    let mut bytes = fs::read(&optimizer).unwrap();
    bytes[100] ^= 1;
    fs::write(&optimizer, bytes).unwrap();
    let again = planned(&sweep, dir.path());
    assert_eq!(run(&again, &[]).unwrap()[1].arms, results[1].arms);
    assert_eq!(made_at(second, "looped_aligned"), before);
    assert_eq!(
        taken_from(first, "ar_baseline").as_deref(),
        Some("stage1.lambda=0_seed-1")
    );
    assert_eq!(taken_from(first, "looped_aligned"), None);
    assert_eq!(taken_from(first, "looped_vanilla"), None);
}

#[test]
fn iterations_at_test_time_need_one_training_and_one_arm() {
    let dir = tempfile::tempdir().unwrap();
    let mut sweep = sweep(&["evaluation.predictions=true"], &[1]);
    sweep
        .axes
        .push(relay_pipeline::Axis::loops("-1..1").unwrap());
    let runs = planned(&sweep, dir.path());
    let results = run(&runs, &["looped_aligned"]).unwrap();
    assert_eq!(
        results[0].arms.keys().collect::<Vec<_>>(),
        ["looped_aligned"]
    );
    for (place, planned) in runs.iter().enumerate() {
        assert_eq!(
            taken_from(&planned.dir, "looped_aligned").is_some(),
            place > 0
        );
        assert_eq!(taken_from(&planned.dir, "evaluation/looped_aligned"), None);
        assert!(!planned.dir.join("ar_baseline").exists());
        assert!(!planned.dir.join("chains").exists());
    }
    // A looped model writes as many steps as it has iterations; arithmetic takes one for each operator.
    for (planned, extra) in runs.iter().zip([-1, 0, 1]) {
        let written = read_predictions(&planned.dir, "looped_aligned").unwrap();
        assert!(!written.is_empty());
        for one in written {
            let expected = (one.length as i64 + extra).max(1);
            assert_eq!(one.steps.len() as i64, expected, "{one:?}");
        }
    }

    let error = run(&runs, &["ar_self"]).unwrap_err();
    assert!(
        error.is_usage() && error.to_string().contains("looped_aligned"),
        "{error}"
    );

    // An arm that is asked for later joins what is there.
    let results = run(&runs[..1], &["ar_relay"]).unwrap();
    assert_eq!(
        results[0].arms.keys().collect::<Vec<_>>(),
        ["looped_aligned", "ar_relay"]
    );
}

#[test]
fn a_run_that_fails_does_not_keep_the_others_from_being_made() {
    for jobs in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let sweep = sweep(&["stage1.lambda=0,1,2"], &[1]);
        let runs = planned(&sweep, dir.path());
        // A file where a stage wants its directory.
        drop(RunDir::open(&runs[1].dir, &runs[1].settings, Existing::Refuse).unwrap());
        let in_the_way = runs[1].dir.join("looped_aligned");
        fs::write(&in_the_way, "").unwrap();
        let several = several(&runs, &["looped_aligned"], jobs);
        let made = || several.run_each::<Backend>(&Default::default(), &StopFlag::default());
        let outcomes = made().unwrap();
        assert_eq!(
            outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true]
        );
        let swept = sweep.results(&runs, &outcomes, "the command").unwrap();
        let failed = &swept.combinations[1].failed[0];
        assert!(failed.reason.contains("looped_aligned"), "{failed:?}");
        swept.write(dir.path()).unwrap();
        let read = SweepResults::load(&dir.path().join("sweep.json")).unwrap();
        assert_eq!(read, swept);
        let text = swept.markdown();
        let says = [
            "| arm | lambda | 6 (trained) | 7 | 8 |",
            "| Looped, aligned | lambda=1 | - | - | - |",
            "- `stage1.lambda=1_seed-1`: ",
        ];
        assert!(says.iter().all(|part| text.contains(part)), "{text}");
        // Whoever wants them all is told.
        assert!(run(&runs, &["looped_aligned"]).is_err());
        fs::remove_file(in_the_way).unwrap();
        let outcomes = made().unwrap();
        let swept = sweep.results(&runs, &outcomes, "the command").unwrap();
        assert!(swept.combinations.iter().all(|one| one.failed.is_empty()));
    }
}

#[test]
fn directories_of_runs_are_different_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut runs = planned(&sweep(&[], &[1, 2]), dir.path());
    runs[1].dir = runs[0].dir.clone();
    let error = run(&runs, &[]).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(
        error.to_string().contains("seed-1, that of two runs"),
        "{error}"
    );
}

#[test]
fn runs_side_by_side_share_what_is_made_from_the_same() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sweep = sweep(&["stage1.lambda=0,1,2"], &[1]);
    let arms = ["looped_aligned", "ar_baseline"];
    let expected = run(&planned(&sweep, one.path()), &arms).unwrap();
    let runs = planned(&sweep, many.path());
    let results = run_with(&runs, &arms, 3).unwrap();
    for (own, expected) in results.iter().zip(&expected) {
        assert_eq!(own.arms, expected.arms);
    }
    // Whoever came first made the baseline; the others took it over.
    let took = |stage: &str| {
        let runs = runs.iter();
        runs.filter(|run| taken_from(&run.dir, stage).is_some())
            .count()
    };
    assert_eq!(took("ar_baseline"), 2);
    assert_eq!(took("looped_aligned"), 0);
}

#[test]
fn several_seeds_stop_when_asked_and_go_on() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Enough updates for the stop to come among them.
    let longer = |seed| tiny(seed)?.with(&["ar_baseline.train.steps=40".parse().unwrap()]);
    let planned = |out| {
        let seeds = sweep(&[], &[1, 2]);
        seeds.runs(out, longer, |seed, _| format!("run {seed}"))
    };
    let expected = run(&planned(whole.path()).unwrap(), &["ar_baseline"]).unwrap();
    let runs = planned(dir.path()).unwrap();
    assert!(runs[1].dir.ends_with("seed-2"));
    let stopped = SeveralRuns {
        runs: runs.clone(),
        existing: Existing::Resume,
        arms: vec!["ar_baseline".to_owned()],
        reuse: false,
        jobs: 2,
        device: "flex".to_owned(),
    };
    let stop = StopFlag::default();
    let checkpoint = runs[0].dir.join("ar_baseline/step-000000002");
    let error = stopped_by(&checkpoint, &stop, || {
        let outcome = stopped.run::<Backend>(&Default::default(), &stop);
        outcome.unwrap_err()
    });
    assert!(error.is_interrupted(), "{error}");
    assert!(!runs[0].dir.join("ar_baseline/done.json").exists());
    let results = run(&runs, &["ar_baseline"]).unwrap();
    for (own, expected) in results.iter().zip(&expected) {
        assert_eq!(own.arms, expected.arms);
    }
    let all = Aggregate::of_runs(&results).unwrap();
    let answer = all.of("ar_baseline", "ari")[0].answer.clone().unwrap();
    let values: Vec<f64> = answer.runs.iter().map(|run| run.value).collect();
    assert_eq!(answer.mean, (values[0] + values[1]) / 2.0);
    assert_eq!(
        all.runs.iter().map(|run| run.seed).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn nothing_is_trained_before_a_run_that_will_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let runs = planned(&sweep(&[], &[1, 2]), dir.path());
    let other = tiny(3).unwrap();
    drop(RunDir::open(&runs[1].dir, &other, Existing::Refuse).unwrap());
    let error = run(&runs, &[]).unwrap_err();
    let said = error.to_string();
    assert!(
        error.is_usage() && said.contains("seed-2") && said.contains("seed is 3"),
        "{said}"
    );
    assert!(!runs[0].dir.exists());
}
