//! What the bands and bars of a figure reach over.

/// What the bands and bars of a figure reach over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bands {
    /// What is within chance, given how many problems were solved.
    Interval,
    /// What several seeds gave.
    Seeds,
    /// There are none.
    None,
}

impl Bands {
    /// For a legend: what a band is.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            Self::Interval => Some("95 % interval"),
            Self::Seeds => Some("lowest to highest seed"),
            Self::None => None,
        }
    }

    /// For a caption: what `bands`, such as `Bands`, are.
    pub(crate) fn caption(self, bands: &str) -> String {
        match self {
            Self::Interval => format!("{bands} are 95 % Wilson intervals."),
            Self::Seeds => {
                format!("Means over the seeds. {bands} reach from the lowest to the highest seed.")
            }
            Self::None => String::new(),
        }
    }
}
