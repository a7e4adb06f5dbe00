//! The report: `results.json`, one self-contained page, figures as SVG, PNG and CSV.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    PipelineError, Result, Results,
    atomic::write_atomically,
    claims::judge,
    plot::{Bands, Figure, figures, is_of_run},
};

mod cost;
mod forensics;
mod page;
mod tables;
mod written;

/// The file of the page.
const PAGE: &str = "report.html";

/// Writes `results.json`, `report.html` and `figures/*.svg`, `*.png`, `*.csv` to `dir`; gives the paths written.
///
/// The report is made from `results` and nothing else, so it can be made again from a `results.json` alone. The claims
/// are judged anew from the numbers. Each file appears whole or not at all; the page comes last, so that where there is a
/// page, what it shows lies beside it.
///
/// # Errors
/// When a figure cannot be drawn or a file cannot be written; the message names it.
pub fn write_report(results: &Results, dir: &Path) -> Result<Vec<PathBuf>> {
    let results = Results {
        claims: judge(results),
        ..results.clone()
    };
    let json = dir.join("results.json");
    results.save(&json)?;
    let mut drawings = Drawings::below(dir);
    for figure in figures(&results) {
        drawings.draw(figure, None)?;
    }
    let runs = format!("seed {}", results.seed);
    drawings.page(&results, &runs, Bands::Interval)?;
    Ok([json].into_iter().chain(drawings.finish()?).collect())
}

/// The figures of a page and the page, as they are written.
pub(crate) struct Drawings<'a> {
    dir: &'a Path,
    figures: Vec<(Figure, String)>,
    written: Vec<PathBuf>,
}

impl<'a> Drawings<'a> {
    /// None yet, of those to be written below `dir`.
    pub(crate) fn below(dir: &'a Path) -> Self {
        Self {
            dir,
            figures: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Writes a figure, with `csv` in place of its own numbers where that is given.
    pub(crate) fn draw(&mut self, figure: Figure, csv: Option<String>) -> Result<()> {
        let name = &figure.name;
        let paths = ["svg", "png", "csv"]
            .map(|kind| self.dir.join("figures").join(format!("{name}.{kind}")));
        let (document, csv) = (figure.svg()?, csv.unwrap_or_else(|| figure.csv()));
        self.written
            .extend(figure.write_drawn(&document, &csv, paths)?);
        self.figures.push((figure, document));
        Ok(())
    }

    /// Writes the page with all figures, which shows what `runs` measured; of the shares by length `bands` are the ranges.
    pub(crate) fn page(&mut self, results: &Results, runs: &str, bands: Bands) -> Result<()> {
        let page = self.dir.join(PAGE);
        let text = page::page(results, runs, bands, &self.figures);
        write_atomically(&page, text.as_bytes())?;
        self.written.push(page);
        Ok(())
    }

    /// Removes the page and the figures that were written here before and are not any more, as of an arm, a length or seeds that
    /// are no longer asked for; gives what was written.
    pub(crate) fn finish(self) -> Result<Vec<PathBuf>> {
        let page = self.dir.join(PAGE);
        if page.is_file() && !self.written.contains(&page) {
            fs::remove_file(&page).map_err(|e| PipelineError::io("remove", &page, e))?;
        }
        remove_older_figures(&self.dir.join("figures"), &self.written, is_of_run)?;
        Ok(self.written)
    }
}

/// Removes the figures whose names are `ours` and that are not in `written`.
pub(crate) fn remove_older_figures(
    figures: &Path,
    written: &[PathBuf],
    ours: impl Fn(&str) -> bool,
) -> Result<()> {
    let entries = match fs::read_dir(figures) {
        // Where there is nothing to draw there is no such directory.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| PipelineError::io("list", figures, e))?,
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let kind = path.extension().and_then(|kind| kind.to_str());
        let ours = ours(&name) && matches!(kind, Some("svg" | "png" | "csv"));
        if ours && path.is_file() && !written.contains(&path) {
            fs::remove_file(&path).map_err(|e| PipelineError::io("remove", &path, e))?;
        }
    }
    Ok(())
}
