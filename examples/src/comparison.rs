//! Losses of the same training on two devices, and whether they are the same within stated tolerances.

use relay_train::Precision;
use serde::Serialize;

use crate::DeviceName;

/// Where and how one side computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Name of the device.
    pub device: String,
    /// What the layers' products multiply.
    pub precision: Precision,
}

impl Side {
    /// As figures and messages call it.
    pub fn label(&self) -> String {
        format!("{} {}", self.device, self.precision)
    }

    /// GPUs may multiply f32 in TF32, of which 11 bits are kept; bf16 keeps 8.
    fn bits(&self) -> Bits {
        if self.precision == Precision::Bf16 {
            Bits::Bf16
        } else if self.device == DeviceName::Cuda.to_string() {
            Bits::Tf32
        } else {
            Bits::F32
        }
    }
}

/// The least exact products that a side may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bits {
    F32,
    Tf32,
    Bf16,
}

/// How far losses may lie apart, in relation to the greater of the two.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerances {
    /// In the first update, whose weights are the same on both sides: what rounding does to one forward pass.
    pub first: f64,
    /// In any update: small differences of the weights grow, and the loss of one batch tells them.
    pub largest: f64,
}

impl Tolerances {
    /// Those of two sides, by the less exact one.
    pub fn of(sides: [&Side; 2]) -> Self {
        let [first, largest] = match sides.map(Side::bits).into_iter().max() {
            None | Some(Bits::F32) => [1e-4, 0.02],
            Some(Bits::Tf32) => [0.01, 0.05],
            Some(Bits::Bf16) => [0.02, 0.1],
        };
        Self { first, largest }
    }
}

/// The difference of one update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Number of the update, from 1.
    pub update: u64,
    /// Difference of the losses by the greater one; infinite where one is no number.
    pub relative: f64,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Both sides.
    pub sides: [Side; 2],
    /// What is allowed.
    pub tolerances: Tolerances,
    /// The first update's difference.
    pub first: Difference,
    /// The largest difference of all.
    pub largest: Difference,
    /// Whether both are within the tolerances.
    pub agree: bool,
    /// Updates and the losses of both sides.
    pub losses: Vec<(u64, f64, f64)>,
}

impl Comparison {
    /// Compares the losses of the updates that both sides made; `None` when there is none.
    pub fn new(
        sides: [Side; 2],
        tolerances: Tolerances,
        [a, b]: [&[(u64, f64)]; 2],
    ) -> Option<Self> {
        let pairs = a.iter().zip(b).filter(|((a, _), (b, _))| a == b);
        let losses: Vec<_> = pairs
            .map(|((update, a), (_, b))| (*update, *a, *b))
            .collect();
        let differences: Vec<_> = losses.iter().map(difference).collect();
        let first = *differences.first()?;
        let larger = |a: Difference, b: &Difference| if b.relative > a.relative { *b } else { a };
        let largest = differences.iter().fold(first, larger);
        Some(Self {
            sides,
            tolerances,
            first,
            largest,
            agree: first.relative <= tolerances.first && largest.relative <= tolerances.largest,
            losses,
        })
    }

    /// Both losses and their difference, as comma-separated values with a header.
    pub fn csv(&self) -> String {
        let [a, b] = self.sides.each_ref().map(Side::label);
        let mut text = format!("update,{a},{b},relative difference\n");
        for pair in &self.losses {
            let (update, a, b) = pair;
            text += &format!("{update},{a},{b},{:e}\n", difference(pair).relative);
        }
        text
    }

    /// What is to be said of it, in two lines.
    pub fn lines(&self) -> String {
        let [a, b] = self.sides.each_ref().map(Side::label);
        let line = |name: &str, found: Difference, allowed: f64| {
            let verdict = if found.relative <= allowed {
                "within"
            } else {
                "BEYOND"
            };
            let (relative, update) = (found.relative, found.update);
            format!("{name}: {relative:.2e} in update {update}, {verdict} {allowed:e}\n")
        };
        format!(
            "{a} and {b}, relative differences of the loss over {} updates\n",
            self.losses.len()
        ) + &line("first", self.first, self.tolerances.first)
            + &line("largest", self.largest, self.tolerances.largest)
    }
}

fn difference(&(update, a, b): &(u64, f64, f64)) -> Difference {
    let relative = (a - b).abs() / a.abs().max(b.abs()).max(f64::MIN_POSITIVE);
    Difference {
        update,
        relative: if relative.is_finite() {
            relative
        } else {
            f64::INFINITY
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(device: &str, precision: Precision) -> Side {
        Side {
            device: device.into(),
            precision,
        }
    }

    fn compare(b: [f64; 3]) -> Comparison {
        let sides = [
            side("flex", Precision::F32),
            side("ndarray", Precision::F32),
        ];
        let numbered = |losses: [f64; 3]| (1..).zip(losses).collect::<Vec<_>>();
        let (a, b) = (numbered([4.0, 2.0, 1.0]), numbered(b));
        let tolerances = Tolerances::of(sides.each_ref());
        Comparison::new(sides, tolerances, [&a, &b]).unwrap()
    }

    #[test]
    fn the_first_and_the_largest_difference_are_judged() {
        assert!(compare([4.0, 2.0, 1.0]).agree);
        let some = compare([4.0, 2.0, 1.01]);
        assert!(some.agree && some.largest.update == 3, "{some:?}");
        assert!(!compare([4.01, 2.0, 1.0]).agree);
        assert!(!compare([4.0, 2.5, 1.0]).agree);
        let lost = compare([4.0, f64::NAN, 1.0]);
        assert!(!lost.agree && lost.largest.update == 2);
    }

    #[test]
    fn only_what_both_made_is_compared() {
        let sides = || [side("flex", Precision::F32), side("flex", Precision::F32)];
        let tolerances = Tolerances::of(sides().each_ref());
        let later: &[(u64, f64)] = &[(2, 2.0), (3, 1.0)];
        let first: &[(u64, f64)] = &[(1, 4.0), (2, 2.0)];
        assert_eq!(Comparison::new(sides(), tolerances, [first, later]), None);
        let both = Comparison::new(sides(), tolerances, [first, &first[..1]]).unwrap();
        assert_eq!(both.losses, [(1, 4.0, 4.0)]);
    }

    #[test]
    fn the_less_exact_side_sets_the_tolerances() {
        let of = |a, b| Tolerances::of([&a, &b]).largest;
        let flex = || side("flex", Precision::F32);
        assert!(of(flex(), flex()) < of(flex(), side("cuda", Precision::F32)));
        let cuda = side("cuda", Precision::F32);
        assert!(of(cuda, flex()) < of(flex(), side("cuda", Precision::Bf16)));
    }
}
