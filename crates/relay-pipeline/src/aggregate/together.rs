//! Runs of several seeds as one: the problems of all of them together, so that their intervals are those of so many problems.

use super::{Aggregate, Spread, each_once};
use crate::{
    HitMatrices, HitMatrix, Machine, OrderedMap, Results, SCHEMA, StageCost, judge,
    length_result::rounded,
};

/// What the `runs` measured as the results of one run, of which the claims are judged. Counts are added up; of what a stage
/// cost it is the mean over the runs that have the stage.
pub(super) fn together(aggregate: &Aggregate, first: &Results, runs: &[Results]) -> Results {
    let mut all = Results {
        schema: SCHEMA,
        preset: first.preset.clone(),
        device: first.device.clone(),
        version: first.version.clone(),
        machine: first.machine.clone(),
        train_lengths: first.train_lengths.clone(),
        ..Results::default()
    };
    for (arm, tasks) in aggregate.arms.iter() {
        for (task, lengths) in tasks.iter() {
            for at in lengths {
                all.add(arm, task, at.as_one(Spread::pooled));
            }
        }
    }
    add_costs(&mut all, runs);
    for run in runs {
        for (stage, counts) in run.written_chains.iter() {
            let sums = all.written_chains.entry_or_default(stage);
            for (at, count) in counts {
                *sums.entry(at.clone()).or_default() += count;
            }
        }
        for (arm, tasks) in run.forensics.iter() {
            let sums = all.forensics.entry_or_default(arm);
            for (task, forensics) in tasks.iter() {
                *sums.entry_or_default(task) += forensics;
            }
        }
    }
    add_hit_matrices(&mut all, runs);
    name_machines(&mut all, runs);
    all.claims = judge(&arms_of_all(&all, runs));
    all
}

/// What is judged: arms that only some of the runs have would be compared with others on other seeds.
fn arms_of_all(all: &Results, runs: &[Results]) -> Results {
    let mut common = all.clone();
    common
        .arms
        .retain(|arm| runs.iter().all(|run| run.arms.get(arm).is_some()));
    let measured: Vec<String> = common.arms.keys().map(str::to_owned).collect();
    for matrices in &mut common.hit_matrices {
        matrices
            .arms
            .retain(|arm| measured.iter().any(|own| own == arm));
    }
    common
}

/// The machines and devices that differ from those of the first run, and which seeds' stages they made.
fn name_machines(all: &mut Results, runs: &[Results]) {
    for run in runs {
        let own = Machine {
            device: match run.device == all.device {
                true => String::new(),
                false => run.device.clone(),
            },
            ..run.machine.clone()
        };
        if own != all.machine {
            all.other_machines.insert(format!("seed {}", run.seed), own);
        }
        for machine in each_once(run.other_machines.values()) {
            let others = run.other_machines.iter();
            let made: Vec<&str> = others
                .filter(|(_, other)| *other == machine)
                .map(|(stage, _)| stage)
                .collect();
            let stages = match made.as_slice() {
                [first, more @ ..] if more.len() > 1 => {
                    format!("{first} and {} other stages", more.len())
                }
                few => few.join(" and "),
            };
            let whose = format!("{stages} of seed {}", run.seed);
            all.other_machines.insert(whose, machine.clone());
        }
    }
}

fn add_costs(all: &mut Results, runs: &[Results]) {
    let mut costs = OrderedMap::<Vec<StageCost>>::new();
    for run in runs {
        for stage in run.seconds.keys() {
            costs.entry_or_default(stage).push(run.cost_of(stage));
        }
    }
    for (stage, costs) in costs.iter() {
        let mean = StageCost::mean(costs);
        all.seconds.insert(stage, mean.seconds);
        all.cost.insert(stage, mean);
    }
}

