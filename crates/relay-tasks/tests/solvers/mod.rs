//! The answers once more, by other methods than the crate's.

#![allow(clippy::expect_used, reason = "a test may fail by panicking")]

use std::collections::HashMap;

/// Numbers for the recursive evaluator.
#[derive(Debug, Clone, Copy)]
pub enum Numbers {
    Modulo(i64),
    UpTo(i64),
}

impl Numbers {
    fn apply(self, left: i64, operator: &str, right: i64) -> i64 {
        match (self, operator) {
            (Self::Modulo(p), "+") => (left + right) % p,
            (Self::Modulo(p), "-") => (left - right).rem_euclid(p),
            (Self::Modulo(p), "*") => (left * right) % p,
            (Self::Modulo(p), _) => (0..p)
                .find(|value| right != 0 && value * right % p == left)
                .expect("a quotient"),
            (Self::UpTo(max), operator) => {
                let value = match operator {
                    "+" => left + right,
                    "-" => left - right,
                    "*" => left * right,
                    _ => {
                        assert!(right != 0 && left % right == 0, "{left} / {right}");
                        left / right
                    }
                };
                assert!((0..=max).contains(&value), "{left} {operator} {right}");
                value
            }
        }
    }
}

/// The value of an expression by recursive descent: sum, product, atom.
pub fn evaluate(expression: &str, numbers: Numbers) -> i64 {
    let tokens: Vec<&str> = expression
        .split(' ')
        .filter(|&token| token != "=")
        .collect();
    let mut place = 0;
    let value = sum(&tokens, &mut place, numbers);
    assert_eq!(place, tokens.len(), "{expression}");
    value
}

fn sum(tokens: &[&str], place: &mut usize, numbers: Numbers) -> i64 {
    let mut value = product(tokens, place, numbers);
    while let Some(operator @ (&"+" | &"-")) = tokens.get(*place) {
        *place += 1;
        let right = product(tokens, place, numbers);
        value = numbers.apply(value, operator, right);
    }
    value
}

fn product(tokens: &[&str], place: &mut usize, numbers: Numbers) -> i64 {
    let mut value = atom(tokens, place, numbers);
    while let Some(operator @ (&"*" | &"/")) = tokens.get(*place) {
        *place += 1;
        let right = atom(tokens, place, numbers);
        value = numbers.apply(value, operator, right);
    }
    value
}

fn atom(tokens: &[&str], place: &mut usize, numbers: Numbers) -> i64 {
    *place += 1;
    if tokens[*place - 1] != "(" {
        return tokens[*place - 1].parse().expect("a number");
    }
    let value = sum(tokens, place, numbers);
    assert_eq!(tokens[*place], ")");
    *place += 1;
    value
}

/// Cell (row, column) of the edit distance table by memoised recursion. `border` is what a cell on the border counts.
pub struct Table<'a> {
    pub first: &'a [&'a str],
    pub second: &'a [&'a str],
    pub border: u32,
    memo: HashMap<(usize, usize), u32>,
}

impl<'a> Table<'a> {
    pub fn new(first: &'a [&'a str], second: &'a [&'a str], border: u32) -> Self {
        Self {
            first,
            second,
            border,
            memo: HashMap::new(),
        }
    }

    pub fn cell(&mut self, row: usize, column: usize) -> u32 {
        if row == 0 || column == 0 {
            return self.border * (row + column) as u32;
        }
        if let Some(&value) = self.memo.get(&(row, column)) {
            return value;
        }
        let replace = if self.first[row - 1] == self.second[column - 1] {
            0
        } else {
            3
        };
        let paths = [
            self.cell(row - 1, column) + 2,
            self.cell(row, column - 1) + 2,
            self.cell(row - 1, column - 1) + replace,
        ];
        let value = paths.into_iter().min().expect("three paths");
        self.memo.insert((row, column), value);
        value
    }
}

/// For every number the longest strictly increasing subsequence ending there, from the definition.
pub fn increasing(numbers: &[u32]) -> Vec<u32> {
    let mut values: Vec<u32> = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        let before = numbers[..place]
            .iter()
            .zip(&values)
            .filter(|(other, _)| *other < number)
            .map(|(_, &value)| value);
        values.push(before.max().unwrap_or(0) + 1);
    }
    values
}

/// Length of the longest strictly increasing subsequence as the number of piles of patience sorting.
pub fn piles(numbers: &[u32]) -> usize {
    let mut tops: Vec<u32> = Vec::new();
    for &number in numbers {
        match tops.iter_mut().find(|top| **top >= number) {
            Some(top) => *top = number,
            None => tops.push(number),
        }
    }
    tops.len()
}
