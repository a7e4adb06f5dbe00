//! Random sequences with increasing runs planted in them.

use super::LisConfig;
use crate::random::Stream;

impl LisConfig {
    /// A random sequence with increasing runs planted one after the other at random places.
    pub(super) fn sequence(&self, length: usize, stream: &mut Stream) -> Vec<u32> {
        let range = self.range(length);
        let (lowest, count) = (*range.start(), (range.end() - range.start() + 1) as usize);
        let mut numbers: Vec<u32> = (0..length)
            .map(|_| lowest + below(stream, count) as u32)
            .collect();
        let [fewest, most] = self.runs;
        let runs = fewest + below(stream, most - fewest + 1);
        let shortest = length.min(3);
        let mut left = shortest + below(stream, length - shortest + 1);
        let mut planted = Vec::with_capacity(left);
        for run in (1..=runs).rev() {
            // The sizes as the benchmark draws them: up to a fair share and one more; the last run takes what is left.
            let size = if run == 1 {
                left
            } else {
                (1 + below(stream, left / run + 1)).min(left)
            };
            let size = size.min(count);
            planted.extend(subset(size, count, stream).map(|value| lowest + value as u32));
            left -= size;
        }
        let places: Vec<usize> = subset(planted.len(), length, stream).collect();
        for (place, number) in places.into_iter().zip(planted) {
            numbers[place] = number;
        }
        numbers
    }
}

/// A uniformly drawn subset of `0..of` with `size` members, ascending (Floyd's method).
fn subset(size: usize, of: usize, stream: &mut Stream) -> impl Iterator<Item = usize> {
    let mut taken = vec![false; of];
    for last in of - size..of {
        let drawn = below(stream, last + 1);
        let member = if taken[drawn] { last } else { drawn };
        taken[member] = true;
    }
    taken
        .into_iter()
        .enumerate()
        .filter_map(|(member, taken)| taken.then_some(member))
}

fn below(stream: &mut Stream, bound: usize) -> usize {
    stream.below(bound as u64) as usize
}
