//! Random pairs of strings, as the benchmark makes them.

use super::{EditDistanceConfig, LONGER_BY};
use crate::random::Stream;

impl EditDistanceConfig {
    /// Two strings as the benchmark makes them, the shorter of exactly `length` letters.
    ///
    /// The benchmark fixes the length n of the string it edits and lets the shorter one fall between n-3 and n. Here n
    /// is uniform among the lengths that can give `length`, and what comes out otherwise is drawn again.
    pub(super) fn strings(&self, length: usize, stream: &mut Stream) -> (Vec<u8>, Vec<u8>) {
        'length: loop {
            let n = length + below(stream, LONGER_BY + 1);
            let edits = 1 + below(stream, n);
            loop {
                let random = stream.unit() < self.random_share;
                let (second_length, kinds) = if random {
                    random_length(n, stream)
                } else {
                    edit_kinds(n, edits, stream)
                };
                if second_length + LONGER_BY < n || second_length > n + 2 {
                    continue;
                }
                if n.min(second_length) != length {
                    continue 'length;
                }
                let letters = self.draw_letters(stream);
                let first: Vec<u8> = (0..n).map(|_| pick(&letters, stream)).collect();
                let second = if random {
                    (0..second_length).map(|_| pick(&letters, stream)).collect()
                } else {
                    apply_edits(&first, &kinds, &letters, stream)
                };
                if first != second {
                    return if first.len() <= second.len() {
                        (first, second)
                    } else {
                        (second, first)
                    };
                }
            }
        }
    }

    /// The letters of one problem, drawn from the alphabet without replacement.
    fn draw_letters(&self, stream: &mut Stream) -> Vec<u8> {
        let [fewest, most] = self.drawn;
        let count = fewest + below(stream, most.min(self.letters) - fewest + 1);
        let mut alphabet: Vec<u8> = (b'a'..=b'z').take(self.letters).collect();
        for index in 0..count {
            let other = index + below(stream, alphabet.len() - index);
            alphabet.swap(index, other);
        }
        alphabet.truncate(count);
        alphabet
    }
}

/// How an edit changes a string.
#[derive(Debug, Clone, Copy)]
enum Edit {
    Delete,
    Replace,
    Insert,
}

fn random_length(n: usize, stream: &mut Stream) -> (usize, Vec<Edit>) {
    let shortest = n.saturating_sub(LONGER_BY).max(1);
    (shortest + below(stream, n + 3 - shortest), Vec::new())
}

/// The kinds of a number of random edits of `n` letters, and the length after them. As in the benchmark, what would
/// delete from two letters or fewer inserts instead.
fn edit_kinds(n: usize, edits: usize, stream: &mut Stream) -> (usize, Vec<Edit>) {
    let mut length = n;
    let mut draw = || match below(stream, 3) {
        0 if length > 2 => {
            length -= 1;
            Edit::Delete
        }
        1 => Edit::Replace,
        _ => {
            length += 1;
            Edit::Insert
        }
    };
    let kinds = (0..edits).map(|_| draw()).collect();
    (length, kinds)
}

fn apply_edits(first: &[u8], kinds: &[Edit], letters: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut edited = first.to_vec();
    for kind in kinds {
        match kind {
            Edit::Delete => {
                edited.remove(below(stream, edited.len()));
            }
            Edit::Replace => {
                let place = below(stream, edited.len());
                edited[place] = pick(letters, stream);
            }
            Edit::Insert => {
                let place = below(stream, edited.len() + 1);
                edited.insert(place, pick(letters, stream));
            }
        }
    }
    edited
}

fn pick(letters: &[u8], stream: &mut Stream) -> u8 {
    letters[below(stream, letters.len())]
}

fn below(stream: &mut Stream, bound: usize) -> usize {
    stream.below(bound as u64) as usize
}
