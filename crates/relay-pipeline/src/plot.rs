//! The figures of the report: each is drawn by one function, as SVG and as PNG, with its data as CSV.
//!
//! - `curves`: accuracy by length, a panel per task, a line per arm (figures 2, 4 and 7 of the paper)
//! - `first_wrong`: chains without a wrong step, step by step
//! - `compute`: accuracy beside the computing that an arm needed
//! - `heat_map`: hit matrices, a panel per arm (figures 5 and 6)
//! - `traces`: numbers over time or updates, a panel a quantity
//! - `frame`: the axes of a panel
//! - `legend`: where its entries stand
//! - `canvas`: lines, shapes and text in layout pixels, on either backend
//! - `letters`: text for PNG, with the font that travels with the program
//! - `output`: the two backends
//! - `panel`: the lines of one task
//! - `bands`: what bands and bars reach over
//! - `style`: colours, markers and dashes

use std::path::{Path, PathBuf};

use crate::{
    HitMatrices, Measure, Result, Results, Share, file_name::file_name,
    length_result::longer_answers, write_atomically,
};

mod bands;
mod canvas;
mod compute;
mod curves;
mod first_wrong;
mod frame;
mod heat_map;
mod legend;
mod letters;
mod output;
mod panel;
mod style;
mod traces;

pub(crate) use bands::Bands;
pub use canvas::Extent;
use canvas::{Canvas, Drawn};
use compute::Compute;
use curves::Curves;
use heat_map::HeatMaps;
use plotters::prelude::DrawingBackend;
pub use traces::Traces;
use traces::TracesFigure;

/// How the names of hit matrices begin, whose places the settings say.
const HIT_MATRIX: &str = "hit_matrix_";

/// The names of the other figures of a run.
pub(crate) const ANSWERS: &str = "answer_accuracy";
pub(crate) const BITS: &str = "bit_accuracy";
pub(crate) const CHAINS: &str = "chain_accuracy";
const FIRST_WRONG_STEP: &str = "first_wrong_step";
const BY_COMPUTE: &str = "accuracy_by_compute";

/// Whether a figure of a run may have this name.
pub(crate) fn is_of_run(name: &str) -> bool {
    name.starts_with(HIT_MATRIX)
        || [ANSWERS, BITS, CHAINS, FIRST_WRONG_STEP, BY_COMPUTE].contains(&name)
}

/// A figure, ready to be drawn.
#[derive(Debug, Clone)]
pub struct Figure {
    /// File name without extension.
    pub name: String,
    /// What the figure shows, in a few words.
    pub title: String,
    /// What a reader must know to read it.
    pub caption: String,
    drawing: Drawing,
}

#[derive(Debug, Clone)]
enum Drawing {
    Curves(Curves),
    FirstWrong(Curves),
    Compute(Compute),
    HeatMaps(HeatMaps),
    Traces(TracesFigure),
}

/// The figures that the `results` of a run have numbers for.
pub fn figures(results: &Results) -> Vec<Figure> {
    let curves = [
        (Measure::Answer, ANSWERS, "Answer accuracy"),
        (Measure::Bit, BITS, "Bit accuracy"),
        (Measure::Chain, CHAINS, "Chain accuracy"),
    ];
    let curves = curves.into_iter().filter_map(|(measure, name, what)| {
        let title = format!("{what} by length");
        curves_figure(results, measure, name, &title, Bands::Interval)
    });
    let longer = |arm: &str, task: &str| longer_answers(results, arm, task);
    let others = other_figures(results, Bands::Interval, "", longer);
    curves.chain(others).collect()
}

