//! Other numbers of iterations at test time than the problem asks for.

use std::borrow::Cow;

use relay_tasks::Example;

use crate::{EvaluationSettings, arms::is_looped};

impl EvaluationSettings {
    /// What of these settings matters to an arm: only looped models have iterations.
    pub(crate) fn of_arm(&self, arm: &str) -> Self {
        let looped = is_looped(arm);
        Self {
            extra_iterations: if looped { self.extra_iterations } else { 0 },
            ..self.clone()
        }
    }

    /// The examples with as many iterations more, or fewer, as the settings say; one is left at least.
    pub(crate) fn shifted<'a>(&self, examples: &'a [Example]) -> Cow<'a, [Example]> {
        if self.extra_iterations == 0 {
            return Cow::Borrowed(examples);
        }
        let shift = |example: &Example| {
            let iterations = (example.iterations as i64).saturating_add(self.extra_iterations);
            Example {
                iterations: usize::try_from(iterations.max(1)).unwrap_or(1),
                ..example.clone()
            }
        };
        Cow::Owned(examples.iter().map(shift).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_shift_for_looped_arms_only_and_one_is_left() {
        let settings = EvaluationSettings {
            extra_iterations: -2,
            ..crate::preset("smoke", 1).unwrap().evaluation
        };
        assert_eq!(settings.of_arm("ar_relay").extra_iterations, 0);
        let example = |iterations| Example {
            task: 0,
            length: iterations,
            iterations,
            width: 4,
            prompt: vec![3],
            steps: Vec::new(),
            answer: None,
        };
        let shifted = settings
            .of_arm("looped_vanilla")
            .shifted(&[example(5), example(2)])
            .into_owned();
        assert_eq!(
            shifted.iter().map(|e| e.iterations).collect::<Vec<_>>(),
            [3, 1]
        );
    }
}
