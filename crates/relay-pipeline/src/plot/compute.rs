//! Answer accuracy beside the computing that an arm needed: a panel per task, a point per arm.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    bands::Bands,
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    frame::{BESIDE, Frame, HEIGHT, PERCENT, TEXT, percents},
    legend,
    letters::text_width,
    style::{INK, LineStyle, line_styles},
};
use crate::{
    Results, Share,
    arms::{arm_label, task_label},
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 40.0;
const PLOT: f64 = 330.0;
const COLUMNS: usize = 3;
/// Half the width of the ends of an interval.
const CAP: f64 = 2.5;
/// Radius of markers.
const RADIUS: f64 = 5.0;

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct Compute {
    title: String,
    bands: Bands,
    panels: Vec<(String, Vec<Arm>)>,
    legend: Vec<(String, LineStyle)>,
    /// Decimal logarithms of the least and the most FLOP on the axis.
    ends: (f64, f64),
}

#[derive(Debug, Clone)]
struct Arm {
    name: String,
    style: LineStyle,
    flops: f64,
    n: u64,
    share: Share,
}

impl Compute {
    /// The points of all tasks; `None` when no arm has both numbers. `longer` says how many problems longer than trained on an arm
    /// was asked of a task, and the share of right answers.
    pub(super) fn new(
        results: &Results,
        title: &str,
        bands: Bands,
        longer: impl Fn(&str, &str) -> Option<(u64, Share)>,
    ) -> Option<Self> {
        let names: Vec<&str> = results.arms.keys().collect();
        let styles = line_styles(&names);
        let arm = |task: &str, i: usize| {
            let flops = results.cost_with_all_below(names[i])?.flops?;
            let (n, share) = longer(names[i], task).filter(|_| flops > 0.0)?;
            let name = names[i].to_owned();
            Some(Arm {
                name,
                style: styles[i],
                flops,
                n,
                share,
            })
        };
        let panels: Vec<(String, Vec<Arm>)> = results
            .tasks()
            .into_iter()
            .map(|task| {
                (
                    task.to_owned(),
                    (0..names.len()).filter_map(|i| arm(task, i)).collect(),
                )
            })
            .filter(|(_, arms): &(_, Vec<Arm>)| !arms.is_empty())
            .collect();
        let logs = panels
            .iter()
            .flat_map(|(_, arms)| arms.iter().map(|arm| arm.flops.log10()));
        let low = logs.clone().fold(f64::INFINITY, f64::min) - 0.15;
        let high = logs.fold(f64::NEG_INFINITY, f64::max) + 0.15;
        let shown = |name: &str| {
            let mut arms = panels.iter().flat_map(|(_, arms)| arms);
            arms.any(|arm| arm.name == name)
        };
        let legend = names.iter().zip(styles.iter());
        let legend = legend
            .filter(|(name, _)| shown(name))
            .map(|(name, style)| (arm_label(name).to_owned(), *style))
            .collect();
        (!panels.is_empty()).then_some(Self {
            title: title.to_owned(),
            bands,
            panels,
            legend,
            ends: (low, high),
        })
    }

    pub(super) fn extent(&self) -> Extent {
        let rows = self.panels.len().div_ceil(COLUMNS);
        Extent {
            width: self.width() as u32,
            height: (self.top() + rows as f64 * HEIGHT + MARGIN / 2.0) as u32,
        }
    }

    fn width(&self) -> f64 {
        let columns = self.panels.len().min(COLUMNS);
        let panels = columns as f64 * (PLOT + BESIDE);
        2.0 * MARGIN + panels.max(text_width(&self.title, 18.0))
    }

    /// Where the panels begin.
    fn top(&self) -> f64 {
        let last = self.legend_places().last().map_or(TITLE, |place| place.1);
        last + legend::ROW
    }

    /// Where the entries of the legend begin, row by row; the last is that of the bars.
    fn legend_places(&self) -> Vec<Point> {
        let arms = self.legend.iter().map(|(label, _)| label.as_str());
        let widths = arms.chain(self.bands.label());
        let widths = widths.map(|label| 18.0 + text_width(label, TEXT) + 26.0);
        let start = (MARGIN, TITLE + legend::ROW / 2.0);
        legend::places(widths, start, self.width())
    }

    fn draw_legend<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        let places = self.legend_places();
        for ((label, style), &(x, y)) in self.legend.iter().zip(&places) {
            canvas.marker(style.marker, (x + 6.0, y), 5.0, style.colour)?;
            canvas.text(label, (x + 18.0, y), Lettering::new(TEXT))?;
        }
        let (Some(label), Some(&(x, y))) = (self.bands.label(), places.get(self.legend.len()))
        else {
            return Ok(());
        };
        bar(canvas, [(x + 6.0, y - 7.0), (x + 6.0, y + 7.0)])?;
        canvas.text(label, (x + 18.0, y), Lettering::new(TEXT))
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from("task,arm,flops,n,share,low,high\n");
        for (task, arms) in &self.panels {
            for Arm {
                name,
                flops,
                n,
                share,
                ..
            } in arms
            {
                let Share { value, low, high } = share;
                let (task, name) = (field(task), field(name));
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{task},{name},{flops:e},{n},{value},{low},{high}");
            }
        }
        text
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        canvas.text(&self.title, (MARGIN, MARGIN + 11.0), Lettering::new(18.0))?;
        self.draw_legend(canvas)?;
        let (low, high) = self.ends;
        let along: Vec<_> = ticks(self.ends)
            .into_iter()
            .map(|flops| (flops.log10(), format!("{flops:e}")))
            .collect();
        for (i, (task, arms)) in self.panels.iter().enumerate() {
            let corner = (
                MARGIN + (i % COLUMNS) as f64 * (PLOT + BESIDE),
                self.top() + (i / COLUMNS) as f64 * HEIGHT,
            );
            let frame = Frame::new(corner, PLOT, [low, high], PERCENT);
            frame.draw(
                canvas,
                task_label(task),
                ("FLOP (log scale), with all that the arm builds on", &along),
                ("answers at longer lengths, %", &percents()),
            )?;
            arms.iter().try_for_each(|arm| arm.draw(canvas, &frame))?;
        }
        Ok(())
    }
}

