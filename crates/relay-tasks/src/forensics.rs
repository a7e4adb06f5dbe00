//! Where a chain goes wrong, whether it comes back, and what stands in the wrong places.
//!
//! What is right at a place is what [`score`](crate::score()) counts as right there: a chain without a wrong step is one
//! whose score says `chain`, and it has as many confusions as its score has tokens that are not right.

use serde::{Deserialize, Serialize};

use crate::{
    Chain, Example, Score, TokenId, score,
    score::{places, step},
};

/// Where one written chain leaves the true one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainDiagnosis {
    /// What is right, as it counts for the accuracies.
    pub score: Score,
    /// Steps of the true chain.
    pub steps: usize,
    /// The first wrong step, counted from 1; `None` if the whole chain is right. A step is right when each of its tokens
    /// is, and none is too many. A step beyond the true number is wrong, and one that is missing as well.
    pub first_wrong: Option<usize>,
    /// Steps after the first wrong one, missing and surplus ones included.
    pub later: usize,
    /// How many of them are wrong.
    pub later_wrong: usize,
    /// The wrong places in the order of the steps, those of a step from right to left.
    pub confusions: Vec<Confusion>,
}

/// What stands in a wrong place, and what should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Confusion {
    /// The true token; `None` where the written step has a token too many.
    pub truth: Option<TokenId>,
    /// The written token; `None` where it is missing.
    pub written: Option<TokenId>,
}

impl ChainDiagnosis {
    /// Whether a right step follows a wrong one.
    pub fn recovers(&self) -> bool {
        self.later_wrong < self.later
    }
}

/// Compares a written chain with the true one and tells where it goes wrong.
///
/// ```
/// use relay_tasks::{Chain, Example, examine};
///
/// let truth = Example {
///     task: 0, length: 3, iterations: 3, width: 2, prompt: vec![3], steps: vec![vec![5, 1], vec![6, 1], vec![7, 1]], answer: Some(7),
/// };
/// let written = Chain { steps: vec![vec![5, 1], vec![9, 1], vec![7, 1]], answer: Some(7), ..Chain::default() };
/// let diagnosis = examine(&truth, &written);
/// assert_eq!(diagnosis.first_wrong, Some(2));
/// assert!(diagnosis.recovers() && diagnosis.score.answer && !diagnosis.score.chain);
/// assert_eq!((diagnosis.confusions[0].truth, diagnosis.confusions[0].written), (Some(6), Some(9)));
/// ```
pub fn examine(truth: &Example, written: &Chain) -> ChainDiagnosis {
    let steps = truth.steps.len().max(written.steps.len());
    let wrong = |index: &usize| truth.steps.get(*index) != written.steps.get(*index);
    let first = (0..steps).find(wrong);
    let after = first.map_or(steps, |first| first + 1)..steps;
    let confusions = (0..steps)
        .flat_map(|index| places(step(&truth.steps, index), step(&written.steps, index)))
        .filter(|(truth, written)| truth != written)
        .map(|(truth, written)| Confusion { truth, written })
        .collect();
    ChainDiagnosis {
        score: score(truth, written),
        steps: truth.steps.len(),
        first_wrong: first.map(|first| first + 1),
        later: after.len(),
        later_wrong: after.filter(wrong).count(),
        confusions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Example {
        Example {
            task: 0,
            length: 3,
            iterations: 3,
            width: 4,
            prompt: vec![3, 4],
            steps: vec![vec![5, 6, 7, 1], vec![8, 9, 1], vec![4, 1]],
            answer: Some(4),
        }
    }

    fn diagnosis(steps: &[&[TokenId]]) -> ChainDiagnosis {
        let written = Chain {
            steps: steps.iter().map(|step| step.to_vec()).collect(),
            answer: Some(4),
            ..Chain::default()
        };
        let found = examine(&truth(), &written);
        // One definition of what is right, seen from two sides.
        assert_eq!(found.score, score(&truth(), &written));
        assert_eq!(found.first_wrong.is_none(), found.score.chain);
        assert_eq!(
            found.confusions.len(),
            found.score.total - found.score.right
        );
        assert_eq!(found.steps, 3);
        found
    }

    fn confused(found: &ChainDiagnosis) -> Vec<(Option<TokenId>, Option<TokenId>)> {
        found
            .confusions
            .iter()
            .map(|c| (c.truth, c.written))
            .collect()
    }

    /// First wrong step, steps after it, wrong ones among them, whether it recovers.
    fn course(found: &ChainDiagnosis) -> (Option<usize>, usize, usize, bool) {
        (
            found.first_wrong,
            found.later,
            found.later_wrong,
            found.recovers(),
        )
    }

    #[test]
    fn a_right_chain_has_nothing_to_tell() {
        let found = diagnosis(&[&[5, 6, 7, 1], &[8, 9, 1], &[4, 1]]);
        assert_eq!(course(&found), (None, 0, 0, false));
        assert!(found.confusions.is_empty());
    }

    #[test]
    fn wrong_steps_stay_wrong_or_recover() {
        let stays = diagnosis(&[&[5, 0, 7, 1], &[8, 2, 1], &[3, 1]]);
        assert_eq!(course(&stays), (Some(1), 2, 2, false));
        assert_eq!(
            confused(&stays),
            [(Some(6), Some(0)), (Some(9), Some(2)), (Some(4), Some(3))]
        );
        let recovers = diagnosis(&[&[5, 0, 7, 1], &[8, 2, 1], &[4, 1]]);
        assert_eq!(course(&recovers), (Some(1), 2, 1, true));
        let last = diagnosis(&[&[5, 6, 7, 1], &[8, 9, 1], &[2, 1]]);
        assert_eq!(course(&last), (Some(3), 0, 0, false));
    }

    #[test]
    fn missing_tokens_and_steps_are_wrong() {
        let shifted = diagnosis(&[&[5, 6, 7, 1], &[9, 1], &[4, 1]]);
        assert_eq!(course(&shifted), (Some(2), 1, 0, true));
        assert_eq!(confused(&shifted), [(Some(8), None)]);
        let short = diagnosis(&[&[5, 6, 7, 1], &[8, 9, 1]]);
        assert_eq!(course(&short), (Some(3), 0, 0, false));
        assert_eq!(confused(&short), [(Some(1), None), (Some(4), None)]);
        let nothing = diagnosis(&[]);
        assert_eq!(course(&nothing), (Some(1), 2, 2, false));
        assert_eq!(nothing.confusions.len(), 9);
    }

    #[test]
    fn surplus_tokens_and_steps_are_wrong() {
        let long = diagnosis(&[&[5, 6, 7, 1], &[2, 8, 9, 1], &[4, 1]]);
        assert_eq!(course(&long), (Some(2), 1, 0, true));
        assert_eq!(confused(&long), [(None, Some(2))]);
        let beyond = diagnosis(&[&[5, 6, 7, 1], &[8, 9, 1], &[4, 1], &[4]]);
        assert_eq!(course(&beyond), (Some(4), 0, 0, false));
        assert_eq!(confused(&beyond), [(None, Some(4))]);
        let empty = diagnosis(&[&[5, 6, 7, 1], &[8, 9, 1], &[4, 1], &[]]);
        assert_eq!(course(&empty), (Some(4), 0, 0, false));
        assert!(empty.confusions.is_empty());
    }
}
