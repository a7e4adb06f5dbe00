//! RELAY's side of the comparison with PyTorch does each kind of work that it is asked for.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

#[test]
fn every_kind_of_work_is_done() {
    let shape = |width: usize, iterations: usize, new_tokens: usize, precision: &str| {
        json!({
            "d_model": 16, "heads": 2, "layers": 2, "vocab": 300, "batch": 3, "width": width,
            "iterations": iterations, "new_tokens": new_tokens, "precision": precision,
        })
    };
    let requests = [
        ("train_step", shape(12, 3, 0, "f32")),
        ("train_step", shape(12, 3, 0, "bf16")),
        ("ar_train_step", shape(5, 1, 7, "f32")),
        ("ar_train_step", shape(5, 1, 7, "bf16")),
        ("looped_generation", shape(12, 3, 0, "f32")),
        ("ar_generation", shape(5, 1, 7, "f32")),
        ("gemm_rate", shape(12, 3, 0, "f32")),
    ];
    let mut worker = Command::new(env!("CARGO_BIN_EXE_peer_worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = worker.stdin.take().unwrap();
    writeln!(input, "{}", json!({ "about": true })).unwrap();
    for (kind, shape) in &requests {
        let request = json!({ "kind": kind, "shape": shape, "repeats": 2 });
        writeln!(input, "{request}").unwrap();
    }
    drop(input);
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 1 + requests.len(), "{text}");
    assert_eq!(answers[0]["relay"], env!("CARGO_PKG_VERSION"));
    for ((kind, _), answer) in requests.iter().zip(&answers[1..]) {
        let seconds = answer["seconds"].as_array();
        let seconds = seconds.unwrap_or_else(|| panic!("{kind}: {answer}"));
        assert_eq!(seconds.len(), 2, "{kind}: {answer}");
        assert!(seconds.iter().all(|seconds| seconds.as_f64() > Some(0.0)));
    }
}
