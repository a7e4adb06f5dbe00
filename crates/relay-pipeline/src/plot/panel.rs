//! A panel of the curves: axes, shaded training lengths, and a line with its band per arm.

use plotters::prelude::{DrawingBackend, RGBColor};

use super::{
    canvas::{Canvas, Drawn, Point},
    frame::{Frame, PERCENT, SMALL, percents, ticks},
    letters::text_width,
    style::{LineStyle, SHADE},
};
use crate::Share;

/// Radius of markers.
pub(super) const RADIUS: f64 = 4.2;
/// What is left free beside the outermost lengths, for half of a marker and for lines that stand beside their length.
const MARGIN: f64 = 10.0;

/// Fewest problems that a length has with a band: of two there is little to be told.
const FEWEST: u64 = 10;

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
        let places = Places::of(self);
        let [low, high] = places.ends.map(|end| places.at(end));
        // The outermost markers stay within the axes, however near the lengths are to each other.
        let beside = (MARGIN * (high - low) / (width - 2.0 * MARGIN)).max(0.5);
        let frame = Frame::new(corner, width, [low - beside, high + beside], PERCENT);
        if let Some([from, to]) = self.train {
            let edges = [from as f64 - 0.5, to as f64 + 0.5];
            frame.shade(canvas, edges.map(|edge| places.at(edge)), SHADE)?;
        }
        let pixels = width / (high - low + 2.0 * beside);
        let along = places.ticks(pixels);
        frame.draw(
            canvas,
            &self.title,
            (self.across, &along),
            (unit, &percents()),
        )?;
        let axis = Axis {
            frame,
            places,
            pixels,
        };
        for line in &self.lines {
            line.draw_band(canvas, &axis)?;
        }
        let near = axis.a_length(false) < 5.0 * RADIUS;
        let lines = self.lines.len();
        self.lines.iter().enumerate().try_for_each(|(i, line)| {
            // Where lengths are near each other, those within the training lengths take turns.
            let has_marker =
                |length: usize| !near || places.is_longer(length) || length % lines == i;
            line.draw(canvas, &axis, has_marker)
        })
    }
}

/// Where lengths stand along an axis: one unit apart, but for the training lengths, which are nearer to each other where the
/// longer ones would have less than [`ROOM`] of the axis.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// The shortest and the longest length.
    ends: [f64; 2],
    /// What the training lengths end at, between two lengths.
    border: f64,
    /// How far training lengths are apart.
    scale: f64,
}

/// The least share of the axis that longer lengths have.
const ROOM: f64 = 0.45;

impl Places {
    fn of(panel: &Panel) -> Self {
        let lengths = || {
            let lines = panel.lines.iter();
            lines.flat_map(|line| line.points.iter().map(|p| p.0 as f64))
        };
        let low = lengths().reduce(f64::min).unwrap_or(0.0);
        let high = lengths().reduce(f64::max).unwrap_or(0.0);
        let border = panel.train.map_or(low - 1.0, |[_, to]| to as f64 + 0.5);
        let (trained, longer) = (border - low + 0.5, high - border + 0.5);
        let scale = match trained > 0.0 && longer > 0.5 {
            true => (longer * (1.0 - ROOM) / ROOM / trained).min(1.0),
            false => 1.0,
        };
        Self {
            ends: [low, high],
            border,
            scale,
        }
    }

    fn is_longer(&self, length: usize) -> bool {
        length as f64 > self.border
    }

    fn at(&self, length: f64) -> f64 {
        let beyond = length - self.border;
        self.border
            + if beyond < 0.0 {
                self.scale * beyond
            } else {
                beyond
            }
    }

    /// Round lengths, on both sides of the border, no two nearer than two numbers need; a unit has so many `pixels`.
    fn ticks(&self, pixels: f64) -> Vec<(f64, String)> {
        let [low, high] = self.ends;
        let widest = text_width(&format!("{high:.0}"), SMALL) + 6.0;
        let least = |scale: f64| (widest / (pixels * scale)).max(1.0);
        if self.scale >= 1.0 {
            return ticks(low, high, least(1.0));
        }
        let place = |(length, label): (f64, String)| (self.at(length), label);
        let part = |low, high, scale| ticks(low, high, least(scale)).into_iter().map(place);
        let mut all: Vec<_> = part(low, self.border, self.scale).collect();
        let longer: Vec<_> = part(self.border, high, 1.0).collect();
        // The last trained length gives way to the first longer one.
        while let (Some((last, label)), Some((first, other))) = (all.last(), longer.first()) {
            let room = (text_width(label, SMALL) + text_width(other, SMALL)) / 2.0 + 2.0;
            if pixels * (first - last) >= room {
                break;
            }
            all.pop();
        }
        all.extend(longer);
        all
    }
}

