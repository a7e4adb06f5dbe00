//! The report from made-up results that look like the paper's.

use std::{fs, path::Path};

use relay_pipeline::{
    LengthResult, Results, RightTokens, StageCost, Verdict, judge, table, write_report,
};

const N: u64 = 400;

/// Looped arms hold, the baseline falls off, RELAY lifts it up.
fn like_the_paper() -> Results {
    let mut results = Results::new("mini", 3, "flex");
    results.command = "multitask_relay --preset mini --run-dir <runs> & \"more\"".to_owned();
    results.settings = serde_json::json!({"d_model": 64, "note": "<script>alert('no')</script>"});
    for (task, train, longest) in [("ari", [1, 5], 7), ("ed", [2, 6], 8), ("lis", [5, 15], 20)] {
        results.train_lengths.insert(task, train);
        for (arm, writes, inside, decay) in [
            ("looped_aligned", true, 0.999, 0.006),
            ("looped_vanilla", false, 0.996, 0.03),
            ("ar_baseline", true, 0.994, 0.40),
            ("ar_relay", true, 0.997, 0.01),
        ] {
            for length in train[0]..=longest {
                let over =
                    length.saturating_sub(train[1]) as f64 * if task == "lis" { 0.4 } else { 1.0 };
                let right = ((inside - decay * over).max(0.03) * N as f64) as u64;
                let bits = ((inside - decay * over / 3.0).max(0.2) * 20.0 * N as f64) as u64;
                let counts = RightTokens {
                    right_chains: right * 9 / 10,
                    right_tokens: bits,
                    tokens: 20 * N,
                };
                results.add(
                    arm,
                    task,
                    LengthResult::from_counts(length, N, right, writes.then_some(counts)),
                );
            }
        }
    }
    for (stage, seconds) in [
        ("looped_aligned", 612.0),
        ("chains", 12.0),
        ("ar_relay", 241.5),
        ("evaluate", 33.0),
    ] {
        results.seconds.insert(stage, seconds);
    }
    let cost = StageCost {
        updates: Some(12_345),
        samples: Some(1_234_567),
        seconds: 612.0,
        ..StageCost::default()
    };
    results.cost.insert("looped_aligned", cost);
    for (arm, decay) in [("looped_aligned", 0.004), ("ar_baseline", 0.21)] {
        results.add_hit_matrix(arm, "lis", 20, N, matrix(4, 6, decay));
    }
    results
}

fn matrix(steps: usize, columns: usize, decay: f64) -> Vec<Vec<Option<f64>>> {
    let cell = |step: usize, column: usize| match column + 1 == columns {
        true => 1.0 - decay * 0.01 * step as f64,
        false => (1.0 - decay * (step as f64 + 0.1 * column as f64)).max(0.02),
    };
    (0..steps)
        .map(|step| {
            (0..columns)
                .map(|column| Some(cell(step, column)))
                .collect()
        })
        .collect()
}

fn verdict(results: &Results, id: &str) -> Verdict {
    judge(results)
        .into_iter()
        .find(|claim| claim.id == id)
        .unwrap()
        .verdict
}

/// A reader of comma-separated values, quotes included.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => field.push(chars.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                c => field.push(c),
            }
        }
        fields.push(field);
        rows.push(fields);
    }
    rows
}

