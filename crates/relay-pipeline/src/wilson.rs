//! The Wilson score interval of a share.

/// The quantile of the normal distribution that leaves 2.5 % on each side.
const Z: f64 = 1.959_963_984_540_054;

/// The ends of a 95 % interval, both in `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The 95 % Wilson score interval of `share` seen in `n` trials.
///
/// Unlike the textbook interval it stays inside `0..=1` and has a width when everything was right, which is where most
/// of the method's results lie. `share` need not be a whole number of n-ths. With `n = 0` nothing is known: `0..1`.
pub(crate) fn wilson(share: f64, n: u64) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let n = n as f64;
    let z2 = Z * Z;
    let centre = share + z2 / (2.0 * n);
    let spread = Z
        * (share * (1.0 - share) / n + z2 / (4.0 * n * n))
            .max(0.0)
            .sqrt();
    let scale = 1.0 + z2 / n;
    // The ends meet 0 and 1 exactly there; rounding must not leave 1 - 1e-16 in a report.
    let low = if share <= 0.0 {
        0.0
    } else {
        (centre - spread) / scale
    };
    let high = if share >= 1.0 {
        1.0
    } else {
        (centre + spread) / scale
    };
    Interval {
        low: low.clamp(0.0, 1.0),
        high: high.clamp(0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(interval: Interval, low: f64, high: f64) {
        assert!(
            (interval.low - low).abs() < 5e-5,
            "{interval:?}, low should be {low}"
        );
        assert!(
            (interval.high - high).abs() < 5e-5,
            "{interval:?}, high should be {high}"
        );
    }

    #[test]
    fn agrees_with_published_values() {
        // Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
        close(wilson(81.0 / 263.0, 263), 0.2553, 0.3662);
        close(wilson(15.0 / 148.0, 148), 0.0624, 0.1605);
        close(wilson(0.0, 20), 0.0, 0.1611);
        close(wilson(1.0 / 29.0, 29), 0.0061, 0.1718);
    }

    #[test]
    fn has_a_width_where_everything_was_right() {
        close(wilson(1.0, 100), 0.9630, 1.0);
        assert_eq!(wilson(1.0, 100).high, 1.0);
    }

    #[test]
    fn is_symmetric_and_holds_its_share() {
        for n in [1, 3, 50, 1000] {
            for k in 0..=n.min(50) {
                let share = k as f64 / n as f64;
                let (a, b) = (wilson(share, n), wilson(1.0 - share, n));
                assert!((a.low - (1.0 - b.high)).abs() < 1e-12);
                assert!(a.low <= share && share <= a.high, "{share} {a:?}");
            }
        }
        assert_eq!(
            wilson(0.5, 0),
            Interval {
                low: 0.0,
                high: 1.0
            }
        );
    }
}