/// The axes of a panel, and where lengths stand along them.
struct Axis {
    frame: Frame,
    places: Places,
    /// Of a unit along.
    pixels: f64,
}

impl Axis {
    /// Pixels between two lengths.
    fn a_length(&self, longer: bool) -> f64 {
        self.pixels * if longer { 1.0 } else { self.places.scale }
    }
}

/// What lies between two lines.
pub(super) fn band<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    low: &[Point],
    high: &[Point],
    colour: RGBColor,
) -> Drawn {
    let around: Vec<Point> = low.iter().chain(high.iter().rev()).copied().collect();
    canvas.polygon(&around, colour, 0.12)?;
    // In print without colour the fill alone is hardly seen.
    for edge in [low, high] {
        canvas.line(edge, colour, 0.5, &[])?;
    }
    Ok(())
}

impl Line {
    /// Lines stand a little beside each other, else those near 100 % would hide all but the last.
    fn at(&self, axis: &Axis, length: usize, share: f64) -> Point {
        let (x, y) = axis.frame.at(axis.places.at(length as f64), 100.0 * share);
        let apart = (0.14 * axis.a_length(axis.places.is_longer(length))).min(5.5);
        (x + self.place * apart, y)
    }

    fn draw_band<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, axis: &Axis) -> Drawn {
        let points = self.points.iter().filter(|(_, n, _)| *n >= FEWEST);
        let points: Vec<_> = points.collect();
        if points.iter().all(|(_, _, share)| share.low == share.high) {
            return Ok(());
        }
        let place = |pick: fn(&Share) -> f64| {
            let points = points.iter();
            points.map(move |(length, _, share)| self.at(axis, *length, pick(share)))
        };
        let low: Vec<Point> = place(|share| share.low).collect();
        let high: Vec<Point> = place(|share| share.high).collect();
        if let ([low], [high]) = (low.as_slice(), high.as_slice()) {
            return canvas.line(&[*low, *high], self.style.colour, 1.5, &[]);
        }
        band(canvas, &low, &high, self.style.colour)
    }

    fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        axis: &Axis,
        has_marker: impl Fn(usize) -> bool,
    ) -> Drawn {
        let at = |(length, _, share): &(usize, u64, Share)| self.at(axis, *length, share.value);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn places(train: Option<[usize; 2]>, [low, high]: [usize; 2]) -> Places {
        let line = Line {
            arm: String::new(),
            style: crate::plot::style::line_styles(&["ar_relay"])[0],
            place: 0.0,
            points: (low..=high)
                .map(|length| (length, 1, Share::exactly(1.0)))
                .collect(),
        };
        Places::of(&Panel {
            task: String::new(),
            title: String::new(),
            across: "length",
            train,
            lines: vec![line],
        })
    }

    #[test]
    fn longer_lengths_have_room() {
        let all = places(Some([3, 30]), [3, 36]);
        let [from, border, to] = [2.5, 30.5, 36.5].map(|length| all.at(length));
        let share = (to - border) / (to - from);
        assert!((share - ROOM).abs() < 1e-9, "{share}");
        assert!(all.is_longer(31) && !all.is_longer(30));
    }

    #[test]
    fn no_number_stands_on_another() {
        for (trained, high) in [(30, 36), (40, 47), (100, 107), (100, 120), (6, 8)] {
            let all = places(Some([1, trained]), [1, high]);
            let pixels = 330.0 / (all.at(high as f64) - all.at(1.0) + 1.0);
            let ticks = all.ticks(pixels);
            for pair in ticks.windows(2) {
                let [left, right] = [0, 1].map(|i| text_width(&pair[i].1, SMALL) / 2.0);
                let apart = pixels * (pair[1].0 - pair[0].0);
                assert!(apart > left + right, "{trained} to {high}: {pair:?}");
            }
            let longer = |(_, label): &&(f64, String)| label.parse::<usize>().unwrap() > trained;
            assert!(ticks.iter().filter(longer).count() > 1, "{ticks:?}");
        }
    }

    #[test]
    fn without_longer_lengths_or_with_many_all_are_alike() {
        for (train, ends) in [
            (Some([1, 6]), [1, 6]),
            (Some([1, 6]), [1, 20]),
            (Some([5, 6]), [1, 3]),
            (None, [0, 12]),
        ] {
            let all = places(train, ends);
            let [a, b] = ends.map(|end| all.at(end as f64));
            assert_eq!(b - a, (ends[1] - ends[0]) as f64, "{train:?} {ends:?}");
        }
    }
}
