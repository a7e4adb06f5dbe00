//! Single reductions: which operations may be done now, and what is left after one.

use super::domain::{Domain, Operator};
use super::expression::{Expression, Token};

impl Expression {
    /// Position of the left operand of the leftmost operation that may be done now: both operands are numbers, no
    /// neighbour binds tighter, and of equals the left one goes first. Every expression with an operator has one.
    pub(super) fn leftmost(&self) -> Option<usize> {
        (0..self.tokens.len()).find(|&index| {
            self.operation(index).is_some_and(|(_, operator, _)| {
                let left_waits = self
                    .operator_before(index)
                    .is_none_or(|left| operator.binds_tight() && !left.binds_tight());
                left_waits && self.right_allows(index, operator)
            })
        })
    }

    /// Positions of every operation that may be done without changing the value: besides those that precedence asks
    /// for, `a + b` or `a - b` right of a `+`, and `a * b` or `a / b` right of a `*`, since these are associative.
    /// The benchmark's expansion leaves out brackets in just those places.
    pub(super) fn reducible(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.tokens.len()).filter(|&index| {
            self.operation(index).is_some_and(|(_, operator, _)| {
                let left_allows = match self.operator_before(index) {
                    None => true,
                    Some(left) if operator.binds_tight() => left != Operator::Divide,
                    Some(left) => left == Operator::Add,
                };
                left_allows && self.right_allows(index, operator)
            })
        })
    }

    /// Does the operation whose left operand is at `index`; brackets left around its result go too. `None` where the
    /// domain has no such value, or no operation stands there.
    pub(super) fn reduce(&mut self, index: usize, domain: &Domain) -> Option<()> {
        let (left, operator, right) = self.operation(index)?;
        let value = domain.apply(left, operator, right)?;
        self.tokens[index] = Token::Number(value);
        let (mut first, mut last) = (index, index + 2);
        while first > 0
            && self.tokens[first - 1] == Token::Open
            && self.tokens.get(last + 1) == Some(&Token::Close)
        {
            first -= 1;
            last += 1;
        }
        self.tokens[first] = Token::Number(value);
        self.tokens.drain(first + 1..=last);
        Some(())
    }

    /// Removes brackets that hold a lone number, which no step ever has.
    pub(super) fn strip_lone_brackets(&mut self) {
        let mut kept: Vec<Token> = Vec::with_capacity(self.tokens.len());
        for &token in &self.tokens {
            match (token, kept.as_slice()) {
                (Token::Close, [.., Token::Open, Token::Number(number)]) => {
                    let number = *number;
                    kept.truncate(kept.len() - 2);
                    kept.push(Token::Number(number));
                }
                _ => kept.push(token),
            }
        }
        self.tokens = kept;
    }

    /// The three tokens from `index` on, where they are number, operator, number.
    pub(super) fn operation(&self, index: usize) -> Option<(u32, Operator, u32)> {
        match self.tokens.get(index..)? {
            [
                Token::Number(left),
                Token::Operator(operator),
                Token::Number(right),
                ..,
            ] => Some((*left, *operator, *right)),
            _ => None,
        }
    }

    fn operator_before(&self, index: usize) -> Option<Operator> {
        match self.tokens.get(index.checked_sub(1)?) {
            Some(Token::Operator(operator)) => Some(*operator),
            _ => None,
        }
    }

    fn right_allows(&self, index: usize, operator: Operator) -> bool {
        match self.tokens.get(index + 3) {
            Some(Token::Operator(right)) => operator.binds_tight() || !right.binds_tight(),
            _ => true,
        }
    }
}
