//! Branch-free elementary functions on vectors.

use pulp::Simd;

/// `e^x`; relative error about 1e-7 in the range of normal numbers, which it does not leave. What is no number stays none.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    s.select_f32s(s.equal_f32s(x, x), exp_of_number(s, x), x)
}

/// The same for who knows that `x` is a number, or does not care: else the result is some number.
#[inline(always)]
fn exp_of_number<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let x = s.max_f32s(s.min_f32s(x, s.splat_f32s(88.0)), s.splat_f32s(-87.0));
    // x = n ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer that stands in the low bits.
    let magic = s.splat_f32s(12_582_912.0);
    let shifted = s.mul_add_e_f32s(x, s.splat_f32s(core::f32::consts::LOG2_E), magic);
    let n = s.sub_f32s(shifted, magic);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-0.693_359_4), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(2.121_944_4e-4), r);
    let mut p = s.splat_f32s(1.987_569_1e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = s.mul_add_e_f32s(p, r, s.splat_f32s(c));
    }
    let p = s.add_f32s(s.mul_add_e_f32s(p, s.mul_f32s(r, r), r), s.splat_f32s(1.0));
    let bits = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(shifted), s.splat_u32s(23));
    let scale = s.transmute_f32s_u32s(s.add_u32s(bits, s.splat_u32s(0x3F80_0000)));
    s.mul_f32s(p, scale)
}

/// The normal distribution function and `x` times the normal density at `x`.
///
/// With them GELU is `x * first`, and its derivative `first + second`. Absolute error about 1e-7; in the left tail the
/// distribution function is also relatively exact to about 1e-6. What is no number stays none.
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let one = s.splat_f32s(1.0);
    let magnitude = s.max_f32s(x, s.sub_f32s(s.splat_f32s(0.0), x));
    // What is no number comes out by way of `t` and of `x` itself.
    let density = exp_of_number(s, s.mul_f32s(s.mul_f32s(x, x), s.splat_f32s(-0.5)));
    // erfc(z) = exp(-z^2) t R(t) with t = 1 / (1 + 0.3 z); R by weighted least squares for the relative error (2e-8).
    let t = s.div_f32s(
        one,
        s.mul_add_e_f32s(
            magnitude,
            s.splat_f32s(0.3 * core::f32::consts::FRAC_1_SQRT_2),
            one,
        ),
    );
    let mut r = s.splat_f32s(-0.130_558_6);
    for c in [
        0.490_735_6,
        -0.523_299_15,
        0.560_781,
        -0.104_048_65,
        0.219_122_51,
        0.147_205_48,
        0.170_884_41,
        0.169_177_34,
    ] {
        r = s.mul_add_e_f32s(r, t, s.splat_f32s(c));
    }
    let tail = s.mul_f32s(s.mul_f32s(density, s.splat_f32s(0.5)), s.mul_f32s(t, r));
    let negative = s.less_than_f32s(x, s.splat_f32s(0.0));
    let phi = s.select_f32s(negative, tail, s.sub_f32s(one, tail));
    (
        phi,
        s.mul_f32s(s.mul_f32s(x, density), s.splat_f32s(0.398_942_3)),
    )
}

#[cfg(test)]
mod tests {
    use crate::isa::Isa;
    use pulp::{Simd, WithSimd};

    struct Eval<'a>(&'a [f32], &'a mut [[f32; 3]]);

    impl WithSimd for Eval<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            for (x, out) in self.0.iter().zip(self.1) {
                let x = s.splat_f32s(*x);
                let (phi, density) = super::normal(s, x);
                let lanes = S::F32_LANES as f32;
                *out = [super::exp(s, x), phi, density].map(|v| s.reduce_sum_f32s(v) / lanes);
            }
        }
    }

    #[test]
    fn close_to_f64_on_every_instruction_set() {
        let xs: Vec<f32> = (-8000..8000).map(|i| i as f32 / 1000.0).collect();
        for isa in Isa::available() {
            let mut out = vec![[0.0; 3]; xs.len()];
            isa.run(Eval(&xs, &mut out));
            for (x, [exp, phi, density]) in xs.iter().zip(&out) {
                let x = f64::from(*x);
                assert!(
                    (f64::from(*exp) / x.exp() - 1.0).abs() < 4e-7,
                    "{isa:?} exp {x}"
                );
                let truth = reference_phi(x);
                assert!(
                    (f64::from(*phi) - truth).abs() < 2e-7,
                    "{isa:?} phi {x}: {phi} {truth}"
                );
                assert!(
                    x > 0.0 || (f64::from(*phi) / truth - 1.0).abs() < 4e-6,
                    "{isa:?} phi {x}: {phi} {truth}"
                );
                let truth = x * (-0.5 * x * x).exp() * 0.398_942_280_401_432_7;
                assert!(
                    (f64::from(*density) - truth).abs() < 2e-7,
                    "{isa:?} density {x}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for isa in Isa::available() {
            for x in [f32::NAN, -f32::NAN] {
                let mut out = [[0.0; 3]];
                isa.run(Eval(&[x], &mut out));
                assert!(out[0].iter().all(|y| y.is_nan()), "{isa:?} {out:?}");
            }
            let mut out = [[0.0; 3]];
            isa.run(Eval(&[f32::NEG_INFINITY], &mut out));
            assert!((0.0..1e-37).contains(&out[0][0]), "{isa:?} {out:?}");
        }
    }

    /// By the series of erf for small and the continued fraction of erfc for large arguments.
    fn reference_phi(x: f64) -> f64 {
        let z = x.abs() / core::f64::consts::SQRT_2;
        let upper = if z < 3.0 {
            let (mut term, mut sum) = (z, z);
            for n in 1..200 {
                term *= -z * z / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            0.5 - sum / core::f64::consts::PI.sqrt()
        } else {
            let tail = (1..200).rev().fold(z, |f, n| z + f64::from(n) / 2.0 / f);
            0.5 * (-z * z).exp() / tail / core::f64::consts::PI.sqrt()
        };
        if x < 0.0 { upper } else { 1.0 - upper }
    }
}