/// The figures of a run but for its curves; `whose` ends their titles, and `longer` says how many problems longer than trained on an
/// arm was asked of a task, and the share of right answers.
pub(crate) fn other_figures(
    results: &Results,
    bands: Bands,
    whose: &str,
    longer: impl Fn(&str, &str) -> Option<(u64, Share)>,
) -> Vec<Figure> {
    let matrices = results.hit_matrices.iter();
    let mut figures: Vec<Figure> = matrices
        .filter_map(|matrices| hit_matrix_figure(matrices, whose))
        .collect();
    // Of several seeds the chains are examined together.
    let of_chains = match bands {
        Bands::Interval => Bands::Interval,
        Bands::Seeds | Bands::None => Bands::None,
    };
    figures.extend(first_wrong_figure(results, of_chains, whose));
    figures.extend(compute_figure(results, bands, longer));
    figures
}

fn hit_matrix_figure(matrices: &HitMatrices, whose: &str) -> Option<Figure> {
    let drawing = HeatMaps::new(matrices, whose)?;
    let caption = match matrices.step_end {
        true => {
            "Share in per cent of tokens right at each step and column of the chains. The last column is the step's end; a \
             dash stands where no chain has a token."
        }
        false => {
            "Share in per cent of tokens right at each step and column of the chains. A dash stands where no chain has a \
             token."
        }
    };
    let task = file_name(&matrices.task);
    Some(Figure {
        name: format!("{HIT_MATRIX}{task}_{}", matrices.length),
        title: drawing.title().to_owned(),
        caption: caption.to_owned(),
        drawing: Drawing::HeatMaps(drawing),
    })
}

const FIRST_WRONG: &str = "Chains still without a wrong step";
const BY_COMPUTING: &str = "Answer accuracy by computing";

/// A caption of those that say something.
fn sentences(all: &[&str]) -> String {
    let some = all.iter().filter(|sentence| !sentence.is_empty());
    some.copied().collect::<Vec<_>>().join(" ")
}

/// Why a point may stand beside its length or step.
const BESIDE: &str =
    "Lines stand a little beside each other, else one near 100 % would hide the others.";

fn first_wrong_figure(results: &Results, bands: Bands, whose: &str) -> Option<Figure> {
    let title = format!("{FIRST_WRONG}{whose}");
    let curves = first_wrong::first_wrong(results, &title, bands)?;
    Some(Figure {
        name: FIRST_WRONG_STEP.to_owned(),
        title,
        caption: sentences(&[
            "Share of chains without a wrong step up to each step, at the longest length that was tested.",
            &bands.caption("Bands"),
            BESIDE,
        ]),
        drawing: Drawing::FirstWrong(curves),
    })
}

fn compute_figure(
    results: &Results,
    bands: Bands,
    longer: impl Fn(&str, &str) -> Option<(u64, Share)>,
) -> Option<Figure> {
    let title = match bands {
        Bands::Seeds => format!("{BY_COMPUTING}, mean of the seeds"),
        _ => BY_COMPUTING.to_owned(),
    };
    let points = Compute::new(results, &title, bands, longer)?;
    Some(Figure {
        name: BY_COMPUTE.to_owned(),
        title,
        caption: sentences(&[
            "Share of right answers over all lengths longer than those trained on, beside the floating-point operations \
             that the arm took, for all tasks, with all the stages it builds on, evaluation and the confirming of answers \
             left out.",
            &bands.caption("Bars"),
        ]),
        drawing: Drawing::Compute(points),
    })
}

/// The curves of a measure, of which `results` holds the shares with the ends of their bands; `None` where it has none.
pub(crate) fn curves_figure(
    results: &Results,
    measure: Measure,
    name: &str,
    title: &str,
    bands: Bands,
) -> Option<Figure> {
    let what = match measure {
        Measure::Answer => "Share of problems with the right answer.",
        Measure::Bit => {
            "Share of the steps' tokens that stand at their place; what a chain has too many counts as wrong, too."
        }
        Measure::Chain => "Share of chains without any wrong token.",
    };
    let caption = sentences(&[
        what,
        &bands.caption("Bands"),
        "Lengths with fewer than 10 problems have none. The training lengths are shaded, and drawn closer to each other where they are many; there each line then has \
         markers at some of them.",
        BESIDE,
    ]);
    Some(Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        caption,
        drawing: Drawing::Curves(Curves::new(results, measure, title, bands)?),
    })
}

