//! Numbers over a common axis, such as time: a panel a quantity, a line a run.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    frame::{BESIDE, Frame, HEIGHT, TEXT, ticks},
    legend,
    letters::text_width,
    style::{LineStyle, line_styles},
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 34.0;
const SWATCH: f64 = 40.0;
const PLOT: f64 = 430.0;

/// One quantity of [`Figure::of_traces`](super::Figure::of_traces).
#[derive(Debug, Clone)]
pub struct Traces {
    /// What it is.
    pub title: String,
    /// Its unit, as it stands beside the axis.
    pub unit: String,
    /// Whether the axis begins at 0.
    pub from_zero: bool,
    /// Name and points of each line; lines of one name look the same in all panels.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct TracesFigure {
    pub(super) title: String,
    pub(super) across: String,
    pub(super) panels: Vec<Traces>,
}

impl TracesFigure {
    pub(super) fn extent(&self) -> Extent {
        Extent {
            width: self.width() as u32,
            height: (self.top() + HEIGHT + MARGIN / 2.0).ceil() as u32,
        }
    }

    pub(super) fn csv(&self) -> String {
        let mut text = format!("quantity,line,{},value\n", field(&self.across));
        for panel in &self.panels {
            for (name, points) in &panel.lines {
                for (x, y) in points {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{},{},{x},{y}", field(&panel.title), field(name));
                }
            }
        }
        text
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        let title = (MARGIN, MARGIN + TITLE / 3.0);
        canvas.text(&self.title, title, Lettering::new(18.0))?;
        let names = self.names();
        let styles = line_styles(&names);
        for ((name, style), (x, y)) in names.iter().zip(&styles).zip(self.legend_places()) {
            canvas.line(
                &[(x, y), (x + SWATCH, y)],
                style.colour,
                style.width,
                style.dashes,
            )?;
            canvas.text(name, (x + SWATCH + 8.0, y), Lettering::new(TEXT))?;
        }
        for (i, panel) in self.panels.iter().enumerate() {
            let corner = (MARGIN + i as f64 * (PLOT + BESIDE), self.top());
            let style = |name: &str| {
                let place = names.iter().position(|other| *other == name);
                styles[place.unwrap_or_default()]
            };
            panel.draw(canvas, corner, (&self.across, self.across_ends()), style)?;
        }
        Ok(())
    }

    /// Names of all lines, in the order in which they are first met.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self.panels.iter().flat_map(|panel| &panel.lines) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    fn across_ends(&self) -> [f64; 2] {
        let points = self.panels.iter().flat_map(Traces::points);
        ends(points.map(|point| point.0))
    }

    fn width(&self) -> f64 {
        2.0 * MARGIN + self.panels.len().max(1) as f64 * (PLOT + BESIDE)
    }

    fn top(&self) -> f64 {
        let last = self.legend_places().last().map_or(0.0, |place| place.1);
        last.max(MARGIN + TITLE / 2.0) + legend::ROW / 2.0 + 4.0
    }

    /// Middles of the left ends of the legend's entries, row by row.
    fn legend_places(&self) -> Vec<Point> {
        let names = self.names().into_iter();
        let widths = names.map(|name| SWATCH + 30.0 + text_width(name, TEXT));
        let start = (MARGIN, MARGIN + TITLE + legend::ROW / 2.0);
        legend::places(widths, start, self.width())
    }
}

impl Traces {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let lines = self.lines.iter();
        lines.flat_map(|(_, points)| points.iter().copied())
    }

    fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        corner: Point,
        (across, across_ends): (&str, [f64; 2]),
        style: impl Fn(&str) -> LineStyle,
    ) -> Drawn {
        let zero = self.from_zero.then_some(0.0);
        let [low, high] = ends(self.points().map(|point| point.1).chain(zero));
        let above = 0.06 * (high - low);
        let below = if self.from_zero { 0.0 } else { above };
        let frame = Frame::new(corner, PLOT, across_ends, [low - below, high + above]);
        let along = ticks(across_ends[0], across_ends[1], 0.0);
        let beside = ticks(low, high, 0.0);
        frame.draw(canvas, &self.title, (across, &along), (&self.unit, &beside))?;
        self.lines.iter().try_for_each(|(name, points)| {
            let style = style(name);
            let finite = points
                .iter()
                .filter(|(x, y)| x.is_finite() && y.is_finite());
            let points: Vec<Point> = finite.map(|&(x, y)| frame.at(x, y)).collect();
            canvas.line(&points, style.colour, 1.5, style.dashes)
        })
    }
}

/// Least and largest value; never the same, so that they can be an axis.
fn ends(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] = values
        .filter(|value| value.is_finite())
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
            [low.min(value), high.max(value)]
        });
    if low > high {
        [0.0, 1.0]
    } else if low == high {
        // Beyond 2^53 half of one more is the same number.
        let around = (low.abs() * 1e-3).max(0.5);
        [low - around, high + around]
    } else {
        [low, high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Figure;

    #[test]
    fn every_line_is_in_the_figure_and_in_its_csv() {
        let line = |name: &str, y: f64| (name.to_owned(), vec![(0.0, y), (1.0, y + 1.0)]);
        let panel = |title: &str| Traces {
            title: title.into(),
            unit: "MiB".into(),
            from_zero: true,
            lines: vec![line("first", 1.0), line("second, later", 2.0)],
        };
        let figure = Figure::of_traces(
            "soak",
            "Memory",
            "hours",
            vec![panel("resident"), panel("other")],
        );
        let svg = figure.svg().unwrap();
        for text in [
            "Memory",
            "resident",
            "other",
            "MiB",
            "hours",
            "second, later",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let csv = figure.csv();
        assert_eq!(csv.lines().next(), Some("quantity,line,hours,value"));
        assert_eq!(csv.lines().nth(4), Some("resident,\"second, later\",1,3"));
        assert_eq!(csv.lines().count(), 9);
    }

    #[test]
    fn numbers_without_extent_still_make_an_axis() {
        assert_eq!(ends([].into_iter()), [0.0, 1.0]);
        assert_eq!(ends([2.0, f64::NAN].into_iter()), [1.5, 2.5]);
    }
}