impl Arm {
    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>, frame: &Frame) -> Drawn {
        let at = |share: f64| frame.at(self.flops.log10(), 100.0 * share);
        let colour = self.style.colour;
        canvas.marker(self.style.marker, at(self.share.value), RADIUS, colour)?;
        // Beside the marker, which would hide a short one.
        let beside = |share: f64| (at(share).0 + 2.2 * RADIUS, at(share).1);
        bar(canvas, [beside(self.share.low), beside(self.share.high)])
    }
}

/// An interval, with a cap at both ends.
fn bar<DB: DrawingBackend>(canvas: &Canvas<DB>, ends: [Point; 2]) -> Drawn {
    canvas.line(&ends, INK, 1.25, &[])?;
    ends.iter()
        .try_for_each(|(x, y)| canvas.line(&[(x - CAP, *y), (x + CAP, *y)], INK, 1.25, &[]))
}

/// Round numbers between two decimal logarithms: powers of ten, and the more of what lies between them the shorter the axis.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let digits: &[f64] = match high - low {
        decades if decades > 2.0 => &[1.0],
        decades if decades > 1.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    powers
        .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        .filter(|flops| (low..=high).contains(&flops.log10()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks((14.1, 14.9)), [1.5e14, 2e14, 3e14, 5e14, 7e14]);
        assert_eq!(ticks((13.4, 14.8)), [5e13, 1e14, 2e14, 5e14]);
        assert_eq!(ticks((9.5, 12.1)), [1e10, 1e11, 1e12]);
    }
}
