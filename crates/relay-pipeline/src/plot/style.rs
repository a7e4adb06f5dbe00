//! Colours, markers and dashes: told apart by colour-blind readers and in print without colour.

use plotters::prelude::RGBColor;

use crate::arms::ARMS;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x55, 0x55, 0x55);
pub(super) const GRID: RGBColor = RGBColor(0xd9, 0xd9, 0xd9);
pub(super) const SHADE: RGBColor = RGBColor(0xef, 0xef, 0xef);
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

/// The shape of a line's markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Disc,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    HollowSquare,
}

/// How an arm's line looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineStyle {
    pub(super) colour: RGBColor,
    pub(super) marker: Marker,
    pub(super) dashes: &'static [f64],
    pub(super) width: f64,
}

/// Okabe and Ito's colours. The first is the widest, because others run on top of it near 100 %.
const STYLES: [LineStyle; 7] = [
    LineStyle {
        colour: RGBColor(0x00, 0x72, 0xb2),
        marker: Marker::Disc,
        dashes: &[],
        width: 3.0,
    },
    LineStyle {
        colour: RGBColor(0x00, 0x9e, 0x73),
        marker: Marker::Square,
        dashes: &[9.0, 3.0],
        width: 2.0,
    },
    LineStyle {
        colour: RGBColor(0xd5, 0x5e, 0x00),
        marker: Marker::Triangle,
        dashes: &[5.0, 3.0],
        width: 2.0,
    },
    LineStyle {
        colour: RGBColor(0xcc, 0x79, 0xa7),
        marker: Marker::Diamond,
        dashes: &[],
        width: 1.5,
    },
    LineStyle {
        colour: RGBColor(0xe6, 0x9f, 0x00),
        marker: Marker::TriangleDown,
        dashes: &[2.0, 3.0],
        width: 2.0,
    },
    LineStyle {
        colour: RGBColor(0x56, 0xb4, 0xe9),
        marker: Marker::HollowSquare,
        dashes: &[9.0, 3.0, 2.0, 3.0],
        width: 2.0,
    },
    LineStyle {
        colour: RGBColor(0x33, 0x33, 0x33),
        marker: Marker::Diamond,
        dashes: &[2.0, 2.0],
        width: 1.5,
    },
];

/// The style of every arm: the known ones always look the same, others take what is left.
pub(super) fn line_styles(arms: &[&str]) -> Vec<LineStyle> {
    let mut free: Vec<usize> = (0..STYLES.len())
        .filter(|&i| ARMS.get(i).is_none_or(|name| !arms.contains(name)))
        .rev()
        .collect();
    let mut beyond = 0..;
    let place = |arm: &&str| {
        ARMS.iter()
            .position(|name| name == arm)
            .or_else(|| free.pop())
            .unwrap_or_else(|| beyond.next().unwrap_or(0))
    };
    arms.iter()
        .map(place)
        .map(|i| STYLES[i % STYLES.len()])
        .collect()
}

impl Marker {
    /// Corners around the centre for a radius of 1; `None` for a disc.
    pub(super) fn outline(self) -> Option<&'static [(f64, f64)]> {
        match self {
            Self::Disc => None,
            Self::Square | Self::HollowSquare => {
                Some(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
            }
            Self::Triangle => Some(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
            Self::TriangleDown => Some(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
            Self::Diamond => Some(&[(0.0, -1.3), (1.1, 0.0), (0.0, 1.3), (-1.1, 0.0)]),
        }
    }

    pub(super) fn is_hollow(self) -> bool {
        self == Self::HollowSquare
    }
}

/// The colour of a share in a heat map, pale yellow for 0 and dark blue for 1, and the colour of text on it.
///
/// Brewer's YlGnBu: lightness alone carries the order, so that it survives colour blindness and a grey print.
pub(super) fn heat(share: f64) -> (RGBColor, RGBColor) {
    const STOPS: [(f64, [f64; 3]); 5] = [
        (0.0, [255.0, 255.0, 217.0]),
        (0.25, [199.0, 233.0, 180.0]),
        (0.55, [65.0, 182.0, 196.0]),
        (0.85, [34.0, 94.0, 168.0]),
        (1.0, [8.0, 48.0, 107.0]),
    ];
    let share = share.clamp(0.0, 1.0);
    let upper = STOPS
        .iter()
        .position(|(at, _)| *at >= share)
        .unwrap_or(STOPS.len() - 1)
        .max(1);
    let ((from, low), (to, high)) = (STOPS[upper - 1], STOPS[upper]);
    let part = (share - from) / (to - from);
    let mixed: [f64; 3] = std::array::from_fn(|i| low[i] + part * (high[i] - low[i]));
    let [r, g, b] = mixed.map(|x| x.round() as u8);
    let light = 0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2];
    (RGBColor(r, g, b), if light > 118.0 { INK } else { PAPER })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arms::{AR_RELAY, LOOPED_ALIGNED};

    #[test]
    fn arms_keep_their_colours_and_strangers_get_free_ones() {
        let with = line_styles(&["mine", AR_RELAY, LOOPED_ALIGNED]);
        let without = line_styles(&[LOOPED_ALIGNED, AR_RELAY]);
        assert_eq!(with[1].colour, without[1].colour);
        assert_eq!(with[2].colour, without[0].colour);
        assert!(with[0].colour != with[1].colour && with[0].colour != with[2].colour);
        assert_eq!(
            line_styles(&["a", "b", "c", "d", "e", "f", "g", "h"]).len(),
            8
        );
    }

    #[test]
    fn heat_darkens_steadily() {
        let light = |share| {
            let (RGBColor(r, g, b), _) = heat(share);
            299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)
        };
        assert!((0..20).all(|i| light(f64::from(i) / 20.0) > light(f64::from(i + 1) / 20.0)));
    }
}
