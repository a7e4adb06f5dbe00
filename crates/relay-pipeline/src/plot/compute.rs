//! Answer accuracy beside the computing that an arm needed: a panel per task, a point per arm.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    letters::text_width,
    style::{FAINT_INK, GRID, LineStyle, line_styles},
};
use crate::{
    Measure, Results, Share,
    arms::{arm_label, task_label},
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 40.0;
const LEGEND_ROW: f64 = 24.0;
const HEIGHT: f64 = 352.0;
const BESIDE: f64 = 74.0;
const PLOT_LEFT: f64 = 58.0;
const PLOT_TOP: f64 = 40.0;
const PLOT: Point = (330.0, 254.0);
const COLUMNS: usize = 3;
const LEGEND: f64 = 13.0;

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
            let (flops, _) = results.cost_with_all_below(names[i])?;
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
        2.0 * MARGIN + columns as f64 * (PLOT.0 + BESIDE)
    }

    /// Where the panels begin.
    fn top(&self) -> f64 {
        let last = self.legend_places().last().map_or(TITLE, |place| place.1);
        last + LEGEND_ROW
    }

    /// Where the entries of the legend begin, row by row.
    fn legend_places(&self) -> Vec<Point> {
        let (mut x, mut y) = (MARGIN, TITLE + LEGEND_ROW / 2.0);
        let place = |(label, _): &(String, LineStyle)| {
            let width = 18.0 + text_width(label, LEGEND) + 26.0;
            if x > MARGIN && x + width > self.width() {
                (x, y) = (MARGIN, y + LEGEND_ROW);
            }
            let place = (x, y);
            x += width;
            place
        };
        self.legend.iter().map(place).collect()
    }

    fn draw_legend<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        for ((label, style), (x, y)) in self.legend.iter().zip(self.legend_places()) {
            canvas.marker(style.marker, (x + 6.0, y), 5.0, style.colour)?;
            canvas.text(label, (x + 18.0, y), Lettering::new(LEGEND))?;
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
        for (i, (task, arms)) in self.panels.iter().enumerate() {
            let origin = (
                MARGIN + (i % COLUMNS) as f64 * (PLOT.0 + BESIDE) + PLOT_LEFT,
                self.top() + (i / COLUMNS) as f64 * HEIGHT + PLOT_TOP,
            );
            self.draw_frame(canvas, origin, task)?;
            self.draw_arms(canvas, origin, arms)?;
        }
        Ok(())
    }

    fn at(&self, origin: Point, flops: f64, share: f64) -> Point {
        let (low, high) = self.ends;
        let right = (flops.log10() - low) / (high - low);
        let up = (100.0 * share + 4.0) / 108.0;
        (origin.0 + PLOT.0 * right, origin.1 + PLOT.1 * (1.0 - up))
    }

    fn draw_frame<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        origin: Point,
        task: &str,
    ) -> Drawn {
        let (left, top) = origin;
        let (right, bottom) = (left + PLOT.0, top + PLOT.1);
        canvas.text(task_label(task), (left, top - 16.0), Lettering::new(15.0))?;
        let small = Lettering::new(12.0).colour(FAINT_INK);
        for percent in (0..=100).step_by(20) {
            let (_, y) = self.at(origin, 1.0, f64::from(percent) / 100.0);
            canvas.line(&[(left, y), (right, y)], GRID, 1.0, &[])?;
            canvas.text(&percent.to_string(), (left - 8.0, y), small.ending())?;
        }
        for flops in ticks(self.ends) {
            let (x, _) = self.at(origin, flops, 0.0);
            canvas.line(&[(x, bottom), (x, bottom + 5.0)], FAINT_INK, 1.0, &[])?;
            canvas.text(&format!("{flops:e}"), (x, bottom + 15.0), small.centred())?;
        }
        canvas.line(
            &[(left, top), (left, bottom), (right, bottom)],
            FAINT_INK,
            1.25,
            &[],
        )?;
        let name = Lettering::new(13.0).centred();
        let below = ((left + right) / 2.0, bottom + 36.0);
        canvas.text("FLOP, with all that the arm builds on", below, name)?;
        let beside = (left - 46.0, (top + bottom) / 2.0);
        canvas.text("answers at longer lengths, %", beside, name.upwards())
    }

    fn draw_arms<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        origin: Point,
        arms: &[Arm],
    ) -> Drawn {
        let place = |arm: &Arm, share| self.at(origin, arm.flops, share);
        for arm in arms {
            let (x, y) = place(arm, arm.share.value);
            let (low, high) = (place(arm, arm.share.low), place(arm, arm.share.high));
            canvas.line(&[low, high], arm.style.colour, 1.5, &[])?;
            canvas.marker(arm.style.marker, (x, y), 5.0, arm.style.colour)?;
        }
        Ok(())
    }
}

/// Round numbers between two decimal logarithms: powers of ten, or 1, 2 and 5 times them on a short axis.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let digits: &[f64] = if high - low > 2.0 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    powers
        .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
        .filter(|flops| (low..=high).contains(&flops.log10()))
        .collect()
}

/// Problems longer than those trained on, all lengths together, and the share of right answers.
fn longer(results: &Results, arm: &str, task: &str) -> Option<(u64, Share)> {
    let (mut right, mut n) = (0, 0);
    for result in results.of(arm, task) {
        if results
            .train_lengths
            .get(task)
            .is_some_and(|[_, to]| result.length > *to)
        {
            let share = result.share(Measure::Answer)?;
            right += (share.value * result.n as f64).round() as u64;
            n += result.n;
        }
    }
    (n > 0).then(|| (n, Share::of(right, n, n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!(ticks((13.9, 14.8)), [1e14, 2e14, 5e14]);
        assert_eq!(ticks((9.5, 12.1)), [1e10, 1e11, 1e12]);
    }
}
