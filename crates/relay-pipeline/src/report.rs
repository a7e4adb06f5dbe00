//! The report: `results.json`, one self-contained page, figures as SVG, PNG and CSV.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    PipelineError, Result, Results,
    atomic::write_atomically,
    claims::judge,
    plot::{HIT_MATRIX, figures},
};

mod cost;
mod forensics;
mod page;
mod tables;
mod written;

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
    let mut written = vec![dir.join("results.json")];
    results.save(&written[0])?;
    let mut drawn = Vec::new();
    for figure in figures(&results) {
        let paths = ["svg", "png", "csv"]
            .map(|kind| dir.join("figures").join(format!("{}.{kind}", figure.name)));
        let text = figure.svg()?;
        written.extend(figure.write_drawn(&text, &figure.csv(), paths)?);
        drawn.push((figure, text));
    }
    let page = dir.join("report.html");
    write_atomically(&page, page::page(&results, &drawn).as_bytes())?;
    remove_older_matrices(&dir.join("figures"), &written)?;
    written.push(page);
    Ok(written)
}

/// Removes hit matrices that were drawn for other lengths than those in `written`: the numbers behind them are gone.
fn remove_older_matrices(figures: &Path, written: &[PathBuf]) -> Result<()> {
    let entries = match fs::read_dir(figures) {
        // Where there is nothing to draw there is no such directory.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| PipelineError::io("list", figures, e))?,
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kind = path.extension().and_then(|kind| kind.to_str());
        let ours = name.starts_with(HIT_MATRIX) && matches!(kind, Some("svg" | "png" | "csv"));
        if ours && path.is_file() && !written.contains(&path) {
            fs::remove_file(&path).map_err(|e| PipelineError::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// Text made safe for HTML and XML, in elements and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
