//! Answer accuracy beside the computing that an arm needed: a panel per task, a point per arm.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    frame::{BESIDE, Frame, HEIGHT, PERCENT, TEXT, percents},
    legend,
    letters::text_width,
    style::{LineStyle, line_styles},
};
use crate::{
    LengthResult, Results, Share,
    arms::{arm_label, task_label},
    length_result::pooled_answers,
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 40.0;
const PLOT: f64 = 330.0;
const COLUMNS: usize = 3;
/// Half the width of the ends of an interval.
const CAP: f64 = 5.0;

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct Compute {
    title: &'static str,
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
    /// The points of all tasks; `None` when no arm has both numbers.
    pub(super) fn new(results: &Results, title: &'static str) -> Option<Self> {
        let names: Vec<&str> = results.arms.keys().collect();
        let styles = line_styles(&names);
        let arm = |task: &str, i: usize| {
            let flops = results.cost_with_all_below(names[i])?.flops?;
            let (n, share) = longer(results, names[i], task).filter(|_| flops > 0.0)?;
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
            title,
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
        2.0 * MARGIN + columns as f64 * (PLOT + BESIDE)
    }

    /// Where the panels begin.
    fn top(&self) -> f64 {
        let last = self.legend_places().last().map_or(TITLE, |place| place.1);
        last + legend::ROW
    }

    /// Where the entries of the legend begin, row by row.
    fn legend_places(&self) -> Vec<Point> {
        let width = |(label, _): &(String, LineStyle)| 18.0 + text_width(label, TEXT) + 26.0;
        let start = (MARGIN, TITLE + legend::ROW / 2.0);
        legend::places(self.legend.iter().map(width), start, self.width())
    }

    fn draw_legend<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        for ((label, style), (x, y)) in self.legend.iter().zip(self.legend_places()) {
            canvas.marker(style.marker, (x + 6.0, y), 5.0, style.colour)?;
            canvas.text(label, (x + 18.0, y), Lettering::new(TEXT))?;
        }
        Ok(())
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
        canvas.text(self.title, (MARGIN, MARGIN + 11.0), Lettering::new(18.0))?;
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
                ("FLOP, with all that the arm builds on", &along),
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
        canvas.marker(self.style.marker, at(self.share.value), 5.0, colour)?;
        // On the marker, whose rim would hide a short one.
        let ends = [at(self.share.low), at(self.share.high)];
        canvas.line(&ends, colour, 1.5, &[])?;
        ends.iter()
            .try_for_each(|(x, y)| canvas.line(&[(x - CAP, *y), (x + CAP, *y)], colour, 1.5, &[]))
    }
}

/// Round numbers between two decimal logarithms: powers of ten, or 1, 2, 3 and 5 times them on a short axis.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let digits: &[f64] = if high - low > 2.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 3.0, 5.0]
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    powers
        .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        .filter(|flops| (low..=high).contains(&flops.log10()))
        .collect()
}

/// Problems longer than those trained on, all lengths together, and the share of right answers.
fn longer(results: &Results, arm: &str, task: &str) -> Option<(u64, Share)> {
    let is_longer = |at: &&LengthResult| results.train_lengths.is_longer(task, at.length);
    pooled_answers(results.of(arm, task).iter().filter(is_longer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks((13.9, 14.8)), [1e14, 2e14, 3e14, 5e14]);
        assert_eq!(ticks((9.5, 12.1)), [1e10, 1e11, 1e12]);
    }
}
