//! A panel of the curves: axes, shaded training lengths, and a line with its band per arm.

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Point},
    frame::{Frame, PERCENT, percents, ticks},
    style::{LineStyle, SHADE},
};
use crate::Share;

/// Radius of markers.
pub(super) const RADIUS: f64 = 4.2;
/// What is left free beside the outermost lengths, for half of a marker and for lines that stand beside their length.
const MARGIN: f64 = 10.0;

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
        let (low, high) = (
            lengths().min().unwrap_or(0) as f64,
            lengths().max().unwrap_or(0) as f64,
        );
        // The outermost markers stay within the axes, however near the lengths are to each other.
        let least = MARGIN * (high - low) / (width - 2.0 * MARGIN);
        let beside = least.max(0.5);
        let frame = Frame::new(corner, width, [low - beside, high + beside], PERCENT);
        if let Some([from, to]) = self.train {
            frame.shade(canvas, [from as f64 - 0.5, to as f64 + 0.5], SHADE)?;
        }
        let along = ticks(low, high, 1.0);
        frame.draw(
            canvas,
            &self.title,
            (self.across, &along),
            (unit, &percents()),
        )?;
        for line in &self.lines {
            line.draw_band(canvas, &frame)?;
        }
        let near = frame.width / (high - low).max(1.0) < 5.0 * RADIUS;
        let lines = self.lines.len();
        self.lines.iter().enumerate().try_for_each(|(i, line)| {
            // Where lengths are near each other, those within the training lengths take turns.
            let has_marker = |length: usize| {
                let inside = self.train.is_some_and(|[_, to]| length <= to);
                !(near && inside) || length % lines == i
            };
            line.draw(canvas, &frame, has_marker)
        })
    }
}

impl Line {
    /// Lines stand a little beside each other, else those near 100 % would hide all but the last.
    fn at(&self, frame: &Frame, length: usize, share: f64) -> Point {
        let [low, high] = frame.across;
        let (x, y) = frame.at(length as f64, 100.0 * share);
        (
            x + self.place * (0.12 * frame.width / (high - low)).min(5.5),
            y,
        )
    }

    fn draw_band<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, frame: &Frame) -> Drawn {
        let place = |pick: fn(&Share) -> f64| {
            self.points
                .iter()
                .map(move |(length, _, share)| self.at(frame, *length, pick(share)))
        };
        let low: Vec<Point> = place(|share| share.low).collect();
        let high: Vec<Point> = place(|share| share.high).collect();
        if let ([low], [high]) = (low.as_slice(), high.as_slice()) {
            return canvas.line(&[*low, *high], self.style.colour, 1.5, &[]);
        }
        let around: Vec<Point> = low.into_iter().chain(high.into_iter().rev()).collect();
        canvas.polygon(&around, self.style.colour, 0.12)
    }

    fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        frame: &Frame,
        has_marker: impl Fn(usize) -> bool,
    ) -> Drawn {
        let at = |(length, _, share): &(usize, u64, Share)| self.at(frame, *length, share.value);
        let points: Vec<Point> = self.points.iter().map(at).collect();
        canvas.line(
            &points,
            self.style.colour,
            self.style.width,
            self.style.dashes,
        )?;
        let marked = self.points.iter().filter(|point| has_marker(point.0));
        marked.map(at).try_for_each(|point| {
            canvas.marker(self.style.marker, point, RADIUS, self.style.colour)
        })
    }
}