fn add_hit_matrices(all: &mut Results, runs: &[Results]) {
    let measured = || runs.iter().flat_map(|run| &run.hit_matrices);
    for matrices in measured() {
        let same = |other: &&HitMatrices| {
            (other.task.as_str(), other.length) == (matrices.task.as_str(), matrices.length)
        };
        if all.hit_matrices.iter().any(|known| same(&known)) {
            continue;
        }
        let alike: Vec<&HitMatrices> = measured().filter(same).collect();
        let mut arms = OrderedMap::new();
        for arm in each_once(alike.iter().flat_map(|one| one.arms.keys())) {
            let each: Vec<(u64, &HitMatrix)> = alike
                .iter()
                .filter_map(|one| Some((one.n, one.arms.get(arm)?)))
                .collect();
            arms.insert(arm, mean_matrix(&each));
        }
        all.hit_matrices.push(HitMatrices {
            n: alike.iter().map(|one| one.n).sum(),
            arms,
            ..matrices.clone()
        });
    }
}

/// The mean of each cell over the matrices that have it, each with the weight of its problems. How many of these have a token in the
/// cell a matrix does not tell; it is all of them where the steps of a length are equally wide.
fn mean_matrix(each: &[(u64, &HitMatrix)]) -> HitMatrix {
    let rows = each.iter().map(|(_, matrix)| matrix.len()).max();
    let cell = |row: usize, column: usize| {
        let known = each.iter().filter_map(|(n, matrix)| {
            let share = (*matrix.get(row)?.get(column)?)?;
            Some((*n as f64, share))
        });
        let (n, right) = known.fold((0.0, 0.0), |(n, right), (own, share)| {
            (n + own, right + own * share)
        });
        (n > 0.0).then(|| rounded(right / n))
    };
    let columns = |row: usize| {
        let widths = each.iter().filter_map(|(_, matrix)| matrix.get(row));
        widths.map(Vec::len).max().unwrap_or(0)
    };
    (0..rows.unwrap_or(0))
        .map(|row| (0..columns(row)).map(|column| cell(row, column)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        Aggregate, ChainForensics, ChainYield, LengthResult, Machine, Results, StageCost, Verdict,
    };

    /// A run whose baseline answers `right` of 100 problems of a longer length, and all of its training length.
    fn run(seed: u64, right: u64) -> Results {
        let mut results = Results::new("mini", seed, "flex");
        results.train_lengths.insert("ari", [1, 1]);
        for (length, right) in [(1, 100), (2, right)] {
            let result = LengthResult::from_counts(length, 100, right, None);
            results.add("ar_baseline", "ari", result);
        }
        results.seconds.insert("ar_baseline", 60.0 * right as f64);
        let cost = StageCost {
            updates: Some(10),
            flops: Some(right as f64),
            seconds: 60.0 * right as f64,
            ..StageCost::default()
        };
        results.cost.insert("ar_baseline", cost);
        results
    }

    #[test]
    fn counts_add_up_and_costs_are_means() {
        let mut runs = [run(1, 20), run(2, 60)];
        for (run, share) in runs.iter_mut().zip([0.5, 1.0]) {
            let matrix = vec![vec![None, Some(share)], vec![Some(share)]];
            run.add_hit_matrix("ar_baseline", "ari", 2, 100, matrix);
            let count = ChainYield {
                wanted: 10,
                kept: 8,
                right: Some(4),
                ..ChainYield::default()
            };
            let counts = [("ari 2".to_owned(), count)].into();
            run.written_chains.insert("chains", counts);
            let found = ChainForensics {
                chains: 100,
                first_wrong: [(2, 7)].into(),
                ..ChainForensics::default()
            };
            let arm = run.forensics.entry_or_default("ar_baseline");
            arm.entry_or_default("ari").by_length.insert(2, found);
        }
        let all = Aggregate::of_runs(&runs).unwrap().together.unwrap();
        let at = all.of("ar_baseline", "ari")[1];
        assert_eq!((at.n, at.answer_accuracy), (200, 0.4));
        assert_eq!(at, LengthResult::from_counts(2, 200, 80, None));
        let cost = all.cost.get("ar_baseline").unwrap();
        assert_eq!((cost.updates, cost.flops), (Some(10), Some(40.0)));
        assert_eq!(all.seconds.get("ar_baseline"), Some(&2400.0));
        let matrices = &all.hit_matrices[0];
        let cells = matrices.arms.get("ar_baseline").unwrap();
        assert_eq!((all.hit_matrices.len(), matrices.n), (1, 200));
        assert_eq!(cells, &[vec![None, Some(0.75)], vec![Some(0.75)]]);
        let written = &all.written_chains.get("chains").unwrap()["ari 2"];
        assert_eq!((written.kept, written.right), (16, Some(8)));
        let found = all.forensics_of("ar_baseline", "ari").unwrap();
        assert_eq!(found.by_length[&2].wrong_chains(), 14);
        let falls = all.claims.iter().find(|claim| claim.id == "ar_falls_off");
        assert_eq!(falls.unwrap().verdict, Verdict::Holds);
    }

    /// A run whose looped models answer so many of 400 problems of a longer length.
    fn looped(seed: u64, [aligned, vanilla]: [u64; 2]) -> Results {
        let mut results = run(seed, 20);
        for (arm, right) in [("looped_aligned", aligned), ("looped_vanilla", vanilla)] {
            let longer = LengthResult::from_counts(2, 400, right, None);
            results.add(arm, "ari", longer);
        }
        results
    }

    #[test]
    fn an_arm_that_a_run_lacks_is_not_compared_with_those_on_other_seeds() {
        let mut runs = [1, 2].map(|seed| looped(seed, [200, 390]));
        let claim = |runs: &[Results]| {
            let all = Aggregate::of_runs(runs).unwrap().together.unwrap();
            let mut claims = all.claims.into_iter();
            claims
                .find(|claim| claim.id == "aligned_above_vanilla")
                .unwrap()
                .verdict
        };
        assert_eq!(claim(&runs), Verdict::DoesNotHold);
        runs[1].arms.retain(|arm| arm != "looped_vanilla");
        assert_eq!(claim(&runs), Verdict::NotDecided);
        let of_hits = |runs: &[Results]| {
            let all = Aggregate::of_runs(runs).unwrap().together.unwrap();
            let mut claims = all.claims.into_iter();
            claims
                .find(|claim| claim.id == "hits_looped")
                .unwrap()
                .verdict
        };
        let mut runs = [1, 2].map(|seed| looped(seed, [200, 390]));
        runs[0].add_hit_matrix("looped_aligned", "ari", 2, 100, vec![vec![Some(1.0)]]);
        assert_eq!(of_hits(&runs), Verdict::Holds);
        runs[1].arms.retain(|arm| arm != "looped_aligned");
        assert_eq!(of_hits(&runs), Verdict::NotDecided);
    }

    #[test]
    fn other_machines_and_devices_are_named_with_their_seeds() {
        let machine = |cpu: &str| Machine {
            cpu: cpu.to_owned(),
            ..Machine::default()
        };
        let mut runs = [run(1, 20), run(2, 20), run(3, 20)];
        for one in &mut runs {
            one.machine = machine("one");
        }
        runs[1].other_machines.insert("chains", machine("two"));
        for stage in ["looped_aligned", "merged", "ar_relay"] {
            runs[1].other_machines.insert(stage, machine("three"));
        }
        runs[2].device = "cuda".to_owned();
        let all = Aggregate::of_runs(&runs).unwrap().together.unwrap();
        let others = all.other_machines.iter();
        let others: Vec<_> = others
            .map(|(whose, other)| format!("{whose}: {other}"))
            .collect();
        assert_eq!(
            others,
            [
                "chains of seed 2: two",
                "looped_aligned and 2 other stages of seed 2: three",
                "seed 3: one, cuda",
            ]
        );
    }

    #[test]
    fn several_seeds_have_a_page_and_the_figures_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let all = Aggregate::of_runs(&[run(1, 20), run(2, 60)]).unwrap();
        let written = all.write(dir.path()).unwrap();
        let page = dir.path().join("report.html");
        assert!(written.contains(&page), "{written:?}");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("preset mini, seeds 1, 2 together"), "{page}");
        assert!(dir.path().join("figures/accuracy_by_compute.svg").is_file());
        let mine = dir.path().join("figures/notes.svg");
        std::fs::write(&mine, "mine").unwrap();
        // Of one seed alone there is no such page, and that of before is of others.
        let one = Aggregate::of_runs(&[run(1, 20)]).unwrap();
        assert_eq!(one.together, None);
        one.write(dir.path()).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        assert!(!there("report.html") && !there("figures/accuracy_by_compute.svg"));
        assert!(there("figures/answer_accuracy.svg") && mine.exists());
    }
}
