//! Lines, shapes and text on either backend, in layout pixels.

use plotters::{
    coord::Shift,
    element::{Circle, PathElement, Polygon, Rectangle},
    prelude::{Color, DrawingArea, DrawingBackend, IntoDrawingArea, RGBColor, ShapeStyle},
    style::{
        FontFamily, FontTransform, IntoFont, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::letters::{Letters, Setting};
use super::style::Marker;

/// Device pixels per layout pixel. Backends take whole pixels; this is the fineness left for what lies between.
pub(super) const FINENESS: f64 = 4.0;

/// Whether drawing went well, or what the drawing library said.
pub(super) type Drawn = Result<(), String>;

/// A point in layout pixels from the top left corner.
pub(super) type Point = (f64, f64);

/// Width and height in layout pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// Where figures are drawn.
pub(super) struct Canvas<DB: DrawingBackend> {
    area: DrawingArea<DB, Shift>,
    letters: Option<Letters>,
}

/// How a text is set: centred at its point's height.
#[derive(Clone, Copy)]
pub(super) struct Lettering {
    pub(super) size: f64,
    pub(super) colour: RGBColor,
    pub(super) across: HPos,
    pub(super) upwards: bool,
}

impl Lettering {
    /// Black text of `size`, its left end on the point and centred at the point's height.
    pub(super) fn new(size: f64) -> Self {
        Self {
            size,
            colour: super::style::INK,
            across: HPos::Left,
            upwards: false,
        }
    }

    pub(super) fn colour(self, colour: RGBColor) -> Self {
        Self { colour, ..self }
    }

    pub(super) fn centred(self) -> Self {
        Self {
            across: HPos::Center,
            ..self
        }
    }

    /// The text's right end on the point.
    pub(super) fn ending(self) -> Self {
        Self {
            across: HPos::Right,
            ..self
        }
    }

    /// Read from bottom to top.
    pub(super) fn upwards(self) -> Self {
        Self {
            upwards: true,
            ..self
        }
    }

    /// For a backend that leaves the letters to whoever shows the figure.
    fn style(self) -> TextStyle<'static> {
        // Plotters takes the height of a line for the size; 1.24 is its own factor between the two.
        let font = (FontFamily::SansSerif, self.size * FINENESS * 1.24).into_font();
        let font = if self.upwards {
            font.transform(FontTransform::Rotate270)
        } else {
            font
        };
        TextStyle {
            font,
            color: self.colour.to_backend_color(),
            pos: Pos::new(self.across, VPos::Center),
        }
    }
}

impl<DB: DrawingBackend> Canvas<DB> {
    /// A white canvas, for a backend that needs `letters` drawn or for one that sets text itself.
    pub(super) fn new(backend: DB, letters: Option<Letters>) -> Result<Self, String> {
        let area = backend.into_drawing_area();
        area.fill(&super::style::PAPER).map_err(|e| e.to_string())?;
        Ok(Self { area, letters })
    }

    pub(super) fn present(self) -> Drawn {
        self.area.present().map_err(|e| e.to_string())
    }

    /// A line through `points`; `dashes` are lengths drawn and left out in turn, empty for a solid line.
    pub(super) fn line(
        &self,
        points: &[Point],
        colour: RGBColor,
        width: f64,
        dashes: &[f64],
    ) -> Drawn {
        let style = colour.stroke_width((width * FINENESS).round().max(1.0) as u32);
        for piece in cut(points, dashes) {
            self.path(&piece, style)?;
        }
        Ok(())
    }

    pub(super) fn polygon(&self, points: &[Point], colour: RGBColor, opacity: f64) -> Drawn {
        let points: Vec<_> = points.iter().copied().map(device).collect();
        self.area
            .draw(&Polygon::new(points, colour.mix(opacity).filled()))
            .map_err(|e| e.to_string())
    }

    pub(super) fn rectangle(&self, corner: Point, opposite: Point, colour: RGBColor) -> Drawn {
        let corners = [device(corner), device(opposite)];
        self.area
            .draw(&Rectangle::new(corners, colour.filled()))
            .map_err(|e| e.to_string())
    }

    pub(super) fn marker(
        &self,
        marker: Marker,
        centre: Point,
        radius: f64,
        colour: RGBColor,
    ) -> Drawn {
        let Some(outline) = marker.outline() else {
            return self
                .disc(centre, radius + 1.0, super::style::PAPER)
                .and_then(|()| self.disc(centre, radius, colour));
        };
        let place = |radius: f64| -> Vec<Point> {
            outline
                .iter()
                .map(|(x, y)| (centre.0 + radius * x, centre.1 + radius * y))
                .collect()
        };
        // A rim of paper keeps markers apart that lie on each other.
        self.polygon(&place(radius * 1.3), super::style::PAPER, 1.0)?;
        self.polygon(&place(radius), colour, 1.0)?;
        if marker.is_hollow() {
            self.polygon(&place(radius * 0.5), super::style::PAPER, 1.0)
        } else {
            Ok(())
        }
    }

    pub(super) fn text(&self, text: &str, at: Point, lettering: Lettering) -> Drawn {
        let Some(letters) = &self.letters else {
            return self
                .area
                .draw_text(text, &lettering.style(), device(at))
                .map_err(|e| e.to_string());
        };
        let along = match lettering.across {
            HPos::Left => 0.0,
            HPos::Center => 0.5,
            HPos::Right => 1.0,
        };
        let (x, y) = device(at);
        let setting = Setting {
            size: lettering.size * FINENESS,
            along,
        };
        letters.cover(text, setting, |across, down, cover| {
            let pixel = if lettering.upwards {
                (x + down, y - across)
            } else {
                (x + across, y + down)
            };
            self.area
                .draw_pixel(pixel, &lettering.colour.mix(cover))
                .map_err(|e| e.to_string())
        })
    }

    fn disc(&self, centre: Point, radius: f64, colour: RGBColor) -> Drawn {
        let radius = (radius * FINENESS).round() as i32;
        self.area
            .draw(&Circle::new(device(centre), radius, colour.filled()))
            .map_err(|e| e.to_string())
    }

    fn path(&self, points: &[Point], style: ShapeStyle) -> Drawn {
        let mut points: Vec<_> = points.iter().copied().map(device).collect();
        points.dedup();
        if points.len() < 2 {
            return Ok(());
        }
        self.area
            .draw(&PathElement::new(points, style))
            .map_err(|e| e.to_string())
    }
}

fn device((x, y): Point) -> (i32, i32) {
    ((x * FINENESS).round() as i32, (y * FINENESS).round() as i32)
}

/// Cuts a line into its dashes.
fn cut(points: &[Point], dashes: &[f64]) -> Vec<Vec<Point>> {
    let Some(first) = points
        .first()
        .filter(|_| dashes.iter().all(|&d| d > 0.0) && !dashes.is_empty())
    else {
        return vec![points.to_vec()];
    };
    let (mut pieces, mut piece) = (Vec::new(), vec![*first]);
    let (mut turn, mut left) = (0, dashes[0]);
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let mut gone = 0.0;
        while length - gone > left {
            gone += left;
            let share = gone / length;
            let here = (
                from.0 + share * (to.0 - from.0),
                from.1 + share * (to.1 - from.1),
            );
            if turn % 2 == 0 {
                piece.push(here);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![here];
            }
            turn += 1;
            left = dashes[turn % dashes.len()];
        }
        left -= length - gone;
        if turn % 2 == 0 {
            piece.push(to);
        }
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_of_the_line() {
        let pieces = cut(&[(0.0, 0.0), (30.0, 0.0), (30.0, 70.0)], &[6.0, 4.0]);
        let length: f64 = pieces
            .iter()
            .flat_map(|p| p.windows(2))
            .map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1))
            .sum();
        assert!((length - 60.0).abs() < 1e-9, "{length}");
        assert_eq!(cut(&[(0.0, 0.0), (9.0, 0.0)], &[]).len(), 1);
    }
}
