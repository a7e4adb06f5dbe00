//! The answers once more, by other methods than the crate's.

#![allow(clippy::expect_used, reason = "a test may fail by panicking")]

use std::{collections::HashMap, ops::Range};

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

/// The value of an expression by recursive descent.
pub fn evaluate(expression: &str, numbers: Numbers) -> i64 {
    Descent::through(expression, numbers).0
}

/// What is left of an expression after each of its operations, as the descent comes to them: from left to right, what binds
/// tighter first.
pub fn reductions(expression: &str, numbers: Numbers) -> Vec<String> {
    let (value, descent) = Descent::through(expression, numbers);
    let all = descent.done.len();
    let after = |done: &[(Range<usize>, i64)]| {
        let (mut words, mut place) = (Vec::new(), 0);
        while let Some(token) = descent.tokens.get(place) {
            // The last one that begins here holds the others.
            let whole = done.iter().rfind(|(span, _)| span.start == place);
            words.push(whole.map_or((*token).to_owned(), |(_, value)| value.to_string()));
            place = whole.map_or(place + 1, |(span, _)| span.end);
        }
        words.join(" ")
    };
    let steps = (1..all).map(|count| after(&descent.done[..count]) + " =");
    steps.chain([value.to_string()]).collect()
}

/// Sum, product, atom.
struct Descent<'a> {
    tokens: Vec<&'a str>,
    place: usize,
    numbers: Numbers,
    /// The tokens of each operation that was done, with brackets around them, and its value.
    done: Vec<(Range<usize>, i64)>,
}

impl<'a> Descent<'a> {
    fn through(expression: &'a str, numbers: Numbers) -> (i64, Self) {
        let tokens = expression.split(' ').filter(|&token| token != "=");
        let mut this = Self {
            tokens: tokens.collect(),
            place: 0,
            numbers,
            done: Vec::new(),
        };
        let value = this.sum();
        assert_eq!(this.place, this.tokens.len(), "{expression}");
        (value, this)
    }

    fn sum(&mut self) -> i64 {
        self.chain(Self::product, ["+", "-"])
    }

    fn product(&mut self) -> i64 {
        self.chain(Self::atom, ["*", "/"])
    }

    fn chain(&mut self, operand: fn(&mut Self) -> i64, operators: [&str; 2]) -> i64 {
        let start = self.place;
        let mut value = operand(self);
        while let Some(operator) = self.tokens.get(self.place).copied()
            && operators.contains(&operator)
        {
            self.place += 1;
            let right = operand(self);
            value = self.numbers.apply(value, operator, right);
            self.done.push((start..self.place, value));
        }
        value
    }

    fn atom(&mut self) -> i64 {
        let start = self.place;
        self.place += 1;
        if self.tokens[start] != "(" {
            return self.tokens[start].parse().expect("a number");
        }
        let value = self.sum();
        assert_eq!(self.tokens[self.place], ")");
        self.place += 1;
        // The operation that came last is all that stands in the brackets.
        if let Some((span, _)) = self.done.last_mut() {
            *span = start..self.place;
        }
        value
    }
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
