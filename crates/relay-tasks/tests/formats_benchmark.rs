//! The text files of the benchmark, in and out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use relay_tasks::{
    ArithmeticConfig, BenchmarkLine, BenchmarkReader, BenchmarkWriter, LisConfig, LisValues,
    Problem, Result, Split, StepOrder, Task, TaskConfig, read_benchmark_line, write_benchmark_line,
};

/// Lines as the benchmark's own programs write them, with their trailing space.
const ARI: &str = "( 3 + 9 ) * 6 - 10 = 1 * 6 - 10 = 6 - 10 = 7 ";
const ED: &str =
    "o t m l | o t t m l <sep> 0 2 4 6 7 , 2 0 2 4 6 , 4 2 3 2 4 , 6 4 5 4 2 , <sep> 2 ";
const LIS: &str = "103 110 145 217 233 18 30 82 141 150 159 161 167 239 <sep> 1 2 3 4 5 1 2 3 4 5 6 7 8 9 <sep> 9 ";

fn tasks() -> [Arc<dyn Task>; 3] {
    let ari = ArithmeticConfig {
        order: StepOrder::RandomExpansion,
        ..ArithmeticConfig::default()
    };
    let lis = LisConfig {
        values: LisValues::Benchmark { max: 249 },
        ..LisConfig::default()
    };
    [
        TaskConfig::Ari(ari),
        TaskConfig::paper()[1],
        TaskConfig::Lis(lis),
    ]
    .map(|config| config.build().unwrap())
}

#[test]
fn chains_are_read_as_they_stand() {
    let [ari, ed, lis] = tasks();
    let problem = read_benchmark_line(ari.as_ref(), ARI).unwrap();
    assert_eq!(problem.prompt, "( 3 + 9 ) * 6 - 10 =");
    assert_eq!(problem.steps, ["1 * 6 - 10 =", "6 - 10 =", "7"]);
    assert_eq!((problem.answer.as_str(), problem.length), ("7", 3));
    assert!(
        ari.check_chain(&problem.prompt, &problem.steps, &problem.answer)
            .unwrap()
    );
    assert_eq!(
        write_benchmark_line(&problem, BenchmarkLine::Chain).unwrap(),
        ARI
    );
    for (task, line, steps) in [(&ed, ED, 4), (&lis, LIS, 2)] {
        let problem = read_benchmark_line(task.as_ref(), line).unwrap();
        assert_eq!(problem.steps.len(), steps);
        assert!(
            task.check_chain(&problem.prompt, &problem.steps, &problem.answer)
                .unwrap(),
            "{problem:?}"
        );
        assert_eq!(
            write_benchmark_line(&problem, BenchmarkLine::Chain).unwrap(),
            line
        );
    }
}

#[test]
fn the_other_kinds_of_line() {
    let [ari, ed, _] = tasks();
    let problem = read_benchmark_line(ed.as_ref(), ED).unwrap();
    let line = |kind| write_benchmark_line(&problem, kind).unwrap();
    assert_eq!(line(BenchmarkLine::Direct), "o t m l | o t t m l <sep> 2");
    assert_eq!(line(BenchmarkLine::Problem), "o t m l | o t t m l <sep> ");
    assert_eq!(line(BenchmarkLine::Answer), "2");
    let direct = read_benchmark_line(ed.as_ref(), &line(BenchmarkLine::Direct)).unwrap();
    assert_eq!(
        (direct.steps.len(), direct.answer.as_str(), direct.length),
        (0, "2", 4)
    );
    let alone = read_benchmark_line(ed.as_ref(), &line(BenchmarkLine::Problem)).unwrap();
    assert_eq!((alone.steps.len(), alone.answer.as_str()), (0, ""));
    let error = write_benchmark_line(&alone, BenchmarkLine::Chain).unwrap_err();
    assert!(error.to_string().contains("is not solved"), "{error}");
    // One operator: the answer is the only step.
    let one = read_benchmark_line(ari.as_ref(), "3 + 4 = 7 ").unwrap();
    assert_eq!(
        (one.steps, one.answer),
        (vec!["7".to_owned()], "7".to_owned())
    );
    let direct = read_benchmark_line(ari.as_ref(), "3 + 4 * 2 = 0").unwrap();
    assert_eq!((direct.steps.len(), direct.answer.as_str()), (0, "0"));
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for task in tasks() {
        for length in [1, 9, 10, 11, 25] {
            let path = folder.path().join("train_data.txt");
            let problems: Vec<Problem> = (0..20)
                .map(|index| task.generate(1, Split::Train, index, length).unwrap())
                .collect();
            let mut writer = BenchmarkWriter::create(&path, BenchmarkLine::Chain).unwrap();
            for problem in &problems {
                writer.write_problem(problem).unwrap();
            }
            writer.finish().unwrap();
            let back: Vec<Problem> = BenchmarkReader::open(Arc::clone(&task), &path)
                .unwrap()
                .collect::<Result<_>>()
                .unwrap();
            assert_eq!(back, problems);
            assert_eq!(
                fs::read_to_string(&path)
                    .unwrap()
                    .lines()
                    .filter(|line| line.ends_with(' '))
                    .count(),
                20
            );
        }
    }
}

#[test]
fn a_bad_line_is_named() {
    let [ari, ed, lis] = tasks();
    for (task, bad, says) in [
        (&ari, "1 + 2", "`=`"),
        (&ari, "1 + 12 = 13", "12 is above 10"),
        (&ari, "1 + 2 * 3 = 1 + 6 = 7 = 7", "3 steps"),
        (&ed, "a | b c", "`<sep>`"),
        (&ed, "a | b c <sep> 3 4 , 5 5 , <sep> 4", "2 steps"),
        (&ed, "a | b c <sep> 3 4 ,", "the answer"),
        (&ed, "a | b c <sep> <sep>", "the answer"),
        (&lis, "10 20 <sep> <sep>", "the answer"),
        (&ari, "1 + 2 * 3 = =", "the answer, not in `=`"),
        (&lis, "10 20 <sep> 1 <sep> 2", "1 values for 2 numbers"),
        (&lis, "10 1 <sep> 1 2 <sep> 2", "1 is outside 3..249"),
    ] {
        let good = match task.name() {
            "ari" => "1 + 2 = 3",
            "ed" => "a | b c <sep> 4",
            _ => "10 20 <sep> 2",
        };
        let text = format!("{good}\n{bad}\n{good}\n");
        let open = || {
            BenchmarkReader::new(
                Arc::clone(task),
                Cursor::new(text.clone()),
                Path::new("train_data.txt"),
            )
        };
        let message = open().nth(1).unwrap().unwrap_err().to_string();
        assert!(
            message.starts_with("train_data.txt: line 2: ") && message.contains(says),
            "{message}"
        );
        let mut lines = open().skip_bad(true);
        assert_eq!(lines.by_ref().filter(Result::is_ok).count(), 2);
        assert_eq!(lines.skipped(), 1);
    }
}
