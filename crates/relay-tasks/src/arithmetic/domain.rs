//! The numbers that arithmetic is done in.

use serde::{Deserialize, Serialize};

use crate::error::{Result, TaskError};

/// Largest prime, and largest integer bound, that a [`Domain`] may have: every number is a token of its own.
const LARGEST: u32 = 65_521;

/// The numbers of an arithmetic problem and what the four operations mean on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Domain {
    /// The integers modulo a prime, as in the benchmark: `/` multiplies by the inverse. Default with `p` = 11.
    PrimeField {
        /// The prime; values are the tokens 0 to `p - 1`. A smaller one makes the task easier.
        p: u32,
    },
    /// Non-negative integers with exact division, as in the example the paper prints. A value above `max`, below
    /// zero or not whole is outside the domain.
    Integers {
        /// The largest value, 249 in the paper's vocabulary.
        max: u32,
    },
}

impl Default for Domain {
    fn default() -> Self {
        Self::PrimeField { p: 11 }
    }
}

/// One of the four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Operator {
    pub(crate) const ALL: [Self; 4] = [Self::Add, Self::Subtract, Self::Multiply, Self::Divide];

    pub(crate) fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
        }
    }

    pub(crate) fn binds_tight(self) -> bool {
        matches!(self, Self::Multiply | Self::Divide)
    }
}

impl Domain {
    /// The largest number of the domain; the smallest is 0.
    #[must_use]
    pub fn largest(&self) -> u32 {
        match *self {
            Self::PrimeField { p } => p.saturating_sub(1),
            Self::Integers { max } => max,
        }
    }

    /// Checks the setting.
    ///
    /// # Errors
    /// [`TaskError::Setting`] when `p` is no prime or a bound is out of range.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::PrimeField { p } if p > LARGEST || !is_prime(p) => Err(TaskError::setting(
                "domain.p",
                p,
                format!("a prime from 2 to {LARGEST}"),
            )),
            Self::Integers { max } if max == 0 || max > LARGEST => Err(TaskError::setting(
                "domain.max",
                max,
                format!("a number from 1 to {LARGEST}"),
            )),
            _ => Ok(()),
        }
    }

    /// `left operator right`, or `None` where the domain has no such value.
    pub(crate) fn apply(&self, left: u32, operator: Operator, right: u32) -> Option<u32> {
        match *self {
            Self::PrimeField { p } => apply_modulo(p, left, operator, right),
            Self::Integers { max } => apply_integers(max, left, operator, right),
        }
    }
}

fn apply_modulo(p: u32, left: u32, operator: Operator, right: u32) -> Option<u32> {
    let (a, b, p) = (u64::from(left), u64::from(right), u64::from(p));
    let value = match operator {
        Operator::Add => (a + b) % p,
        Operator::Subtract => (a + p - b) % p,
        Operator::Multiply => a * b % p,
        Operator::Divide if b == 0 => return None,
        Operator::Divide => a * power(b, p - 2, p) % p,
    };
    u32::try_from(value).ok()
}

fn apply_integers(max: u32, left: u32, operator: Operator, right: u32) -> Option<u32> {
    let value = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide if right == 0 || !left.is_multiple_of(right) => None,
        Operator::Divide => Some(left / right),
    };
    value.filter(|&value| value <= max)
}

/// `base^exponent` modulo `p`; with exponent `p - 2` the inverse, by Fermat's little theorem.
fn power(base: u64, mut exponent: u64, p: u64) -> u64 {
    let (mut base, mut value) = (base % p, 1 % p);
    while exponent > 0 {
        if exponent & 1 == 1 {
            value = value * base % p;
        }
        base = base * base % p;
        exponent >>= 1;
    }
    value
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_undoes_multiplication_in_every_field() {
        for p in [2, 3, 5, 7, 11, 13] {
            let domain = Domain::PrimeField { p };
            domain.validate().unwrap();
            for (a, b) in (0..p).flat_map(|a| (0..p).map(move |b| (a, b))) {
                let quotient = domain.apply(a, Operator::Divide, b);
                assert_eq!(quotient.is_none(), b == 0);
                if let Some(quotient) = quotient {
                    assert_eq!(
                        domain.apply(quotient, Operator::Multiply, b),
                        Some(a),
                        "{a} / {b} modulo {p}"
                    );
                }
                let difference = domain.apply(a, Operator::Subtract, b).unwrap();
                assert_eq!(domain.apply(difference, Operator::Add, b), Some(a));
            }
        }
    }

    #[test]
    fn integers_stay_in_their_range() {
        let domain = Domain::Integers { max: 20 };
        assert_eq!(domain.apply(15, Operator::Divide, 5), Some(3));
        assert_eq!(domain.apply(15, Operator::Divide, 4), None);
        assert_eq!(domain.apply(15, Operator::Divide, 0), None);
        assert_eq!(domain.apply(15, Operator::Add, 6), None);
        assert_eq!(domain.apply(3, Operator::Subtract, 4), None);
        assert_eq!(domain.apply(3, Operator::Multiply, 7), None);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for p in [0, 1, 4, 9, 65_522, u32::MAX] {
            let message = Domain::PrimeField { p }.validate().unwrap_err().to_string();
            assert!(
                message.contains("domain.p") && message.contains(&p.to_string()),
                "{message}"
            );
        }
        assert!(Domain::Integers { max: 0 }.validate().is_err());
    }
}
