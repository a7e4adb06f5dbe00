//! Muon: momentum whose matrix is made orthogonal by Newton-Schulz iterations, all of it on the thread that it is called on.
//!
//! All the way the matrix stands as panels of columns (see [`Packed`](crate::pack::Packed)), turned so that it has at
//! least as many rows as columns. So one layout serves as the left and as the right side of every product, and both
//! symmetric matrices of an iteration are the product of a matrix with its own transpose.

use pulp::{Simd, WithSimd};

use crate::isa::Isa;
use crate::pool::{cut_mut, with_scratch};
use crate::product::{Left, times_panel};
use crate::squares::squares_serially;

/// Coefficients of the quintic iteration, chosen for a steep slope at zero.
const QUINTIC: [f32; 3] = [3.4445, -4.775, 2.0315];

/// The numbers of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub momentum: f64,
    /// Newton-Schulz iterations.
    pub iterations: usize,
    /// What the gradient is multiplied with before anything else.
    pub clip: f64,
    pub learning_rate: f64,
    /// What is left of the value before the step.
    pub keep: f64,
}

/// Moves the velocity on and gives the new value of an `[inputs, outputs]` matrix.
pub(crate) fn step(
    isa: Isa,
    step: Step,
    [inputs, outputs]: [usize; 2],
    value: &[f32],
    gradient: &[f32],
    velocity: &mut [f32],
) -> Vec<f32> {
    let mut out = vec![0.0; value.len()];
    if out.is_empty() {
        return out;
    }
    let panels = Panels {
        isa,
        rows: inputs.max(outputs),
        cols: inputs.min(outputs),
        panel: isa.panel(),
    };
    let (tall, small) = (panels.len(panels.rows), panels.len(panels.cols));
    with_scratch(2 * tall + 2 * small, |mut scratch| {
        let x = cut_mut(&mut scratch, tall);
        let next = cut_mut(&mut scratch, tall);
        let gram = cut_mut(&mut scratch, small);
        isa.run(Whole {
            step,
            panels,
            turned: inputs < outputs,
            scale: (outputs as f64 / inputs as f64).max(1.0).sqrt(),
            value,
            gradient,
            velocity,
            buffers: [x, next, gram, scratch],
            out: &mut out,
        });
    });
    out
}

/// How a matrix of `rows`, or of `cols` rows, and `cols` columns stands in memory.
#[derive(Clone, Copy)]
struct Panels {
    isa: Isa,
    rows: usize,
    cols: usize,
    panel: usize,
}

impl Panels {
    fn count(self) -> usize {
        self.cols.div_ceil(self.panel)
    }

    /// Floats with this many rows.
    fn len(self, rows: usize) -> usize {
        self.count() * rows * self.panel
    }

    /// Columns of a panel that are part of the matrix.
    fn width(self, panel: usize) -> usize {
        (self.cols - panel * self.panel).min(self.panel)
    }

    /// `out = transpose(x) * x` for an `x` of `depth` rows.
    fn gram(self, depth: usize, x: &[f32], out: &mut [f32]) {
        let (panel, each) = (self.panel, self.cols * self.panel);
        for q in 0..self.count() {
            for p in 0..=q {
                let left = Left {
                    data: &x[p * depth * panel..][..depth * panel],
                    row: 1,
                    col: panel,
                };
                let right = &x[q * depth * panel..][..depth * panel];
                let (rows, cols) = (self.width(p), self.width(q));
                let block = &mut out[q * each + p * panel * panel..];
                times_panel(
                    self.isa,
                    [rows, depth, cols],
                    left,
                    right,
                    block,
                    panel,
                    false,
                );
                if p < q {
                    let (before, block) = out.split_at_mut(q * each);
                    let block = &block[p * panel * panel..];
                    let mirror = &mut before[p * each + q * panel * panel..];
                    turn([rows, cols], block, panel, mirror, panel);
                }
            }
        }
    }

    /// `out = x * square` for an `x` of `rows` rows.
    fn times(self, x: &[f32], square: &[f32], out: &mut [f32]) {
        let (panel, each) = (self.panel, self.rows * self.panel);
        for (p, out) in out.chunks_exact_mut(each).enumerate() {
            for (q, x) in x.chunks_exact(each).enumerate() {
                let left = Left {
                    data: x,
                    row: panel,
                    col: 1,
                };
                let right = &square[p * self.cols * panel + q * panel * panel..];
                let shape = [self.rows, self.width(q), self.width(p)];
                times_panel(self.isa, shape, left, right, out, panel, q > 0);
            }
        }
    }

