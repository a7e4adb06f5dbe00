//! Which problems are for training, which for watching the training, which for testing.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Result, TaskError};

/// One of the three parts into which all problems of a task fall.
///
/// The part of a problem is a function of its text, so the parts are disjoint however problems are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// 13 of 16 problems.
    Train,
    /// 1 of 16 problems.
    Valid,
    /// 2 of 16 problems.
    Test,
}

impl Split {
    /// The part that a problem belongs to.
    pub fn of(task: &str, prompt: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(task.as_bytes());
        hasher.update(&[0]);
        hasher.update(prompt.as_bytes());
        match hasher.finalize().as_bytes()[0] % 16 {
            0 | 1 => Self::Test,
            2 => Self::Valid,
            _ => Self::Train,
        }
    }
}

impl FromStr for Split {
    type Err = TaskError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "train" => Ok(Self::Train),
            "valid" => Ok(Self::Valid),
            "test" => Ok(Self::Test),
            other => Err(TaskError::setting("split", other, "train, valid or test")),
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for split in [Split::Train, Split::Valid, Split::Test] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
            assert_eq!(serde_json::to_value(split).unwrap(), split.to_string());
        }
        let message = "Tset".parse::<Split>().unwrap_err().to_string();
        assert_eq!(
            message,
            "setting `split` is Tset, expected train, valid or test"
        );
    }

    #[test]
    fn the_shares_are_13_1_and_2_of_16() {
        let mut counts = [0_i32; 3];
        for number in 0..16_000 {
            counts[Split::of("ari", &format!("{number} + 1 =")) as usize] += 1;
        }
        for (count, share) in counts.into_iter().zip([13_000, 1000, 2000]) {
            assert!((count - share).abs() < 200, "{counts:?}");
        }
    }

    #[test]
    fn the_task_takes_part() {
        let differ = |number: &u32| {
            let text = number.to_string();
            Split::of("a", &text) != Split::of("b", &text)
        };
        assert!((0..100).any(|number| differ(&number)));
    }
}
