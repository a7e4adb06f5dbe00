//! Text for bitmaps, with the font that travels with the program.
//!
//! Plotters can draw text on bitmaps too, but it leaves out the space that belongs to the left of each letter.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// The font, ready to be drawn from.
pub(super) struct Letters {
    font: FontRef<'static>,
}

/// How large a text is and where its point lies.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// Pixels of an em.
    pub(super) size: f64,
    /// Where along the text the point lies: 0 at its left end, 1 at its right end.
    pub(super) along: f64,
}

/// Height of a digit, in em; text is centred at half of it, as its letters have no common height.
const DIGIT: f32 = 0.69;

impl Letters {
    pub(super) fn new() -> Result<Self, String> {
        let font = FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|e| e.to_string())?;
        Ok(Self { font })
    }

    /// Calls `pixel` with the place, from the text's point to the right and down, and the share of every pixel covered.
    pub(super) fn cover(
        &self,
        text: &str,
        setting: Setting,
        mut pixel: impl FnMut(i32, i32, f64) -> Result<(), String>,
    ) -> Result<(), String> {
        let scaled = self.font.as_scaled(self.scale(setting.size));
        let (places, width) = self.places(text, setting.size);
        let left = -width * setting.along as f32;
        let baseline = DIGIT / 2.0 * setting.size as f32;
        for (glyph, x) in places {
            let glyph = glyph.with_scale_and_position(scaled.scale(), point(left + x, baseline));
            let Some(outline) = self.font.outline_glyph(glyph) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            let mut result = Ok(());
            outline.draw(|x, y, cover| {
                if result.is_ok() {
                    let (across, down) = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                    // Once more a pixel further: the light font gets the weight of a regular one.
                    result = pixel(across, down, cover.into())
                        .and_then(|()| pixel(across + 1, down, cover.into()));
                }
            });
            result?;
        }
        Ok(())
    }

    /// Each letter's distance from the text's left end, and the width of all.
    fn places(&self, text: &str, size: f64) -> (Vec<(ab_glyph::GlyphId, f32)>, f32) {
        let scaled = self.font.as_scaled(self.scale(size));
        let (mut places, mut x) = (Vec::new(), 0.0);
        for letter in text.chars().map(|c| scaled.glyph_id(c)) {
            if let Some(&(last, _)) = places.last() {
                x += scaled.kern(last, letter);
            }
            places.push((letter, x));
            x += scaled.h_advance(letter);
        }
        (places, x)
    }

    /// The font library's scale is the height of a line, not of an em.
    fn scale(&self, size: f64) -> PxScale {
        let em = self.font.units_per_em().unwrap_or(1000.0);
        PxScale::from(size as f32 * self.font.height_unscaled() / em)
    }
}

/// The width that `text` takes, rounded up generously because a viewer's font may be wider than ours.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let rough = || 0.6 * size * text.chars().count() as f64;
    Letters::new().map_or_else(
        |_| rough(),
        |letters| 1.15 * f64::from(letters.places(text, size).1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_centres_text_at_its_point() {
        let letters = Letters::new().unwrap();
        let reach = |along| {
            let (mut low, mut high, mut top, mut bottom) = (i32::MAX, i32::MIN, i32::MAX, i32::MIN);
            let setting = Setting { size: 40.0, along };
            let result = letters.cover("100", setting, |x, y, _| {
                (low, high, top, bottom) = (low.min(x), high.max(x), top.min(y), bottom.max(y));
                Ok(())
            });
            result.map(|()| (low, high, top, bottom)).unwrap()
        };
        let (low, _, top, bottom) = reach(0.0);
        assert!((0..8).contains(&low), "{low}");
        assert!((top + bottom).abs() <= 2, "{top} {bottom}");
        assert!((-8..=1).contains(&reach(1.0).1));
        let (low, high, ..) = reach(0.5);
        assert!((low + high).abs() <= 4, "{low} {high}");
    }

    #[test]
    fn wide_text_is_wide() {
        assert!(text_width("wide text", 12.0) > 2.0 * text_width("wid", 12.0));
    }
}
