//! The axes of a panel: from numbers to points of the canvas, and the lines and numbers around them.

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Lettering, Point},
    style::{FAINT_INK, GRID, INK},
};

/// Height of a panel.
pub(super) const HEIGHT: f64 = 352.0;
/// What a panel has beside its axes.
pub(super) const BESIDE: f64 = 74.0;
/// Size of text.
pub(super) const TEXT: f64 = 13.0;
/// Size of the numbers along the axes.
pub(super) const SMALL: f64 = 12.0;
/// What shares in per cent lie between: a strip below 0 and above 100 keeps the markers there whole.
pub(super) const PERCENT: [f64; 2] = [-4.0, 104.0];

const LEFT: f64 = 58.0;
const TOP: f64 = 40.0;
const PLOT_HEIGHT: f64 = 254.0;

/// Two axes and what they reach over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Top left corner of the axes.
    origin: Point,
    pub(super) width: f64,
    pub(super) across: [f64; 2],
    up: [f64; 2],
}

impl Frame {
    /// The axes, `width` wide, of a panel with its top left corner at `corner`.
    pub(super) fn new(corner: Point, width: f64, across: [f64; 2], up: [f64; 2]) -> Self {
        Self {
            origin: (corner.0 + LEFT, corner.1 + TOP),
            width,
            across,
            up,
        }
    }

    /// Where a pair of numbers stands.
    pub(super) fn at(&self, x: f64, y: f64) -> Point {
        let part = |[low, high]: [f64; 2], value: f64| (value - low) / (high - low);
        (
            self.origin.0 + self.width * part(self.across, x),
            self.origin.1 + PLOT_HEIGHT * (1.0 - part(self.up, y)),
        )
    }

    /// Fills the axes from `from` to `to`, as far as they reach.
    pub(super) fn shade<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        [from, to]: [f64; 2],
        colour: plotters::style::RGBColor,
    ) -> Drawn {
        let [low, high] = self.across;
        let x = |value: f64| self.at(value.clamp(low, high), 0.0).0;
        let (left, right) = (x(from), x(to));
        if right <= left {
            return Ok(());
        }
        let top = self.origin.1;
        canvas.rectangle((left, top), (right, top + PLOT_HEIGHT), colour)
    }

    /// Title, axes with their numbers, and what they count.
    pub(super) fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        title: &str,
        (across, along): (&str, &[(f64, String)]),
        (upwards, beside): (&str, &[(f64, String)]),
    ) -> Drawn {
        let (left, top) = self.origin;
        let (right, bottom) = (left + self.width, top + PLOT_HEIGHT);
        canvas.text(title, (left, top - 16.0), Lettering::new(15.0))?;
        let small = Lettering::new(SMALL).colour(FAINT_INK);
        for (value, label) in beside {
            let (_, y) = self.at(0.0, *value);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0, &[])?;
            canvas.text(label, (left - 8.0, y), small.ending())?;
        }
        for (value, label) in along {
            let (x, _) = self.at(*value, 0.0);
            canvas.line(&[(x, bottom), (x, bottom + 5.0)], FAINT_INK, 1.0, &[])?;
            canvas.text(label, (x, bottom + 15.0), small.centred())?;
        }
        canvas.line(
            &[(left, top), (left, bottom), (right, bottom)],
            FAINT_INK,
            1.25,
            &[],
        )?;
        let name = Lettering::new(TEXT).colour(INK).centred();
        canvas.text(across, ((left + right) / 2.0, bottom + 36.0), name)?;
        let middle = (left - 46.0, (top + bottom) / 2.0);
        canvas.text(upwards, middle, name.upwards())
    }
}

/// Every twentieth per cent.
pub(super) fn percents() -> Vec<(f64, String)> {
    (0..=100)
        .step_by(20)
        .map(|percent| (f64::from(percent), percent.to_string()))
        .collect()
}

/// At most eleven round numbers from `low` to `high`, and no two closer than `least`.
pub(super) fn ticks(low: f64, high: f64, least: f64) -> Vec<(f64, String)> {
    let span = high - low;
    if !span.is_finite() {
        return Vec::new();
    }
    // No smaller step has at most ten intervals; two powers further some do.
    let smallest = match (span / 10.0).max(least) {
        above if above > 0.0 => above.log10().floor() as i32,
        _ => 0,
    };
    let steps = (smallest..=smallest + 2)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let fits = |step: &f64| *step >= least && span / step <= 10.0;
    let Some(step) = steps.into_iter().find(fits) else {
        return Vec::new();
    };
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    // What is a round number up to rounding is one.
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|i| i as f64 * step)
        .map(|value| (value, format!("{value:.decimals$}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, least: f64) -> Vec<String> {
        ticks(low, high, least).into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(labels(1.0, 7.0, 1.0), ["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(
            labels(5.0, 20.0, 1.0),
            ["6", "8", "10", "12", "14", "16", "18", "20"]
        );
        assert_eq!(labels(100.0, 120.0, 1.0).len(), 11);
        assert_eq!(labels(3.0, 3.0, 1.0), ["3"]);
        assert_eq!(
            labels(0.0, 1.2, 0.0),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2"]
        );
        assert_eq!(labels(0.0, 130.0, 0.0)[..3], ["0", "20", "40"]);
        let rates = labels(1.2e-7, 5e-7, 0.0);
        assert_eq!(
            (rates.len(), &rates[0][..], &rates[7][..]),
            (8, "0.00000015", "0.00000050")
        );
    }

    #[test]
    fn no_span_takes_for_ever() {
        assert!(labels(-1e308, 1e308, 0.0).is_empty());
        assert!(labels(f64::NAN, 1.0, 0.0).is_empty());
        assert!(labels(0.0, f64::INFINITY, 0.0).is_empty());
        for (low, high) in [(0.0, 1e300), (1e15, 1e15 + 4.0), (0.0, 1e-300), (5.0, 5.0)] {
            assert!(labels(low, high, 0.0).len() <= 11, "{low} {high}");
        }
    }
}
