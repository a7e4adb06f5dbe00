//! One pass of some rows through the whole model: prompts are read and tokens written by the same code.
//!
//! A row is one column of one text. Rows never mix but by the keys and values of their own text, and products sum each
//! element in the order of the inner index, so what a row gives does not depend on the rows beside it.

use pulp::{Simd, WithSimd};

use super::attend::{Append, Attend};
use super::cache::PAGE;
use super::model::{Layer, Model};
use crate::pool::Buffer;
use crate::product::{left, times_packed};
use crate::rope::Rope;
use crate::rows::{Gelu, Norm};

/// A column of a text to be computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Which text of the worker.
    pub slot: usize,
    pub column: usize,
    pub token: u32,
    /// Whether a token is chosen after it.
    pub last: bool,
}

/// The memory of passes of up to a number of rows; nothing is allocated between tokens.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    model: &'a Model,
    rope: Option<Rope>,
    /// The stream, `[rows, d]`.
    x: Buffer,
    normal: Buffer,
    moments: Buffer,
    qkv: Buffer,
    attended: Buffer,
    hidden: Buffer,
    active: Buffer,
    /// A head of one row.
    row: Buffer,
    scores: Vec<f32>,
    readout: Buffer,
}

impl<'a> Pass<'a> {
    pub fn new(model: &'a Model, rows: usize) -> Self {
        let (d, m) = (model.layout.d(), model.m());
        let take = |floats| Buffer::take(rows * floats);
        Self {
            model,
            rope: None,
            x: take(d),
            normal: take(d),
            moments: take(2),
            qkv: take(3 * d),
            attended: take(d),
            hidden: take(m),
            active: take(m),
            row: Buffer::take(model.layout.padded),
            scores: Vec::new(),
            readout: Buffer::take(model.readout.scratch(rows)),
        }
    }

    /// Makes room for texts of so many columns.
    pub fn reserve(&mut self, columns: usize) {
        self.scores
            .resize(self.scores.len().max(columns.next_multiple_of(PAGE)), 0.0);
        let head_dim = self.model.layout.head_dim;
        self.rope = self
            .model
            .rope_base
            .map(|base| Rope::new(columns, head_dim, base));
    }

    /// Computes the rows, adds them to the pages of their texts, and chooses a token after each that is the last.
    ///
    /// Rows of a text come in the order of their columns. `chosen` has one entry for each last row.
    pub fn run(
        &mut self,
        rows: &mut Vec<Row>,
        pages: &mut [Vec<Buffer>],
        chosen: &mut [(u32, f32)],
    ) {
        let d = self.model.layout.d();
        let embedding = self.model.embedding.get();
        for (x, row) in self.x.chunks_exact_mut(d).zip(&*rows) {
            x.copy_from_slice(&embedding[row.token as usize * d..][..d]);
        }
        for (index, layer) in self.model.layers.iter().enumerate() {
            self.append(index, layer, rows, pages);
            if index + 1 == self.model.layers.len() {
                self.narrow(rows);
            }
            self.attend(index, rows, pages);
            self.finish(layer, rows.len());
        }
        self.model
            .readout
            .choose(&self.x[..rows.len() * d], &mut self.readout, chosen);
    }

    /// Queries, keys and values; the latter two go to the pages.
    fn append(&mut self, index: usize, layer: &Layer, rows: &[Row], pages: &mut [Vec<Buffer>]) {
        let (isa, d) = (self.model.isa, self.model.layout.d());
        let [gamma, beta] = layer.vectors().norm_attention;
        let normal = &mut self.normal[..rows.len() * d];
        isa.run(Norm {
            x: &self.x[..rows.len() * d],
            gamma,
            beta,
            epsilon: self.model.epsilon,
            out: normal,
            moments: &mut self.moments,
        });
        let qkv = &mut self.qkv[..rows.len() * 3 * d];
        let weights = &layer.weights.forward.qkv;
        times_packed(isa, rows.len(), left(normal, d), weights, qkv, 3 * d, false);
        for (row, qkv) in rows.iter().zip(qkv.chunks_exact(3 * d)) {
            isa.run(Append {
                layout: self.model.layout,
                layer: index,
                column: row.column,
                rope: self.rope.as_ref(),
                qkv,
                page: &mut pages[row.slot][row.column / PAGE],
                row: &mut self.row,
            });
        }
    }

    /// Drops all rows but the last of texts: of the others nothing is needed but their keys and values.
    fn narrow(&mut self, rows: &mut Vec<Row>) {
        let d = self.model.layout.d();
        let last = (0..rows.len()).filter(|index| rows[*index].last);
        for (to, from) in last.enumerate() {
            self.x.copy_within(from * d..(from + 1) * d, to * d);
            self.qkv
                .copy_within(from * 3 * d..from * 3 * d + d, to * 3 * d);
        }
        rows.retain(|row| row.last);
    }

    /// Adds attention to the stream.
    fn attend(&mut self, index: usize, rows: &[Row], pages: &[Vec<Buffer>]) {
        let (isa, d) = (self.model.isa, self.model.layout.d());
        let queries = self.qkv.chunks_exact(3 * d).map(|qkv| &qkv[..d]);
        let out = self.attended.chunks_exact_mut(d);
        for ((row, queries), out) in rows.iter().zip(queries).zip(out) {
            isa.run(Attend {
                layout: self.model.layout,
                layer: index,
                column: row.column,
                rope: self.rope.as_ref(),
                queries,
                pages: &pages[row.slot],
                row: &mut self.row,
                scores: &mut self.scores,
                out,
            });
        }
    }

    /// The layer from what attention gave on.
    fn finish(&mut self, layer: &Layer, rows: usize) {
        let (isa, d) = (self.model.isa, self.model.layout.d());
        let (vectors, weights) = (layer.vectors(), &layer.weights.forward);
        let m = weights.up.cols;
        let x = &mut self.x[..rows * d];
        let attended = left(&self.attended, d);
        times_packed(isa, rows, attended, &weights.output, x, d, true);

        let [gamma, beta] = vectors.norm_mlp;
        isa.run(Norm {
            x,
            gamma,
            beta,
            epsilon: self.model.epsilon,
            out: &mut self.normal[..rows * d],
            moments: &mut self.moments,
        });
        let hidden = &mut self.hidden[..rows * m];
        let normal = left(&self.normal, d);
        times_packed(isa, rows, normal, &weights.up, hidden, m, false);
        isa.run(Gelu {
            u: hidden,
            bias: vectors.up_bias,
            out: &mut self.active,
        });
        isa.run(Shift {
            x,
            bias: vectors.down_bias,
        });
        let active = left(&self.active, m);
        times_packed(isa, rows, active, &weights.down, x, d, true);
    }
}

/// Adds the bias to rows in place.
struct Shift<'a> {
    x: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for Shift<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.x.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x += bias;
            }
        }
    }
}
