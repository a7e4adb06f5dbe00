//! The two backends: SVG text and PNG files.

use std::path::Path;

use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};

use super::{
    Figure,
    canvas::{Canvas, Extent, FINENESS},
    letters::Letters,
};
use crate::{PipelineError, Result, atomic::Aside};

/// Every second device pixel is merged into one of the PNG: smooth edges at twice the layout's size.
const MERGED: usize = 2;

/// The most device pixels of a PNG: it takes 200 MB to draw them.
const MOST_PIXELS: usize = 64_000_000;

fn device_size(extent: Extent) -> (u32, u32) {
    let scale = FINENESS as u32;
    let [width, height] = [extent.width, extent.height].map(|side| side.saturating_mul(scale));
    (width, height)
}

/// Device pixels of a figure's PNG; `None` where it would be too large to be drawn.
pub(super) fn pixels(extent: Extent) -> Option<usize> {
    let (width, height) = device_size(extent);
    let pixels = (width as usize).checked_mul(height as usize)?;
    (pixels <= MOST_PIXELS).then_some(pixels)
}

/// Draws a figure as an SVG document.
pub(super) fn svg(figure: &Figure) -> Result<String> {
    let failed = |e: String| PipelineError::plot(&figure.name, e);
    let extent = figure.extent();
    let size = device_size(extent);
    let mut text = String::new();
    let canvas = Canvas::new(SVGBackend::with_string(&mut text, size), None).map_err(failed)?;
    figure
        .draw(&canvas)
        .and_then(|()| canvas.present())
        .map_err(failed)?;
    // The drawing is in device pixels, the document in layout pixels; joints of thick lines are to be round.
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {} {}\" \
         stroke-linejoin=\"round\" role=\"img\">\n<title>{}</title>{body}",
        extent.width,
        extent.height,
        size.0,
        size.1,
        crate::markup::escape(&figure.title),
    ))
}

/// Draws a figure as a PNG file, whole or not at all.
pub(super) fn write_png(figure: &Figure, path: &Path) -> Result<()> {
    let failed = |e: String| PipelineError::plot(&figure.name, e);
    let (width, height) = device_size(figure.extent());
    let Some(pixels) = pixels(figure.extent()) else {
        let most = format!("{width} by {height} dots, of which a PNG has at most {MOST_PIXELS}");
        return Err(PipelineError::plot(&figure.name, most));
    };
    let mut fine = vec![0; 3 * pixels];
    let letters = Letters::new().map_err(failed)?;
    let canvas = Canvas::new(
        BitMapBackend::with_buffer(&mut fine, (width, height)),
        Some(letters),
    )
    .map_err(failed)?;
    figure
        .draw(&canvas)
        .and_then(|()| canvas.present())
        .map_err(failed)?;
    let merged = merge(&fine, width as usize, height as usize);
    let size = (width / MERGED as u32, height / MERGED as u32);
    let aside = Aside::of(path)?;
    // The backend's own encoder; it knows the format from the extension and writes to a path only.
    let mut file = BitMapBackend::new(aside.path(), size);
    let written = file
        .blit_bitmap((0, 0), size, &merged)
        .and_then(|()| file.present());
    drop(file);
    written.map_err(|e| failed(format!("{}: {e}", path.display())))?;
    aside.put_in_place()
}

/// The mean of every square of `MERGED` by `MERGED` pixels.
fn merge(fine: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (columns, rows) = (width / MERGED, height / MERGED);
    let mut merged = Vec::with_capacity(3 * columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..3 {
                let pixel = |i: usize, j: usize| {
                    3 * ((row * MERGED + i) * width + column * MERGED + j) + channel
                };
                let sum: usize = (0..MERGED)
                    .flat_map(|i| (0..MERGED).map(move |j| (i, j)))
                    .map(|(i, j)| usize::from(fine[pixel(i, j)]))
                    .sum();
                merged.push((sum / (MERGED * MERGED)) as u8);
            }
        }
    }
    merged
}
