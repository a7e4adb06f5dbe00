//! A panel of the curves: axes, shaded training lengths, and a line with its band per arm.

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Lettering, Point},
    style::{FAINT_INK, GRID, INK, LineStyle, SHADE},
};
use crate::Share;

/// Height of a panel.
pub(super) const HEIGHT: f64 = 352.0;
/// What a panel has beside its axes.
pub(super) const BESIDE: f64 = 74.0;
/// Size of text.
pub(super) const TEXT: f64 = 13.0;
/// Radius of markers.
pub(super) const RADIUS: f64 = 4.2;

const PLOT_LEFT: f64 = 58.0;
const PLOT_TOP: f64 = 40.0;
const PLOT_HEIGHT: f64 = 254.0;

/// One task.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) task: String,
    /// What stands above it.
    pub(super) title: String,
    /// What the axis from left to right counts.
    pub(super) across: &'static str,
    pub(super) train: Option<[usize; 2]>,
    pub(super) lines: Vec<Line>,
}

/// One arm.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) arm: String,
    pub(super) style: LineStyle,
    /// Which of the figure's lines it is, counted from the middle one.
    pub(super) place: f64,
    pub(super) points: Vec<(usize, u64, Share)>,
}

/// From lengths and shares to points of the canvas.
struct Axes {
    origin: Point,
    width: f64,
    first: f64,
    span: f64,
}

impl Axes {
    /// Lines stand a little beside each other, else those near 100 % would hide all but the last.
    fn at_line(&self, line: &Line, length: usize, share: f64) -> Point {
        let (x, y) = self.at(length as f64, share);
        (x + line.place * (0.12 * self.width / self.span).min(5.5), y)
    }

    fn at(&self, length: f64, share: f64) -> Point {
        // A strip below 0 % and above 100 % keeps the markers there whole.
        let up = (100.0 * share + 4.0) / 108.0;
        (
            self.origin.0 + self.width * (length - self.first) / self.span,
            self.origin.1 + PLOT_HEIGHT * (1.0 - up),
        )
    }
}

impl Panel {
    /// Draws the panel with its top left corner at `corner` and axes of `width`.
    pub(super) fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        corner: Point,
        width: f64,
        unit: &str,
    ) -> Drawn {
        let lengths = || {
            self.lines
                .iter()
                .flat_map(|line| line.points.iter().map(|p| p.0))
        };
        let (low, high) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
        let first = low as f64 - 0.5;
        let axes = Axes {
            origin: (corner.0 + PLOT_LEFT, corner.1 + PLOT_TOP),
            width,
            first,
            span: high as f64 + 0.5 - first,
        };
        canvas.text(
            &self.title,
            (axes.origin.0, corner.1 + 24.0),
            Lettering::new(15.0),
        )?;
        self.draw_frame(canvas, &axes, (low, high), unit)?;
        for line in &self.lines {
            line.draw_band(canvas, &axes)?;
        }
        self.lines
            .iter()
            .try_for_each(|line| line.draw(canvas, &axes))
    }

    fn draw_frame<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        axes: &Axes,
        ends: (usize, usize),
        unit: &str,
    ) -> Drawn {
        let (left, top) = axes.origin;
        let (right, bottom) = (left + axes.width, top + PLOT_HEIGHT);
        if let Some([from, to]) = self.train {
            let clip = |length: f64| axes.at(length, 0.0).0.clamp(left, right);
            let (from, to) = (clip(from as f64 - 0.5), clip(to as f64 + 0.5));
            if to > from {
                canvas.rectangle((from, top), (to, bottom), SHADE)?;
            }
        }
        for percent in (0..=100).step_by(20) {
            let (_, y) = axes.at(0.0, f64::from(percent) / 100.0);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0, &[])?;
            canvas.text(
                &percent.to_string(),
                (left - 8.0, y),
                Lettering::new(12.0).colour(FAINT_INK).ending(),
            )?;
        }
        for length in ticks(ends.0, ends.1) {
            let (x, _) = axes.at(length as f64, 0.0);
            canvas.line(&[(x, bottom), (x, bottom + 5.0)], FAINT_INK, 1.0, &[])?;
            let lettering = Lettering::new(12.0).colour(FAINT_INK).centred();
            canvas.text(&length.to_string(), (x, bottom + 15.0), lettering)?;
        }
        canvas.line(
            &[(left, top), (left, bottom), (right, bottom)],
            FAINT_INK,
            1.25,
            &[],
        )?;
        canvas.text(
            self.across,
            ((left + right) / 2.0, bottom + 36.0),
            Lettering::new(TEXT).centred(),
        )?;
        let middle = (left - 46.0, (top + bottom) / 2.0);
        canvas.text(
            unit,
            middle,
            Lettering::new(TEXT).colour(INK).centred().upwards(),
        )
    }
}

impl Line {
    fn draw_band<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, axes: &Axes) -> Drawn {
        let place = |pick: fn(&Share) -> f64| {
            self.points
                .iter()
                .map(move |(length, _, share)| axes.at_line(self, *length, pick(share)))
        };
        let low: Vec<Point> = place(|share| share.low).collect();
        let high: Vec<Point> = place(|share| share.high).collect();
        if let ([low], [high]) = (low.as_slice(), high.as_slice()) {
            return canvas.line(&[*low, *high], self.style.colour, 1.5, &[]);
        }
        let around: Vec<Point> = low.into_iter().chain(high.into_iter().rev()).collect();
        canvas.polygon(&around, self.style.colour, 0.12)
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, axes: &Axes) -> Drawn {
        let points: Vec<Point> = self
            .points
            .iter()
            .map(|(length, _, share)| axes.at_line(self, *length, share.value))
            .collect();
        canvas.line(
            &points,
            self.style.colour,
            self.style.width,
            self.style.dashes,
        )?;
        points.iter().try_for_each(|point| {
            canvas.marker(self.style.marker, *point, RADIUS, self.style.colour)
        })
    }
}

/// At most eleven round lengths from `low` to `high`.
pub(super) fn ticks(low: usize, high: usize) -> impl Iterator<Item = usize> {
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_usize.pow(power)));
    let step = steps
        .into_iter()
        .find(|step| (high - low) / step <= 10)
        .unwrap_or(1);
    (low.div_ceil(step)..=high / step).map(move |i| i * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks(1, 7).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            ticks(5, 20).collect::<Vec<_>>(),
            [6, 8, 10, 12, 14, 16, 18, 20]
        );
        assert_eq!(ticks(100, 120).count(), 11);
        assert_eq!(ticks(3, 3).collect::<Vec<_>>(), [3]);
    }
}
