//! Rotary positions (RoPE), rotate-half convention.

/// Cosines and sines of every column and pair, `[width, head_dim / 2]` each.
#[derive(Debug)]
pub(crate) struct Rope {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
    pub half: usize,
}

impl Rope {
    pub fn new(width: usize, head_dim: usize, base: f32) -> Self {
        let half = head_dim / 2;
        let step: Vec<f64> = (0..half)
            .map(|i| f64::from(base).powf(-2.0 * i as f64 / head_dim as f64))
            .collect();
        let angles =
            || (0..width).flat_map(|column| step.iter().map(move |step| column as f64 * step));
        Self {
            cos: angles().map(|a| a.cos() as f32).collect(),
            sin: angles().map(|a| a.sin() as f32).collect(),
            half,
        }
    }

    /// The cosines and sines of a column.
    #[inline(always)]
    pub fn column(&self, column: usize) -> (&[f32], &[f32]) {
        let range = column * self.half..(column + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// `out = x` rotated by the angles of its column, times `scale`.
#[inline(always)]
pub(crate) fn rotate(rope: Option<&Rope>, column: usize, scale: f32, x: &[f32], out: &mut [f32]) {
    let Some(rope) = rope else {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x * scale;
        }
        return;
    };
    let (cos, sin) = rope.column(column);
    let (x0, x1) = x.split_at(rope.half);
    let (out0, out1) = out.split_at_mut(rope.half);
    for ((((out0, out1), (x0, x1)), cos), sin) in out0
        .iter_mut()
        .zip(out1)
        .zip(x0.iter().zip(x1))
        .zip(cos)
        .zip(sin)
    {
        *out0 = (x0 * cos - x1 * sin) * scale;
        *out1 = (x1 * cos + x0 * sin) * scale;
    }
}

/// Rotates `x` back in place and multiplies it by `scale`: the gradient of [`rotate`].
#[inline(always)]
pub(crate) fn rotate_back(rope: Option<&Rope>, column: usize, scale: f32, x: &mut [f32]) {
    let Some(rope) = rope else {
        x.iter_mut().for_each(|x| *x *= scale);
        return;
    };
    let (cos, sin) = rope.column(column);
    let (x0, x1) = x.split_at_mut(rope.half);
    for (((x0, x1), cos), sin) in x0.iter_mut().zip(x1).zip(cos).zip(sin) {
        let (y0, y1) = (*x0, *x1);
        *x0 = (y0 * cos + y1 * sin) * scale;
        *x1 = (y1 * cos - y0 * sin) * scale;
    }
}
