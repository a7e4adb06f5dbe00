//! Accuracy by length: a panel per task, a legend of the arms above.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    bands::Bands,
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    frame::{BESIDE, HEIGHT, TEXT},
    legend,
    letters::text_width,
    panel::{self, Line, Panel, RADIUS},
    style::{FAINT_INK, GRID, LineStyle, SHADE, line_styles},
};
use crate::{
    Measure, Results, Share,
    arms::{arm_label, length_label, task_label},
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 34.0;
/// Width of the axes, and of a figure's only axes.
const PLOT: f64 = 330.0;
const LONE_PLOT: f64 = 470.0;
const COLUMNS: usize = 3;
const SWATCH: f64 = 40.0;
const TRAINED: &str = "training lengths";

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct Curves {
    pub(super) title: String,
    pub(super) bands: Bands,
    pub(super) unit: &'static str,
    pub(super) panels: Vec<Panel>,
    pub(super) legend: Vec<(String, LineStyle)>,
}

impl Curves {
    /// The curves of one measure; `None` when no arm has it.
    pub(super) fn new(
        results: &Results,
        measure: Measure,
        title: &str,
        bands: Bands,
    ) -> Option<Self> {
        let has = |arm: &str| {
            results.tasks().iter().any(|task| {
                results
                    .of(arm, task)
                    .iter()
                    .any(|r| r.share(measure).is_some())
            })
        };
        let arms: Vec<&str> = results.arms.keys().filter(|arm| has(arm)).collect();
        let styles = line_styles(&arms);
        let line = |task: &str, i: usize| {
            let results = results.of(arms[i], task).iter();
            let points: Vec<_> = results
                .filter_map(|r| Some((r.length, r.n, r.share(measure)?)))
                .collect();
            let place = i as f64 - (arms.len() - 1) as f64 / 2.0;
            (!points.is_empty()).then(|| Line {
                arm: arms[i].to_owned(),
                style: styles[i],
                place,
                points,
            })
        };
        let panel = |task: &&str| Panel {
            task: (*task).to_owned(),
            title: task_label(task).to_owned(),
            across: length_label(task),
            train: results.train_lengths.get(task).copied(),
            lines: (0..arms.len()).filter_map(|i| line(task, i)).collect(),
        };
        let panels: Vec<_> = results
            .tasks()
            .iter()
            .map(panel)
            .filter(|panel| !panel.lines.is_empty())
            .collect();
        let legend = arms
            .iter()
            .zip(&styles)
            .map(|(arm, style)| (arm_label(arm).to_owned(), *style))
            .collect();
        let unit = match measure {
            Measure::Answer => "answer accuracy, %",
            Measure::Bit => "bit accuracy, %",
            Measure::Chain => "chain accuracy, %",
        };
        (!panels.is_empty()).then(|| Self {
            title: title.to_owned(),
            bands,
            unit,
            panels,
            legend,
        })
    }

    pub(super) fn extent(&self) -> Extent {
        let rows = self.panels.len().div_ceil(COLUMNS);
        let height = self.panels_top() + rows as f64 * HEIGHT + MARGIN / 2.0;
        Extent {
            width: self.width() as u32,
            height: height.ceil() as u32,
        }
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from("task,arm,length,trained,n,share,low,high\n");
        for panel in &self.panels {
            for line in &panel.lines {
                for (length, n, share) in &line.points {
                    let trained = panel.train.map_or("", |[from, to]| {
                        if (from..=to).contains(length) {
                            "yes"
                        } else {
                            "no"
                        }
                    });
                    let (task, arm) = (field(&panel.task), field(&line.arm));
                    let Share { value, low, high } = share;
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        text,
                        "{task},{arm},{length},{trained},{n},{value},{low},{high}"
                    );
                }
            }
        }
        text
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        canvas.text(
            &self.title,
            (MARGIN, MARGIN + TITLE / 3.0),
            Lettering::new(18.0),
        )?;
        self.draw_legend(canvas)?;
        for (i, panel) in self.panels.iter().enumerate() {
            let corner = (
                MARGIN + (i % COLUMNS) as f64 * (self.plot_width() + BESIDE),
                self.panels_top() + (i / COLUMNS) as f64 * HEIGHT,
            );
            panel.draw(canvas, corner, self.plot_width(), self.unit)?;
        }
        Ok(())
    }

    fn width(&self) -> f64 {
        let panels = self.panels.len().min(COLUMNS) as f64 * (self.plot_width() + BESIDE);
        2.0 * MARGIN + panels.max(text_width(&self.title, 18.0))
    }

    fn plot_width(&self) -> f64 {
        if self.panels.len() == 1 {
            LONE_PLOT
        } else {
            PLOT
        }
    }

    fn panels_top(&self) -> f64 {
        let rows = self
            .legend_places()
            .last()
            .map_or(0.0, |(_, y)| y + legend::ROW);
        rows.max(MARGIN + TITLE) + 4.0
    }

    /// Where each entry of the legend begins; the last are those of the bands and of the shaded range.
    fn legend_places(&self) -> Vec<Point> {
        let labels = self
            .legend
            .iter()
            .map(|(label, _)| label.as_str())
            .chain(self.bands.label())
            .chain(self.shades().then_some(TRAINED));
        let widths = labels.map(|label| SWATCH + 8.0 + text_width(label, TEXT) + 22.0);
        // What an entry has on its right may stand in the margin.
        let right = self.width() - MARGIN + 22.0;
        legend::places(widths, (MARGIN, MARGIN + TITLE), right)
    }

    /// Whether training lengths are known, and shaded.
    fn shades(&self) -> bool {
        self.panels.iter().any(|panel| panel.train.is_some())
    }

    fn draw_legend<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        let places = self.legend_places();
        for ((label, style), &(x, y)) in self.legend.iter().zip(&places) {
            let middle = y + legend::ROW / 2.0;
            canvas.line(
                &[(x, middle), (x + SWATCH, middle)],
                style.colour,
                style.width,
                style.dashes,
            )?;
            canvas.marker(
                style.marker,
                (x + SWATCH / 2.0, middle),
                RADIUS,
                style.colour,
            )?;
            canvas.text(label, (x + SWATCH + 8.0, middle), Lettering::new(TEXT))?;
        }
        let mut rest = places[self.legend.len()..].iter();
        if let (Some(label), Some(&(x, y))) = (self.bands.label(), rest.clone().next()) {
            rest.next();
            let middle = y + legend::ROW / 2.0;
            let edge = |y: f64| [(x, y), (x + SWATCH, y)];
            let (high, low) = (edge(middle - 6.0), edge(middle + 6.0));
            panel::band(canvas, &low, &high, FAINT_INK)?;
            canvas.text(label, (x + SWATCH + 8.0, middle), Lettering::new(TEXT))?;
        }
        let Some(&(x, y)) = rest.next() else {
            return Ok(());
        };
        let middle = y + legend::ROW / 2.0;
        canvas.rectangle((x, middle - 7.0), (x + SWATCH, middle + 7.0), GRID)?;
        canvas.rectangle(
            (x + 1.0, middle - 6.0),
            (x + SWATCH - 1.0, middle + 6.0),
            SHADE,
        )?;
        canvas.text(TRAINED, (x + SWATCH + 8.0, middle), Lettering::new(TEXT))
    }
}
