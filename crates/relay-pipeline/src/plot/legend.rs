//! Where the entries of a legend stand.

use super::canvas::Point;

/// Height of a row.
pub(super) const ROW: f64 = 24.0;

/// Where entries of these widths begin, the first at `start`: as many in a row as end before `right`, one at least.
pub(super) fn places(
    widths: impl IntoIterator<Item = f64>,
    start: Point,
    right: f64,
) -> Vec<Point> {
    let (mut x, mut y) = start;
    let place = |width: f64| {
        if x > start.0 && x + width > right {
            (x, y) = (start.0, y + ROW);
        }
        let place = (x, y);
        x += width;
        place
    };
    widths.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_do_not_fit_begin_a_row() {
        let found = places([30.0, 30.0, 50.0, 200.0], (10.0, 5.0), 100.0);
        let rows = [5.0, 5.0 + ROW, 5.0 + 2.0 * ROW];
        assert_eq!(
            found,
            [
                (10.0, rows[0]),
                (40.0, rows[0]),
                (10.0, rows[1]),
                (10.0, rows[2])
            ]
        );
    }
}