impl Figure {
    /// Numbers over a common axis that counts `across`, a panel a quantity, side by side.
    pub fn of_traces(name: &str, title: &str, across: &str, panels: Vec<Traces>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            caption: String::new(),
            drawing: Drawing::Traces(TracesFigure {
                title: title.to_owned(),
                across: across.to_owned(),
                panels,
            }),
        }
    }

    /// The figure as an SVG document.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self) -> Result<String> {
        output::svg(self)
    }

    /// Writes the figure as a PNG of twice its [size](Self::extent), whole or not at all.
    ///
    /// # Errors
    /// When the figure is too large for a PNG, the drawing library refuses, or the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        output::write_png(self, path)
    }

    /// Whether the figure is not too large for a PNG.
    pub(crate) fn fits_png(&self) -> bool {
        output::pixels(self.extent()).is_some()
    }

    /// Writes the figure as `base.svg`, `base.png` and `base.csv`, each whole or not at all; gives the paths. One that is
    /// too large has no PNG, and a warning says so.
    ///
    /// # Errors
    /// When the drawing library refuses or a file cannot be written.
    pub fn write(&self, base: &Path) -> Result<Vec<PathBuf>> {
        self.write_with(base, &self.csv())
    }

    /// The same with other numbers in the CSV file.
    pub(crate) fn write_with(&self, base: &Path, csv: &str) -> Result<Vec<PathBuf>> {
        let with = |kind: &str| {
            let mut name = base.as_os_str().to_owned();
            name.push(kind);
            PathBuf::from(name)
        };
        self.write_drawn(&self.svg()?, csv, [".svg", ".png", ".csv"].map(with))
    }

    /// Writes the figure, of which the SVG document is drawn already, to three paths; gives those written.
    pub(crate) fn write_drawn(
        &self,
        document: &str,
        numbers: &str,
        [svg, png, csv]: [PathBuf; 3],
    ) -> Result<Vec<PathBuf>> {
        write_atomically(&svg, document.as_bytes())?;
        let mut written = vec![svg];
        if self.fits_png() {
            self.write_png(&png)?;
            written.push(png);
        } else {
            let Extent { width, height } = self.extent();
            tracing::warn!(
                "{}: is left out, {width} by {height} is too large for a PNG; the SVG has it",
                png.display()
            );
        }
        write_atomically(&csv, numbers.as_bytes())?;
        written.push(csv);
        Ok(written)
    }

    /// The numbers in the figure, as comma-separated values with a header.
    pub fn csv(&self) -> String {
        match &self.drawing {
            Drawing::Curves(curves) => curves.csv(),
            Drawing::FirstWrong(curves) => first_wrong::csv(curves),
            Drawing::Compute(points) => points.csv(),
            Drawing::HeatMaps(maps) => maps.csv(),
            Drawing::Traces(traces) => traces.csv(),
        }
    }

    /// Width and height in layout pixels.
    pub fn extent(&self) -> Extent {
        match &self.drawing {
            Drawing::Curves(curves) | Drawing::FirstWrong(curves) => curves.extent(),
            Drawing::Compute(points) => points.extent(),
            Drawing::HeatMaps(maps) => maps.extent(),
            Drawing::Traces(traces) => traces.extent(),
        }
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> Drawn {
        match &self.drawing {
            Drawing::Curves(curves) | Drawing::FirstWrong(curves) => curves.draw(canvas),
            Drawing::Compute(points) => points.draw(canvas),
            Drawing::HeatMaps(maps) => maps.draw(canvas),
            Drawing::Traces(traces) => traces.draw(canvas),
        }
    }
}

/// One field of a CSV file, quoted where it must be.
pub(crate) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
