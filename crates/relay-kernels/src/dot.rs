//! What the micro-kernel of products is made of: numbers of the inner index, and how their products are summed.

use pulp::Simd;

/// One step of the micro-kernel along the inner index.
pub(crate) trait Dot {
    /// What the operands are stored as, as large as a float: one number, or several of the inner index side by side.
    type Element: Copy;

    /// The element in all lanes.
    fn spread<S: Simd>(s: S, element: Self::Element) -> S::f32s;

    /// `sum` and, lane by lane, the products of the numbers in `left` and `right`.
    fn add<S: Simd>(s: S, left: S::f32s, right: S::f32s, sum: S::f32s) -> S::f32s;
}

/// Numbers in f32.
#[derive(Debug)]
pub(crate) struct Single;

impl Dot for Single {
    type Element = f32;

    #[inline(always)]
    fn spread<S: Simd>(s: S, element: f32) -> S::f32s {
        s.splat_f32s(element)
    }

    #[inline(always)]
    fn add<S: Simd>(s: S, left: S::f32s, right: S::f32s, sum: S::f32s) -> S::f32s {
        s.mul_add_e_f32s(left, right, sum)
    }
}
