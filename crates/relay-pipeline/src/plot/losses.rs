//! Losses by update: one axis, a line a run.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    panel::ticks,
    style::{FAINT_INK, GRID, LineStyle, line_styles},
};

const EXTENT: Extent = Extent {
    width: 640,
    height: 400,
};
const LEGEND: Point = (18.0, 56.0);
const LEGEND_ROW: f64 = 22.0;
const SWATCH: f64 = 40.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 618.0;
const BOTTOM: f64 = 350.0;

/// The losses of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct LossCurve {
    /// What the legend calls it.
    pub label: String,
    /// Numbers of updates with the loss of each.
    pub points: Vec<(u64, f64)>,
}

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    title: String,
    curves: Vec<(LossCurve, LineStyle)>,
    steps: (u64, u64),
    /// Decimal logarithms of the least and the greatest loss.
    ends: (f64, f64),
}

impl Losses {
    /// The curves; `None` when none has a loss above 0, which the axis could show.
    pub(super) fn new(curves: &[LossCurve], title: &str) -> Option<Self> {
        let names: Vec<&str> = curves.iter().map(|curve| curve.label.as_str()).collect();
        let shown = |curve: &LossCurve| LossCurve {
            label: curve.label.clone(),
            points: (curve.points.iter())
                .filter(|(_, loss)| *loss > 0.0 && loss.is_finite())
                .copied()
                .collect(),
        };
        let curves: Vec<_> = curves.iter().map(shown).zip(line_styles(&names)).collect();
        let points = || curves.iter().flat_map(|(curve, _)| &curve.points);
        let logs = || points().map(|(_, loss)| loss.log10());
        let (low, high) = (
            logs().fold(f64::INFINITY, f64::min),
            logs().fold(f64::NEG_INFINITY, f64::max),
        );
        let steps = (
            points().map(|(step, _)| *step).min()?,
            points().map(|(step, _)| *step).max()?,
        );
        Some(Self {
            title: title.to_owned(),
            curves,
            steps,
            ends: (low - 0.03, high + 0.03),
        })
    }

    pub(super) fn extent(&self) -> Extent {
        EXTENT
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from("run,update,loss\n");
        for (curve, _) in &self.curves {
            for (step, loss) in &curve.points {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{},{step},{loss}", field(&curve.label));
            }
        }
        text
    }

    fn top(&self) -> f64 {
        LEGEND.1 + LEGEND_ROW * self.curves.len() as f64
    }

    fn at(&self, step: u64, loss: f64) -> Point {
        let (first, last) = self.steps;
        let right = (step - first) as f64 / (last - first).max(1) as f64;
        let (low, high) = self.ends;
        let up = (loss.log10() - low) / (high - low);
        (
            LEFT + (RIGHT - LEFT) * right,
            BOTTOM - (BOTTOM - self.top()) * up,
        )
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        canvas.text(&self.title, (LEGEND.0, 26.0), Lettering::new(18.0))?;
        self.draw_frame(canvas)?;
        for (row, (curve, style)) in self.curves.iter().enumerate() {
            let line: Vec<Point> = (curve.points.iter())
                .map(|&(step, loss)| self.at(step, loss))
                .collect();
            canvas.line(&line, style.colour, style.width, style.dashes)?;
            let (x, y) = (LEGEND.0, LEGEND.1 + LEGEND_ROW * row as f64);
            let swatch = [(x, y), (x + SWATCH, y)];
            canvas.line(&swatch, style.colour, style.width, style.dashes)?;
            canvas.text(&curve.label, (x + SWATCH + 8.0, y), Lettering::new(13.0))?;
        }
        Ok(())
    }

    fn draw_frame<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        let small = Lettering::new(12.0).colour(FAINT_INK);
        for loss in losses_between(self.ends) {
            let (_, y) = self.at(self.steps.0, loss);
            canvas.line(&[(LEFT, y), (RIGHT, y)], GRID, 1.0, &[])?;
            canvas.text(&loss.to_string(), (LEFT - 8.0, y), small.ending())?;
        }
        let (first, last) = self.steps;
        for step in ticks(first as usize, last as usize) {
            let (x, _) = self.at(step as u64, 1.0);
            canvas.line(&[(x, BOTTOM), (x, BOTTOM + 5.0)], FAINT_INK, 1.0, &[])?;
            canvas.text(&step.to_string(), (x, BOTTOM + 15.0), small.centred())?;
        }
        let corner = (LEFT, BOTTOM);
        let frame = [(LEFT, self.top()), corner, (RIGHT, BOTTOM)];
        canvas.line(&frame, FAINT_INK, 1.25, &[])?;
        let name = Lettering::new(13.0).centred();
        canvas.text("update", ((LEFT + RIGHT) / 2.0, BOTTOM + 36.0), name)?;
        let beside = (20.0, (self.top() + BOTTOM) / 2.0);
        canvas.text("loss", beside, name.upwards())
    }
}

/// Round losses between two decimal logarithms.
fn losses_between((low, high): (f64, f64)) -> Vec<f64> {
    let digits: &[u32] = match high - low {
        span if span > 2.0 => &[1],
        span if span > 0.7 => &[1, 2, 5],
        _ => &[1, 2, 3, 4, 5, 6, 7, 8, 9],
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    // Divided below 1, so that 0.2 is written as that.
    let number = |digit: u32, power: i32| match power {
        ..0 => f64::from(digit) / 10f64.powi(-power),
        _ => f64::from(digit) * 10f64.powi(power),
    };
    powers
        .flat_map(|power| digits.iter().map(move |digit| number(*digit, power)))
        .filter(|loss| (low..=high).contains(&loss.log10()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_losses_stand_at_the_axis() {
        assert_eq!(losses_between((-0.8, 0.4)), [0.2, 0.5, 1.0, 2.0]);
        assert_eq!(losses_between((-2.1, 1.0)), [0.01, 0.1, 1.0, 10.0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let curve = |points: &[(u64, f64)]| LossCurve {
            label: "a, b".into(),
            points: points.to_vec(),
        };
        assert!(Losses::new(&[curve(&[(1, 0.0), (2, f64::NAN)])], "t").is_none());
        let losses = Losses::new(&[curve(&[(1, 2.0), (2, f64::NAN), (3, 1.0)])], "t").unwrap();
        assert_eq!(
            losses.csv(),
            "run,update,loss\n\"a, b\",1,2\n\"a, b\",3,1\n"
        );
    }
}
