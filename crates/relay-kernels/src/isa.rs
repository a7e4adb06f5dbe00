//! The choice of an instruction set at run time.

use pulp::{Scalar256b, Simd, WithSimd};

/// An instruction set that the kernels are compiled for.
///
/// A value of this type is the proof that the machine has it: [`Isa::available`] is the only source.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Isa {
    /// Whatever every machine of the target has; the compiler vectorises as far as that goes.
    Plain,
    /// AVX2 with FMA.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2(pulp::x86::V3),
    /// AVX-512.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx512(pulp::x86::V4),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Isa {
    /// Everything this machine has, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Plain];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            found.extend(pulp::x86::V3::try_new().map(Self::Avx2));
            found.extend(pulp::x86::V4::try_new().map(Self::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        found.extend(pulp::aarch64::Neon::try_new().map(Self::Neon));
        found
    }

    /// The best that this machine has.
    pub fn best() -> Self {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::Plain))
    }

    /// Runs `op` compiled for this instruction set.
    pub fn run<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            Self::Plain => Scalar256b.vectorize(op),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx2(simd) => Simd::vectorize(simd, op),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx512(simd) => Simd::vectorize(simd, op),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => Simd::vectorize(simd, op),
        }
    }

    /// Columns of a panel of [`Packed`](crate::pack::Packed) for this instruction set.
    pub fn panel(self) -> usize {
        struct Panel;
        impl WithSimd for Panel {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                panel_vectors::<S>() * S::F32_LANES
            }
        }
        self.run(Panel)
    }

    /// Floats of one vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.run(Lanes)
    }

    /// A number that tells instruction sets apart.
    pub fn id(self) -> usize {
        match self {
            Self::Plain => 0,
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx2(_) => 1,
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Self::Avx512(_) => 2,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => 3,
        }
    }
}

/// Vectors of a panel: four leave room for six rows of sums in 32 registers, two for as many in 16.
#[inline(always)]
pub(crate) const fn panel_vectors<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}
