//! Groups of examples that fit together in a batch: little padding, few iterations for nobody.

use serde::{Deserialize, Serialize};

use crate::{CausalBatch, Example, Result, TaskError, TaskInfo};

/// How large and how wasteful a group may become.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupLimits {
    /// Examples of a group, 512 by default. Fewer use less memory.
    pub max_samples: usize,
    /// Columns of a group, examples times width; 0, the default, for no limit. What bounds memory where widths differ.
    pub max_tokens: usize,
    /// Share of what is computed for a group that may be padding or idle iterations, 0.1 by default. More of it makes
    /// fewer and larger groups.
    pub max_waste: f32,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            max_samples: 512,
            max_tokens: 0,
            max_waste: 0.1,
        }
    }
}

impl GroupLimits {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`TaskError::Setting`] when `max_samples` is 0 or `max_waste` is not from 0 to 1.
    pub fn validate(&self) -> Result<()> {
        if self.max_samples == 0 {
            return Err(TaskError::setting("max_samples", 0, "at least 1"));
        }
        if !(0.0..=1.0).contains(&self.max_waste) {
            return Err(TaskError::setting(
                "max_waste",
                self.max_waste,
                "a share from 0 to 1",
            ));
        }
        Ok(())
    }
}

/// Groups examples for the looped model: one task a group, similar iterations and widths.
///
/// Gives indices into `examples`; every example stands in exactly one group. A group computes examples x most iterations
/// x greatest width token-iterations; of these at most [`GroupLimits::max_waste`] are beyond an example's own iterations
/// or its own window.
pub fn group_looped(examples: &[Example], limits: &GroupLimits) -> Vec<Vec<usize>> {
    let cost = |example: &Example| Cost {
        task: example.task,
        passes: example.iterations,
        width: example.width,
    };
    group(examples.iter().map(cost).collect(), limits)
}

/// Groups examples for the auto-regressive model: one task a group, similar widths.
///
/// Gives indices into `examples`; every example stands in exactly one group.
///
/// # Errors
/// When an example has no chain to write or its task is not in `info`.
pub fn group_causal(
    examples: &[Example],
    info: &[TaskInfo],
    limits: &GroupLimits,
) -> Result<Vec<Vec<usize>>> {
    let cost = |example: &Example| {
        let unknown = || {
            TaskError::data(format!(
                "an example is of task {}, there are {}",
                example.task,
                info.len()
            ))
        };
        let info = info.get(example.task).ok_or_else(unknown)?;
        let width = example.prompt.len() + CausalBatch::targets_of(example, info)? - 1;
        Ok(Cost {
            task: example.task,
            passes: 1,
            width,
        })
    };
    Ok(group(
        examples.iter().map(cost).collect::<Result<_>>()?,
        limits,
    ))
}

/// What one example costs: passes of the block times columns.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    task: usize,
    passes: usize,
    width: usize,
}

impl Cost {
    fn area(self) -> usize {
        self.passes.saturating_mul(self.width)
    }
}

/// Cuts the examples, sorted, wherever the group would become too large or too wasteful.
fn group(costs: Vec<Cost>, limits: &GroupLimits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|&index| {
        (
            costs[index].task,
            costs[index].passes,
            costs[index].width,
            index,
        )
    });
    let mut groups: Vec<Vec<usize>> = Vec::new();
    // The largest of the last group so far, and what its members would cost alone.
    let (mut largest, mut useful) = (Cost::default(), 0_usize);
    for index in order {
        let cost = costs[index];
        if let Some(group) = groups.last_mut().filter(|_| largest.task == cost.task) {
            let size = group.len() + 1;
            let both = Cost {
                passes: largest.passes.max(cost.passes),
                width: largest.width.max(cost.width),
                ..cost
            };
            let both_useful = useful.saturating_add(cost.area());
            let fits =
                limits.max_tokens == 0 || size.saturating_mul(both.width) <= limits.max_tokens;
            let waste = 1.0 - both_useful as f64 / size.saturating_mul(both.area()) as f64;
            if size <= limits.max_samples && fits && waste <= f64::from(limits.max_waste) {
                group.push(index);
                (largest, useful) = (both, both_useful);
                continue;
            }
        }
        groups.push(vec![index]);
        (largest, useful) = (cost, cost.area());
    }
    groups
}
