//! The layer written plainly in f64.

use super::Case;
use crate::DropoutMask;

const EPSILON: f64 = 1e-5;

pub(super) fn matmul(x: &[f64], w: &[f64], inner: usize) -> Vec<f64> {
    let cols = w.len() / inner;
    let mut out = vec![0.0; x.len() / inner * cols];
    for (x, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(cols)) {
        for (x, w) in x.iter().zip(w.chunks_exact(cols)) {
            for (out, w) in out.iter_mut().zip(w) {
                *out += x * w;
            }
        }
    }
    out
}

pub(super) fn norm(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let d = gamma.len();
    x.chunks_exact(d)
        .flat_map(|x| {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            x.iter()
                .zip(gamma.iter().zip(beta))
                .map(move |(x, (g, b))| (x - mean) * scale * g + b)
        })
        .collect()
}

/// By the series; small arguments only.
fn gelu(x: f64) -> f64 {
    let z = x / core::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for n in 1..120 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + sum * 2.0 / core::f64::consts::PI.sqrt())
}

fn rotate(x: &[f64], column: usize) -> Vec<f64> {
    let half = x.len() / 2;
    let mut out = x.to_vec();
    for i in 0..half {
        let (sin, cos) =
            (column as f64 * 10_000f64.powf(-2.0 * i as f64 / x.len() as f64)).sin_cos();
        out[i] = x[i] * cos - x[half + i] * sin;
        out[half + i] = x[half + i] * cos + x[i] * sin;
    }
    out
}

fn attention(case: &Case, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let hd = case.d / case.heads;
    let mut out = vec![0.0; q.len()];
    for b in 0..case.batch {
        for h in 0..case.heads {
            let at = |x: &[f64], column: usize| {
                x[(b * case.width + column) * case.d + h * hd..][..hd].to_vec()
            };
            let placed = |x: &[f64], column| {
                if case.rope {
                    rotate(&at(x, column), column)
                } else {
                    at(x, column)
                }
            };
            for i in 0..case.width {
                let query = placed(q, i);
                let end = if case.causal { i + 1 } else { case.width };
                let scores: Vec<(usize, f64)> = (case.pads[b]..end)
                    .map(|j| {
                        (
                            j,
                            query
                                .iter()
                                .zip(placed(k, j))
                                .map(|(q, k)| q * k)
                                .sum::<f64>(),
                        )
                    })
                    .map(|(j, dot)| {
                        let slope = case.slopes.get(h).copied().map_or(0.0, f64::from);
                        let score = dot / (hd as f64).sqrt() - slope * i.abs_diff(j) as f64;
                        (j, score.exp())
                    })
                    .collect();
                let total: f64 = scores.iter().map(|(_, e)| e).sum();
                let out = &mut out[(b * case.width + i) * case.d + h * hd..][..hd];
                let row = ((b * case.heads + h) * case.width + i) * case.width;
                for (j, e) in scores {
                    let e = e * case
                        .dropout
                        .map_or(1.0, |d| f64::from(d.probabilities.factor(row + j)));
                    for (out, v) in out.iter_mut().zip(at(v, j)) {
                        *out += e / total * v;
                    }
                }
            }
        }
    }
    out
}

fn dropped(mask: Option<DropoutMask>, x: Vec<f64>) -> Vec<f64> {
    let factor = |index| mask.map_or(1.0, |mask| f64::from(mask.factor(index)));
    x.iter()
        .enumerate()
        .map(|(index, x)| x * factor(index))
        .collect()
}

/// The layer's output for the input and parameters in the order of the op.
pub(super) fn forward(case: &Case, t: &[Vec<f64>]) -> Vec<f64> {
    let d = case.d;
    let add = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x + y).collect::<Vec<_>>();
    let h = norm(&t[0], &t[1], &t[2]);
    let attended = attention(
        case,
        &matmul(&h, &t[3], d),
        &matmul(&h, &t[4], d),
        &matmul(&h, &t[5], d),
    );
    let attended = dropped(
        case.dropout.map(|d| d.attention),
        matmul(&attended, &t[6], d),
    );
    let middle = add(&t[0], &attended);
    let h = matmul(&norm(&middle, &t[7], &t[8]), &t[9], d);
    let h: Vec<f64> = h
        .iter()
        .zip(t[10].iter().cycle())
        .map(|(h, bias)| gelu(h + bias))
        .collect();
    let h = matmul(&h, &t[11], case.m);
    let h: Vec<f64> = h
        .iter()
        .zip(t[12].iter().cycle())
        .map(|(h, bias)| h + bias)
        .collect();
    add(&middle, &dropped(case.dropout.map(|d| d.mlp), h))
}

/// Gradients of `sum(output * grad)` by central differences.
pub(super) fn gradients(case: &Case, t: &[Vec<f64>], grad: &[f64]) -> Vec<Vec<f64>> {
    let mut t = t.to_vec();
    let loss = |t: &[Vec<f64>]| {
        forward(case, t)
            .iter()
            .zip(grad)
            .map(|(x, g)| x * g)
            .sum::<f64>()
    };
    let mut gradients: Vec<Vec<f64>> = Vec::new();
    for index in 0..t.len() {
        let mut gradient = Vec::new();
        for i in 0..t[index].len() {
            let (old, step) = (t[index][i], 1e-4);
            t[index][i] = old + step;
            let above = loss(&t);
            t[index][i] = old - step;
            let below = loss(&t);
            t[index][i] = old;
            gradient.push((above - below) / (2.0 * step));
        }
        gradients.push(gradient);
    }
    gradients
}
