//! Rotary positions (RoPE), rotate-half convention.

use std::sync::{Arc, Mutex, PoisonError};

use pulp::Simd;

use crate::rows::{get, put};

/// Widths, head widths and bases whose angles are remembered.
const REMEMBERED: usize = 16;

static CACHE: Mutex<Vec<Arc<Rope>>> = Mutex::new(Vec::new());

/// Cosines and sines of every column.
#[derive(Debug)]
pub(crate) struct Rope {
    width: usize,
    head_dim: usize,
    base: f32,
    half: usize,
    /// For each column the cosines twice, the sines with the other sign, the sines.
    angles: Vec<f32>,
}

impl Rope {
    /// The angles of `width` columns, computed once for all layers and steps.
    pub fn of(width: usize, head_dim: usize, base: f32) -> Arc<Self> {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Arc<Self>| {
            (known.width, known.head_dim, known.base) == (width, head_dim, base)
        };
        if let Some(index) = cache.iter().position(same) {
            let found = cache.remove(index);
            cache.push(Arc::clone(&found));
            return found;
        }
        let new = Arc::new(Self::new(width, head_dim, base));
        cache.push(Arc::clone(&new));
        let surplus = cache.len().saturating_sub(REMEMBERED);
        cache.drain(..surplus);
        new
    }

    /// The angles of `width` columns, for one use.
    pub fn new(width: usize, head_dim: usize, base: f32) -> Self {
        let half = head_dim / 2;
        let step: Vec<f64> = (0..half).map(|i| frequency(base, i, head_dim)).collect();
        let mut angles = Vec::with_capacity(4 * half * width);
        for column in 0..width {
            let of = |function: fn(f64) -> f64| {
                step.iter()
                    .map(move |step| function(column as f64 * step) as f32)
            };
            angles.extend(of(f64::cos).chain(of(f64::cos)));
            angles.extend(of(f64::sin).map(|sin| -sin).chain(of(f64::sin)));
        }
        Self {
            width,
            head_dim,
            base,
            half,
            angles,
        }
    }

    /// The cosines of a column for all of a head, and the sines, negative for its first half.
    #[inline(always)]
    fn column(&self, column: usize) -> (&[f32], &[f32]) {
        self.angles[column * 4 * self.half..][..4 * self.half].split_at(2 * self.half)
    }
}

/// Turns `x` in place by the angles of its column, or back, and multiplies it by `scale`.
#[inline(always)]
pub(crate) fn turn<S: Simd>(
    s: S,
    rope: &Rope,
    column: usize,
    back: bool,
    scale: f32,
    x: &mut [f32],
) {
    let (cos, sin) = rope.column(column);
    let scale_sin = s.splat_f32s(if back { -scale } else { scale });
    let scale = s.splat_f32s(scale);
    if x.len() == S::F32_LANES {
        // A head of one vector: both halves at once, the other one turned into place.
        let y = get(s, x, 0);
        let swapped = s.rotate_right_u32s(s.transmute_u32s_f32s(y), rope.half);
        let cos = s.mul_f32s(get(s, cos, 0), scale);
        let sin = s.mul_f32s(get(s, sin, 0), scale_sin);
        let swapped = s.mul_f32s(s.transmute_f32s_u32s(swapped), sin);
        put(s, x, 0, s.mul_add_e_f32s(y, cos, swapped));
        return;
    }
    let (cos, sin) = (&cos[..rope.half], &sin[rope.half..]);
    let (x0, x1) = x.split_at_mut(rope.half);
    for at in (0..rope.half).step_by(S::F32_LANES) {
        let cos = s.mul_f32s(get(s, cos, at), scale);
        let sin = s.mul_f32s(get(s, sin, at), scale_sin);
        let (y0, y1) = (get(s, x0, at), get(s, x1, at));
        put(
            s,
            x0,
            at,
            s.sub_f32s(s.mul_f32s(y0, cos), s.mul_f32s(y1, sin)),
        );
        put(
            s,
            x1,
            at,
            s.add_f32s(s.mul_f32s(y1, cos), s.mul_f32s(y0, sin)),
        );
    }
}

/// `out = x` turned by the angles of its column if there are any, times `scale`.
#[inline(always)]
pub(crate) fn rotate<S: Simd>(
    s: S,
    rope: Option<&Rope>,
    column: usize,
    scale: f32,
    x: &[f32],
    out: &mut [f32],
) {
    out.copy_from_slice(x);
    match rope {
        Some(rope) => turn(s, rope, column, false, scale, out),
        None => out.iter_mut().for_each(|x| *x *= scale),
    }
}

/// How far the pair `i` of a head's columns turns from one position to the next.
pub(crate) fn frequency(base: f32, i: usize, head_dim: usize) -> f64 {
    f64::from(base).powf(-2.0 * i as f64 / head_dim as f64)
}
