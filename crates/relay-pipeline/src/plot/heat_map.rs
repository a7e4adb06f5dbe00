//! Hit matrices: share of tokens right at each step and column, a panel per arm.

use std::fmt::Write;

use plotters::prelude::DrawingBackend;

use super::{
    canvas::{Canvas, Drawn, Extent, Lettering, Point},
    field,
    letters::text_width,
    style::{FAINT_INK, GRID, SHADE, heat},
};
use crate::{
    HitMatrices, HitMatrix,
    arms::{arm_label, task_label},
    length_result::tenths_below,
};

const MARGIN: f64 = 18.0;
const TITLE: f64 = 34.0;
const CELL: (f64, f64) = (42.0, 32.0);
const MATRIX_LEFT: f64 = 52.0;
const MATRIX_TOP: f64 = 62.0;
const GAP: f64 = 26.0;
const BOTTOM: f64 = 12.0;
const SCALE: f64 = 84.0;
const WIDEST: f64 = 1360.0;

/// The figure's data.
#[derive(Debug, Clone)]
pub(super) struct HeatMaps {
    title: String,
    step_end: bool,
    maps: Vec<(String, HitMatrix)>,
}

impl HeatMaps {
    /// The hit matrices of all arms; `None` when there is none. `whose` ends the title.
    pub(super) fn new(matrices: &HitMatrices, whose: &str) -> Option<Self> {
        let has_cells = |matrix: &HitMatrix| matrix.iter().any(|row| !row.is_empty());
        let maps: Vec<_> = matrices
            .arms
            .iter()
            .filter(|(_, matrix)| has_cells(matrix))
            .map(|(arm, matrix)| (arm.to_owned(), matrix.clone()))
            .collect();
        let title = format!(
            "Hit matrix: {}, length {}, {} problems{whose}",
            task_label(&matrices.task),
            matrices.length,
            matrices.n
        );
        (!maps.is_empty()).then_some(Self {
            title,
            step_end: matrices.step_end,
            maps,
        })
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn extent(&self) -> Extent {
        let rows = self.maps.len().div_ceil(self.across());
        let width = 2.0 * MARGIN + self.across() as f64 * self.panel().0 + SCALE;
        let width = width.max(2.0 * MARGIN + text_width(&self.title, 18.0));
        Extent {
            width: width.ceil() as u32,
            height: (MARGIN + TITLE + rows as f64 * self.panel().1).ceil() as u32,
        }
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from("arm,step,column,share\n");
        for (arm, matrix) in &self.maps {
            for (step, row) in matrix.iter().enumerate() {
                for (column, share) in row.iter().enumerate() {
                    let share = share.map_or(String::new(), |share| share.to_string());
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{},{},{},{share}", field(arm), step + 1, column + 1);
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
        let (width, height) = self.panel();
        for (i, (arm, matrix)) in self.maps.iter().enumerate() {
            let (across, down) = (i % self.across(), i / self.across());
            let corner = (
                MARGIN + across as f64 * width,
                MARGIN + TITLE + down as f64 * height,
            );
            draw_matrix(canvas, corner, arm, (matrix, self.step_end))?;
        }
        let steps = self
            .maps
            .iter()
            .map(|(_, matrix)| matrix.len())
            .max()
            .unwrap_or(1);
        let right = MARGIN + self.across() as f64 * width;
        draw_scale(
            canvas,
            (right, MARGIN + TITLE + MATRIX_TOP),
            steps.max(4) as f64 * CELL.1,
        )
    }

    /// Width and height of one panel.
    fn panel(&self) -> (f64, f64) {
        let steps = self
            .maps
            .iter()
            .map(|(_, matrix)| matrix.len())
            .max()
            .unwrap_or(0);
        let columns = self
            .maps
            .iter()
            .map(|(_, matrix)| columns(matrix))
            .max()
            .unwrap_or(0);
        // Tall enough for the scale beside a matrix of few steps.
        let height = MATRIX_TOP + steps.max(4) as f64 * CELL.1 + BOTTOM;
        (MATRIX_LEFT + columns as f64 * CELL.0 + GAP, height)
    }

    fn across(&self) -> usize {
        let fit = ((WIDEST - 2.0 * MARGIN - SCALE) / self.panel().0).floor() as usize;
        fit.clamp(1, self.maps.len().max(1))
    }
}

fn columns(matrix: &HitMatrix) -> usize {
    matrix.iter().map(Vec::len).max().unwrap_or(0)
}

fn draw_matrix<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    corner: Point,
    arm: &str,
    (matrix, step_end): (&HitMatrix, bool),
) -> Drawn {
    let (left, top) = (corner.0 + MATRIX_LEFT, corner.1 + MATRIX_TOP);
    let small = Lettering::new(12.0).colour(FAINT_INK);
    canvas.text(
        arm_label(arm),
        (left, corner.1 + 14.0),
        Lettering::new(15.0),
    )?;
    let columns = columns(matrix);
    for column in 0..columns {
        let label = if step_end && column + 1 == columns {
            "end".to_owned()
        } else {
            (column + 1).to_string()
        };
        canvas.text(
            &label,
            (left + (column as f64 + 0.5) * CELL.0, top - 11.0),
            small.centred(),
        )?;
    }
    canvas.text("column", (left, top - 28.0), small)?;
    for (step, row) in matrix.iter().enumerate() {
        let y = top + step as f64 * CELL.1;
        canvas.text(
            &(step + 1).to_string(),
            (left - 8.0, y + CELL.1 / 2.0),
            small.ending(),
        )?;
        for (column, share) in row.iter().enumerate() {
            draw_cell(canvas, (left + column as f64 * CELL.0, y), *share)?;
        }
    }
    let middle = top + matrix.len() as f64 * CELL.1 / 2.0;
    canvas.text("step", (left - 38.0, middle), small.centred().upwards())
}

fn draw_cell<DB: DrawingBackend>(canvas: &Canvas<DB>, (x, y): Point, share: Option<f64>) -> Drawn {
    let (colour, ink) = share.map_or((SHADE, FAINT_INK), heat);
    // A hair of paper between cells.
    canvas.rectangle(
        (x + 0.5, y + 0.5),
        (x + CELL.0 - 0.5, y + CELL.1 - 0.5),
        colour,
    )?;
    let centre = (x + CELL.0 / 2.0, y + CELL.1 / 2.0);
    canvas.text(
        &share.map_or("-".to_owned(), percent),
        centre,
        Lettering::new(13.0).colour(ink).centred(),
    )
}

/// Per cent, with a digit after the point where rounding would hide an error.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        p if p >= 100.0 => "100".to_owned(),
        p if p > 90.0 => tenths_below(p),
        p => format!("{p:.0}"),
    }
}

fn draw_scale<DB: DrawingBackend>(canvas: &Canvas<DB>, (left, top): Point, height: f64) -> Drawn {
    let pieces = 50;
    // Each piece reaches down to the bottom and is drawn over by the next: no seams where a viewer smooths edges.
    for piece in (0..pieces).rev() {
        let high = f64::from(piece + 1) / f64::from(pieces);
        let (colour, _) = heat(high - 0.5 / f64::from(pieces));
        canvas.rectangle(
            (left, top + height * (1.0 - high)),
            (left + 14.0, top + height),
            colour,
        )?;
    }
    for percent in (0..=100).step_by(25) {
        let y = top + height * (1.0 - f64::from(percent) / 100.0);
        canvas.line(&[(left + 14.0, y), (left + 18.0, y)], GRID, 1.0, &[])?;
        canvas.text(
            &format!("{percent} %"),
            (left + 22.0, y),
            Lettering::new(12.0).colour(FAINT_INK),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_never_makes_an_error_vanish() {
        assert_eq!(percent(1.0), "100");
        assert_eq!(percent(0.9995), "99.9");
        assert_eq!(percent(0.5), "50");
        assert_eq!(percent(1.0 - 1e-8), "99.9");
    }

    #[test]
    fn a_share_of_three_digits_is_shown_as_it_is() {
        for thousandths in 901..1000 {
            let expected = format!("{}.{}", thousandths / 10, thousandths % 10);
            assert_eq!(percent(f64::from(thousandths) / 1000.0), expected);
        }
    }
}