#[test]
fn writes_all_files() {
    let scratch = tempfile::tempdir().unwrap();
    let kept = std::env::var("RELAY_REPORT_DIR").ok();
    let dir = kept.as_deref().map_or(scratch.path(), Path::new);
    let results = like_the_paper();
    // A matrix of another length, from before the settings changed.
    let mut before = results.clone();
    before.add_hit_matrix("ar_baseline", "lis", 19, N, matrix(4, 6, 0.2));
    write_report(&before, dir).unwrap();
    assert!(dir.join("figures/hit_matrix_lis_19.svg").exists());
    let written = write_report(&results, dir).unwrap();
    for name in [
        "answer_accuracy",
        "bit_accuracy",
        "chain_accuracy",
        "hit_matrix_lis_20",
    ] {
        for kind in ["svg", "png", "csv"] {
            let path = dir.join("figures").join(format!("{name}.{kind}"));
            assert!(
                written.contains(&path) && fs::metadata(&path).unwrap().len() > 200,
                "{}",
                path.display()
            );
        }
    }
    assert_eq!(written.len(), 14);
    assert!(
        fs::read_dir(dir.join("figures")).unwrap().count() == 12,
        "nothing is left beside the figures"
    );
    let png = fs::read(dir.join("figures/hit_matrix_lis_20.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");

    let read = Results::load(&dir.join("results.json")).unwrap();
    assert!(
        read.claims == judge(&results),
        "claims change on their way through the file"
    );
    assert_eq!(read.arms, results.arms);

    let table = rows(&fs::read_to_string(dir.join("figures/answer_accuracy.csv")).unwrap());
    assert_eq!(
        table[0],
        [
            "task", "arm", "length", "trained", "n", "share", "low", "high"
        ]
    );
    assert_eq!(table.len(), 1 + 4 * (7 + 7 + 16));
    assert!(
        table[1..]
            .iter()
            .all(|row| row.len() == 8 && row[5..].iter().all(|x| x.parse::<f64>().is_ok()))
    );
    let cells = rows(&fs::read_to_string(dir.join("figures/hit_matrix_lis_20.csv")).unwrap());
    assert_eq!(cells.len(), 1 + 2 * 4 * 6);
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = like_the_paper();
    results.add(
        "mine <b>, \"own\"",
        "ari",
        LengthResult::from_counts(6, 10, 4, None),
    );
    write_report(&results, dir.path()).unwrap();
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(&#39;no&#39;)"));
    assert!(page.contains("--run-dir &lt;runs&gt; &amp; &quot;more&quot;"));
    assert!(!page.contains("<b>,") && page.contains("mine &lt;b&gt;"));
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("url("));
    for part in [
        "1,234,567",
        "Of 12 claims, 11 hold",
        "10.2",
        "seed",
        "Longest increasing subsequence",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    let table = rows(&fs::read_to_string(dir.path().join("figures/answer_accuracy.csv")).unwrap());
    assert!(table.iter().any(|row| row[1] == "mine <b>, \"own\""));
}

#[test]
fn claims_follow_the_numbers() {
    let results = like_the_paper();
    for id in [
        "inside",
        "ar_falls_off",
        "looped_aligned_holds",
        "looped_beats_ar",
        "aligned_above_vanilla",
    ] {
        assert_eq!(verdict(&results, id), Verdict::Holds, "{id}");
    }
    for id in [
        "relay_close",
        "relay_beats_baseline",
        "bits_hold",
        "hits_looped",
        "hits_ar_decay",
    ] {
        assert_eq!(verdict(&results, id), Verdict::Holds, "{id}");
    }
    assert_eq!(verdict(&results, "self_chains_slight"), Verdict::NotDecided);

    let mut worse = results.clone();
    worse.add(
        "ar_relay",
        "ed",
        LengthResult::from_counts(9, N, N / 2, None),
    );
    worse.add(
        "looped_aligned",
        "ed",
        LengthResult::from_counts(9, N, N * 8 / 10, None),
    );
    worse.add_hit_matrix("ar_baseline", "lis", 20, N, matrix(4, 6, 0.0));
    for id in ["relay_close", "looped_aligned_holds", "hits_ar_decay"] {
        assert_eq!(verdict(&worse, id), Verdict::DoesNotHold, "{id}");
    }
    // Where RELAY gains nothing there is no half of its gain; where it gains, half of it is too much.
    let beyond = |relay: u64, own: u64| {
        let mut results = Results::new("mini", 3, "flex");
        results.train_lengths.insert("ari", [1, 5]);
        for (arm, right) in [
            ("ar_baseline", N / 2),
            ("ar_relay", relay),
            ("ar_self_loop", own),
            ("ar_self_truth", own),
        ] {
            results.add(arm, "ari", LengthResult::from_counts(6, N, right, None));
        }
        verdict(&results, "self_chains_slight")
    };
    assert_eq!(beyond(N / 2, N / 2), Verdict::NotDecided);
    assert_eq!(beyond(N / 2 - 8, N / 2 - 6), Verdict::NotDecided);
    assert_eq!(beyond(N, N / 2), Verdict::Holds);
    assert_eq!(beyond(N, N * 3 / 4), Verdict::DoesNotHold);
    // Better, but not by more than chance; and no better.
    let gain = |relay| {
        let mut results = Results::new("mini", 3, "flex");
        results.train_lengths.insert("ari", [1, 5]);
        for (arm, right) in [("ar_baseline", N / 2), ("ar_relay", relay)] {
            results.add(arm, "ari", LengthResult::from_counts(6, N, right, None));
        }
        verdict(&results, "relay_beats_baseline")
    };
    assert_eq!(gain(N / 2 + 1), Verdict::NotDecided);
    assert_eq!(gain(N / 2), Verdict::DoesNotHold);
    assert_eq!(gain(N), Verdict::Holds);
    let empty = Results::new("smoke", 1, "flex");
    assert!(
        judge(&empty)
            .iter()
            .all(|claim| claim.verdict == Verdict::NotDecided)
    );
}

#[test]
fn a_last_column_that_ends_no_step_is_not_judged_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = like_the_paper();
    for (ends, verdict_on_decay) in [(true, Verdict::Holds), (false, Verdict::NotDecided)] {
        results.hit_matrices[0].step_end = ends;
        assert_eq!(verdict(&results, "hits_ar_decay"), verdict_on_decay);
        assert_eq!(verdict(&results, "hits_looped"), Verdict::Holds);
        write_report(&results, dir.path()).unwrap();
        let drawing = dir.path().join("figures/hit_matrix_lis_20.svg");
        let drawing = fs::read_to_string(drawing).unwrap();
        assert_eq!(drawing.contains("\nend\n"), ends);
        let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
        assert_eq!(page.contains("The last column is the step&#39;s end"), ends);
    }
}

#[test]
fn how_numbers_are_rounded_decides_no_verdict() {
    let results = |counts: &[(&str, u64)]| {
        let mut results = Results::new("mini", 3, "flex");
        results.train_lengths.insert("lis", [1, 5]);
        for &(arm, right) in counts {
            results.add(arm, "lis", LengthResult::from_counts(6, N, right, None));
        }
        results
    };
    // Just 1 point below, which is still equal.
    let near = results(&[("looped_aligned", 1), ("looped_vanilla", 5)]);
    assert_eq!(verdict(&near, "aligned_above_vanilla"), Verdict::Holds);
    // Just half of what RELAY gains, which is not less than half; and a gain of just 1 point, which is none.
    let rivals = |relay, own| {
        let own = [("ar_self_loop", own), ("ar_self_truth", own)];
        let counts = [&[("ar_baseline", 1), ("ar_relay", relay)], &own[..]].concat();
        verdict(&results(&counts), "self_chains_slight")
    };
    assert_eq!(rivals(7, 4), Verdict::DoesNotHold);
    assert_eq!(rivals(7, 3), Verdict::Holds);
    assert!((1..N - 4).all(|base| {
        let counts = ["ar_baseline", "ar_self_loop", "ar_self_truth"].map(|arm| (arm, base));
        let counts = [&counts[..], &[("ar_relay", base + 4)]].concat();
        verdict(&results(&counts), "self_chains_slight") == Verdict::NotDecided
    }));
    // Just 10 points from the first to the last step.
    let mut decayed = results(&[]);
    let rows = [0.9, 0.8].map(|share| vec![Some(share), Some(1.0)]);
    decayed.add_hit_matrix("ar_baseline", "lis", 6, N, rows.to_vec());
    assert_eq!(verdict(&decayed, "hits_ar_decay"), Verdict::Holds);
}

#[test]
fn empty_and_odd_results_still_report() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = Results::new("own data", 1, "ndarray");
    write_report(&results, dir.path()).unwrap();
    // One arm, one length, unknown training lengths, a hit matrix with holes.
    results.add(
        "looped_aligned",
        "own",
        LengthResult::from_counts(3, 5, 5, Some(RightTokens::default())),
    );
    let holes = vec![vec![None, Some(1.0)], vec![Some(0.0)], vec![]];
    results.add_hit_matrix("looped_aligned", "own", 3, 5, holes);
    write_report(&results, dir.path()).unwrap();
    assert!(table(&results).contains("100.0"));
    assert!(Results::load(&dir.path().join("results.json")).is_ok());
}

