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
        let frame = Frame::new(corner, width, [low - 0.5, high + 0.5], PERCENT);
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
        self.lines
            .iter()
            .try_for_each(|line| line.draw(canvas, &frame))
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

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, frame: &Frame) -> Drawn {
        let points: Vec<Point> = self
            .points
            .iter()
            .map(|(length, _, share)| self.at(frame, *length, share.value))
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