    /// Puts a matrix, or its transpose, into panels.
    #[inline(always)]
    fn place(self, from: &[f32], turned: bool, x: &mut [f32]) {
        for (p, x) in x.chunks_exact_mut(self.rows * self.panel).enumerate() {
            let (first, width) = (p * self.panel, self.width(p));
            if turned {
                let from = &from[first * self.rows..];
                turn([width, self.rows], from, self.rows, x, self.panel);
            } else {
                let from = from.chunks_exact(self.cols);
                for (x, from) in x.chunks_exact_mut(self.panel).zip(from) {
                    x[..width].copy_from_slice(&from[first..][..width]);
                }
            }
        }
    }

    /// `gram = a + b gram + c square`.
    #[inline(always)]
    fn polynomial(self, gram: &mut [f32], square: &[f32]) {
        let [a, b, c] = QUINTIC;
        for (gram, square) in gram.iter_mut().zip(square) {
            *gram = *gram * b + *square * c;
        }
        for i in 0..self.cols {
            let (p, j) = (i / self.panel, i % self.panel);
            gram[(p * self.cols + i) * self.panel + j] += a;
        }
    }

    /// `out = keep * value - rate * x`, with the transpose of `x` where the panels are `turned`.
    #[inline(always)]
    fn subtract(
        self,
        x: &[f32],
        turned: bool,
        [keep, rate]: [f32; 2],
        value: &[f32],
        out: &mut [f32],
    ) {
        let row = if turned { self.rows } else { self.cols };
        for (p, x) in x.chunks_exact(self.rows * self.panel).enumerate() {
            let (first, width) = (p * self.panel, self.width(p));
            let all = out.chunks_exact_mut(row).zip(value.chunks_exact(row));
            if turned {
                for (j, (out, value)) in all.skip(first).take(width).enumerate() {
                    for (i, (out, value)) in out.iter_mut().zip(value).enumerate() {
                        *out = value * keep - x[i * self.panel + j] * rate;
                    }
                }
            } else {
                for ((out, value), x) in all.zip(x.chunks_exact(self.panel)) {
                    let (out, value) = (&mut out[first..][..width], &value[first..][..width]);
                    for ((out, value), x) in out.iter_mut().zip(value).zip(x) {
                        *out = value * keep - x * rate;
                    }
                }
            }
        }
    }
}

/// `to = transpose(from)` for a `from` of `[rows, cols]`, with the floats from row to row in both.
#[inline(always)]
fn turn([rows, cols]: [usize; 2], from: &[f32], from_row: usize, to: &mut [f32], to_row: usize) {
    for (j, to) in to.chunks_mut(to_row).take(cols).enumerate() {
        for (i, to) in to[..rows].iter_mut().enumerate() {
            *to = from[i * from_row + j];
        }
    }
}

/// A step, compiled as a whole for an instruction set.
struct Whole<'a> {
    step: Step,
    panels: Panels,
    /// Whether the panels hold the transpose of the parameter.
    turned: bool,
    scale: f64,
    value: &'a [f32],
    gradient: &'a [f32],
    velocity: &'a mut [f32],
    /// The matrix, its successor, its product with its own transpose, and the square of that.
    buffers: [&'a mut [f32]; 4],
    out: &'a mut [f32],
}

impl WithSimd for Whole<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { step, panels, .. } = self;
        let [mut x, mut next, gram, square] = self.buffers;
        let Panels { rows, cols, .. } = panels;
        let ahead = &mut next[..rows * cols];
        momentum(step, self.gradient, self.velocity, ahead);
        let norm = squares_serially(panels.isa, ahead).sqrt().max(1e-7) as f32;
        for x in ahead.iter_mut() {
            *x /= norm;
        }
        // What fills up the last panel is never part of a result, but numbers are faster than what may stand there.
        x.fill(0.0);
        gram.fill(0.0);
        square.fill(0.0);
        panels.place(ahead, self.turned, x);
        for _ in 0..step.iterations {
            panels.gram(rows, x, gram);
            panels.gram(cols, gram, square);
            panels.polynomial(gram, square);
            panels.times(x, gram, next);
            core::mem::swap(&mut x, &mut next);
        }
        let factors = [step.keep, step.learning_rate * self.scale].map(|x| x as f32);
        panels.subtract(x, self.turned, factors, self.value, self.out);
    }
}

/// Moves the velocity on and looks ahead as Nesterov does.
#[inline(always)]
fn momentum(step: Step, gradient: &[f32], velocity: &mut [f32], ahead: &mut [f32]) {
    let (momentum, clip) = (step.momentum as f32, step.clip as f32);
    for ((gradient, velocity), ahead) in gradient.iter().zip(velocity).zip(ahead) {
        let gradient = gradient * clip;
        *velocity = *velocity * momentum + gradient;
        *ahead = *velocity * momentum + gradient;
    }
}
