//! Every number that a claim reads, just at the border of its rule and just beyond.

use relay_pipeline::{LengthResult, Results, RightTokens, Verdict, judge};

/// Problems of a length; tokens of their chains.
const N: u64 = 400;
const TOKENS: u64 = 1000;

/// Right answers at lengths 1 and 2, which are trained on, and at 3 and 4.
const ARMS: [(&str, [u64; 4]); 6] = [
    ("looped_aligned", [N; 4]),
    ("looped_vanilla", [N; 4]),
    ("ar_baseline", [N, N, 100, 100]),
    ("ar_relay", [N; 4]),
    ("ar_self_loop", [N, N, 100, 100]),
    ("ar_self_truth", [N, N, 100, 100]),
];

/// What makes a run another than one of which every claim holds: right answers or tokens of an arm at a length, a cell of its
/// hit matrix, or that it is missing.
#[derive(Clone, Copy)]
enum Change {
    Answers(&'static str, usize, u64),
    Tokens(&'static str, usize, u64),
    Cell(&'static str, usize, usize, f64),
    Missing(&'static str),
}

use Change::{Answers, Cell, Missing, Tokens};

fn run(changes: &[Change]) -> Results {
    let mut results = Results::new("mini", 1, "flex");
    results.train_lengths.insert("lis", [1, 2]);
    let there = |(arm, _): &(&str, _)| {
        let missing = |change: &Change| matches!(change, Missing(of) if of == arm);
        !changes.iter().any(missing)
    };
    for (arm, answers) in ARMS.into_iter().filter(there) {
        for (length, mut right) in (1..).zip(answers) {
            let mut tokens = TOKENS;
            for change in changes {
                match *change {
                    Answers(of, at, number) if (of, at) == (arm, length) => right = number,
                    Tokens(of, at, number) if (of, at) == (arm, length) => tokens = number,
                    _ => {}
                }
            }
            let counts = RightTokens {
                right_chains: right,
                right_tokens: tokens,
                tokens: TOKENS,
            };
            results.add(
                arm,
                "lis",
                LengthResult::from_counts(length, N, right, Some(counts)),
            );
        }
    }
    let whole = vec![vec![Some(1.0); 4]; 3];
    let mut decaying = whole.clone();
    decaying[2][..3].fill(Some(0.5));
    for (arm, mut matrix) in [("looped_aligned", whole), ("ar_baseline", decaying)] {
        for change in changes {
            match *change {
                Cell(of, row, column, share) if of == arm => matrix[row][column] = Some(share),
                _ => {}
            }
        }
        results.add_hit_matrix(arm, "lis", 4, N, matrix);
    }
    results
}

fn verdict(claim: &str, changes: &[Change]) -> Verdict {
    let claims = judge(&run(changes));
    claims
        .into_iter()
        .find(|one| one.id == claim)
        .unwrap()
        .verdict
}

#[test]
fn every_claim_holds_at_first() {
    let claims = judge(&run(&[]));
    assert_eq!(claims.len(), 12);
    for claim in claims {
        assert_eq!(claim.verdict, Verdict::Holds, "{}", claim.id);
    }
}

#[test]
fn each_number_of_a_claim_can_contradict_it() {
    let mut cases = Vec::new();
    for arm in ["looped_aligned", "looped_vanilla", "ar_baseline"] {
        for length in [1, 2] {
            let of = |right| vec![Answers(arm, length, right)];
            cases.push(("inside", of(396), of(395)));
        }
    }
    // On average inside, and at the longest length.
    let inside = |right| {
        vec![
            Answers("ar_baseline", 1, 350),
            Answers("ar_baseline", 2, right),
        ]
    };
    cases.push(("ar_falls_off", inside(370), inside(369)));
    let longest = |right| vec![Answers("ar_baseline", 4, right)];
    cases.push(("ar_falls_off", longest(199), longest(200)));
    for (arm, claim) in [
        ("looped_aligned", "looped_aligned_holds"),
        ("looped_vanilla", "looped_vanilla_holds"),
    ] {
        for length in [3, 4] {
            let of = |right| vec![Answers(arm, length, right)];
            cases.push((claim, of(360), of(359)));
        }
        // As good as the baseline, which is not better.
        let of = |right| vec![Answers(arm, 3, right), Answers(arm, 4, right)];
        cases.push(("looped_beats_ar", of(200), of(100)));
    }
    let below = |right| vec![Answers("looped_aligned", 3, right)];
    cases.push(("aligned_above_vanilla", below(392), below(391)));
    for length in 1..=4 {
        let of = |right| vec![Answers("ar_relay", length, right)];
        cases.push(("relay_close", of(380), of(379)));
    }
    let gain = |right| vec![Answers("ar_relay", 3, right), Answers("ar_relay", 4, right)];
    cases.push(("relay_beats_baseline", gain(200), gain(100)));
    // RELAY gains 600 of 800.
    for arm in ["ar_self_loop", "ar_self_truth"] {
        let of = |right| vec![Answers(arm, 3, 250), Answers(arm, 4, right)];
        cases.push(("self_chains_slight", of(249), of(250)));
    }
    for arm in ["looped_aligned", "ar_relay"] {
        for length in [3, 4] {
            let of = |right| vec![Tokens(arm, length, right)];
            cases.push(("bits_hold", of(900), of(899)));
        }
    }
    for (row, column) in [(0, 0), (1, 2), (2, 3)] {
        let of = |share| vec![Cell("looped_aligned", row, column, share)];
        cases.push(("hits_looped", of(0.95), of(0.949)));
    }
    let last = |share| {
        (0..3)
            .map(|column| Cell("ar_baseline", 2, column, share))
            .collect()
    };
    cases.push(("hits_ar_decay", last(0.9), last(0.901)));
    let end = |share| vec![Cell("ar_baseline", 1, 3, share)];
    cases.push(("hits_ar_decay", end(0.9), end(0.899)));
    for (number, (claim, border, beyond)) in cases.into_iter().enumerate() {
        let what = format!("{claim}, case {number}");
        assert_eq!(verdict(claim, &border), Verdict::Holds, "{what}");
        assert_eq!(verdict(claim, &beyond), Verdict::DoesNotHold, "{what}");
    }
}

/// What is not measured decides nothing, but for what is measured and contradicts.
#[test]
fn a_missing_arm_leaves_its_claims_undecided() {
    for (arm, claims) in [
        ("looped_vanilla", ["inside", "looped_vanilla_holds"]),
        ("ar_relay", ["relay_close", "bits_hold"]),
        ("ar_self_loop", ["self_chains_slight"; 2]),
    ] {
        for claim in judge(&run(&[Missing(arm)])) {
            let missing = claims.contains(&claim.id.as_str());
            if missing {
                assert_eq!(
                    claim.verdict,
                    Verdict::NotDecided,
                    "{} without {arm}",
                    claim.id
                );
            }
            assert_ne!(
                claim.verdict,
                Verdict::DoesNotHold,
                "{} without {arm}",
                claim.id
            );
        }
    }
}