#[test]
fn a_figure_too_large_for_a_png_has_the_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = Results::new("own data", 1, "flex");
    results.add_hit_matrix("ar_relay", "own", 60, N, matrix(60, 60, 0.001));
    // More dots than a number of 32 bits can count, and few cells to draw.
    let mut huge = vec![vec![None]; 120];
    huge[0] = vec![None; 2_200];
    results.add_hit_matrix("ar_relay", "own", 61, N, huge);
    let written = write_report(&results, dir.path()).unwrap();
    assert!(
        !written
            .iter()
            .any(|path| path.extension().is_some_and(|kind| kind == "png"))
    );
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    for length in [60, 61] {
        let name = format!("figures/hit_matrix_own_{length}");
        for (kind, there) in [("svg", true), ("png", false), ("csv", true)] {
            let file = format!("{name}.{kind}");
            assert_eq!(dir.path().join(&file).exists(), there, "{file}");
            assert_eq!(page.contains(&file), there, "{file}");
        }
    }
    let figures = relay_pipeline::figures(&results);
    let error = figures[0].write_png(&dir.path().join("x.png")).unwrap_err();
    assert!(error.to_string().contains("dots"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    fs::write(&taken, "a file").unwrap();
    let message = write_report(&like_the_paper(), &taken)
        .unwrap_err()
        .to_string();
    assert!(message.contains("taken"), "{message}");
}
