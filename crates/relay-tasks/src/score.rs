//! What is right in a chain that a model wrote: defined once, for filters, evaluation and tests alike.

use serde::{Deserialize, Serialize};

use crate::{Chain, Example, TokenId};

/// How one written chain compares with the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Whether the answer is right, whatever the steps.
    pub answer: bool,
    /// Whether every step is right, token for token, and there are as many as there should be; whatever the answer.
    pub chain: bool,
    /// Tokens of the steps that stand at their place, counted from the right within a step.
    pub right: usize,
    /// Tokens that count: those of the true steps, and what written steps have beyond them.
    pub total: usize,
}

/// Compares a written chain with the true one, step by step (figures 4 and 7).
///
/// Bit accuracy is the sum of `right` over the sum of `total`; it is about the tokens of the steps, the answer counts for
/// itself. Within a step tokens are counted from the right, as the window aligns them. What is missing counts as wrong,
/// and so does what a step has too many; a step beyond the true number is too many as a whole.
pub fn score(truth: &Example, written: &Chain) -> Score {
    let (mut right, mut total) = (0, 0);
    for index in 0..truth.steps.len().max(written.steps.len()) {
        for (expected, found) in places(step(&truth.steps, index), step(&written.steps, index)) {
            right += usize::from(expected == found);
            total += 1;
        }
    }
    let answer = truth.answer.is_some() && truth.answer == written.answer;
    Score {
        answer,
        chain: truth.steps == written.steps,
        right,
        total,
    }
}

/// Which tokens of the true steps are right (figures 5 and 6): a row for each step, right-aligned in `columns` columns;
/// `None` where no true token stands. Of a step with more tokens than columns the right end is shown.
pub fn hits(truth: &Example, written: &Chain, columns: usize) -> Vec<Vec<Option<bool>>> {
    let row = |(index, expected): (usize, &Vec<TokenId>)| {
        let mut row: Vec<Option<bool>> = places(expected, step(&written.steps, index))
            .take(expected.len())
            .map(|(expected, found)| Some(expected == found))
            .collect();
        row.resize(columns, None);
        row.reverse();
        row
    };
    truth.steps.iter().enumerate().map(row).collect()
}

/// The places of a step from right to left, as the window aligns them: the true token and the written one. A place is
/// right when both are there and the same; this is the only definition of it.
pub(crate) fn places(
    expected: &[TokenId],
    found: &[TokenId],
) -> impl Iterator<Item = (Option<TokenId>, Option<TokenId>)> {
    let at = |tokens: &[TokenId], place: usize| tokens.iter().rev().nth(place).copied();
    (0..expected.len().max(found.len())).map(move |place| (at(expected, place), at(found, place)))
}

/// The tokens of a step; none if there is no such step.
pub(crate) fn step(steps: &[Vec<TokenId>], index: usize) -> &[TokenId] {
    steps.get(index).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Example {
        let steps = vec![vec![5, 6, 7, 1], vec![8, 9, 1]];
        Example {
            task: 0,
            length: 2,
            iterations: 2,
            width: 4,
            prompt: vec![3, 4],
            steps,
            answer: Some(9),
        }
    }

    fn written(steps: &[&[TokenId]], answer: Option<TokenId>) -> Chain {
        Chain {
            steps: steps.iter().map(|step| step.to_vec()).collect(),
            answer,
            ..Chain::default()
        }
    }

    #[test]
    fn steps_and_answer_count_for_themselves() {
        let all: [&[TokenId]; 2] = [&[5, 6, 7, 1], &[8, 9, 1]];
        let right = Score {
            answer: true,
            chain: true,
            right: 7,
            total: 7,
        };
        assert_eq!(score(&truth(), &written(&all, Some(9))), right);
        assert_eq!(
            score(&truth(), &written(&all, Some(8))),
            Score {
                answer: false,
                ..right
            }
        );
        assert_eq!(
            score(&truth(), &written(&all, None)),
            Score {
                answer: false,
                ..right
            }
        );
        let nothing = Score {
            answer: true,
            chain: false,
            right: 0,
            total: 7,
        };
        assert_eq!(score(&truth(), &written(&[], Some(9))), nothing);
    }

    #[test]
    fn what_is_wrong_missing_or_too_much_is_wrong() {
        let bits = |steps: &[&[TokenId]]| {
            let score = score(&truth(), &written(steps, Some(9)));
            assert!(!score.chain);
            (score.right, score.total)
        };
        assert_eq!(bits(&[&[5, 0, 7, 1], &[8, 9, 1]]), (6, 7), "a wrong token");
        assert_eq!(
            bits(&[&[6, 7, 1], &[8, 9, 1]]),
            (6, 7),
            "a token missing on the left"
        );
        assert_eq!(
            bits(&[&[5, 6, 1], &[8, 9, 1]]),
            (4, 7),
            "a token missing inside shifts those left of it"
        );
        assert_eq!(
            bits(&[&[5, 6, 7, 1], &[0, 0, 8, 9, 1]]),
            (7, 9),
            "two tokens too many"
        );
        assert_eq!(bits(&[&[5, 6, 7, 1]]), (4, 7), "a step missing");
        assert_eq!(
            bits(&[&[5, 6, 7, 1], &[8, 9, 1], &[8, 1]]),
            (7, 9),
            "a step too many"
        );
        assert_eq!(
            bits(&[&[5, 6, 7, 1], &[8, 9, 1], &[]]),
            (7, 7),
            "an empty step too many"
        );
    }

    #[test]
    fn hits_are_right_aligned() {
        let chain = written(&[&[0, 5, 0, 7, 1]], None);
        let (yes, no) = (Some(true), Some(false));
        let expected = [vec![None, yes, no, yes, yes], vec![None, None, no, no, no]];
        assert_eq!(hits(&truth(), &chain, 5), expected);
        assert_eq!(hits(&truth(), &chain, 2), [vec![yes, yes], vec![no, no]]);
        assert_eq!(hits(&truth(), &chain, 0), [vec![], vec![]]);
    }
}
