//! Random expressions by expansion: a number becomes an operation of that value, as often as there are operators.

use super::domain::{Domain, Operator};
use super::expression::{Expression, Token};
use crate::random::Stream;

/// Draws an expression of exactly `operators` operators. `each` sees every stage, from the lone value to the last.
pub(super) fn expand(
    domain: &Domain,
    operators: usize,
    stream: &mut Stream,
    mut each: impl FnMut(&Expression),
) -> Expression {
    let mut expression = Expression::number(below(stream, domain.largest() + 1));
    expression.tokens.reserve(4 * operators);
    each(&expression);
    for done in 0..operators {
        expand_once(&mut expression, done + 1, domain, stream);
        each(&expression);
    }
    expression
}

/// Expands one of the `numbers` numbers, drawn uniformly.
fn expand_once(expression: &mut Expression, numbers: usize, domain: &Domain, stream: &mut Stream) {
    loop {
        let index = position_of_number(&expression.tokens, below(stream, numbers as u32) as usize);
        let Token::Number(value) = expression.tokens[index] else {
            continue;
        };
        let (left, operator, right) = split(domain, value, stream);
        let operation = [
            Token::Number(left),
            Token::Operator(operator),
            Token::Number(right),
        ];
        let inserted = if needs_brackets(&expression.tokens, index, operator) {
            expression.tokens.splice(
                index..=index,
                [Token::Open]
                    .into_iter()
                    .chain(operation)
                    .chain([Token::Close]),
            );
            5
        } else {
            expression.tokens.splice(index..=index, operation);
            3
        };
        // Without brackets `y + (a - b)` is read as `(y + a) - b`. In a field that is the same; a bounded domain may
        // not hold `y + a`, and then another expansion is drawn.
        if matches!(domain, Domain::PrimeField { .. }) || expression.evaluate(domain).is_some() {
            return;
        }
        expression
            .tokens
            .splice(index..index + inserted, [Token::Number(value)]);
    }
}

fn position_of_number(tokens: &[Token], rank: usize) -> usize {
    let mut numbers = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| matches!(token, Token::Number(_)));
    numbers.nth(rank).map_or(0, |(index, _)| index)
}

/// Whether an operation in place of the number at `index` would be read otherwise without brackets.
fn needs_brackets(tokens: &[Token], index: usize, operator: Operator) -> bool {
    let at = |index: Option<usize>| match index.and_then(|index| tokens.get(index)) {
        Some(Token::Operator(operator)) => Some(*operator),
        _ => None,
    };
    let (before, after) = (at(index.checked_sub(1)), at(Some(index + 1)));
    match before {
        Some(Operator::Divide) => true,
        _ if operator.binds_tight() => false,
        Some(Operator::Subtract | Operator::Multiply) => true,
        _ => after.is_some_and(Operator::binds_tight),
    }
}

/// A random operation of the given value: the operator uniform, then the operands uniform among those that have the
/// value. Every value has some for each operator; the right operand of `/` is never zero.
fn split(domain: &Domain, value: u32, stream: &mut Stream) -> (u32, Operator, u32) {
    let operator = Operator::ALL[below(stream, 4) as usize];
    let (left, right) = match *domain {
        Domain::PrimeField { p } => split_modulo(domain, p, value, operator, stream),
        Domain::Integers { max } => split_integers(max, value, operator, stream),
    };
    (left, operator, right)
}

fn split_modulo(
    domain: &Domain,
    p: u32,
    value: u32,
    operator: Operator,
    stream: &mut Stream,
) -> (u32, u32) {
    // The inverse operation gives the other operand; where it does not exist, zero is involved.
    let undo = |left, operator, right| domain.apply(left, operator, right).unwrap_or(0);
    let nonzero = |stream: &mut Stream| 1 + below(stream, p - 1);
    match operator {
        Operator::Add => {
            let left = below(stream, p);
            (left, undo(value, Operator::Subtract, left))
        }
        Operator::Subtract => {
            let left = below(stream, p);
            (left, undo(left, Operator::Subtract, value))
        }
        Operator::Multiply if value == 0 => zero_product(p - 1, stream),
        Operator::Multiply => {
            let left = nonzero(stream);
            (left, undo(value, Operator::Divide, left))
        }
        Operator::Divide if value == 0 => (0, nonzero(stream)),
        Operator::Divide => {
            let left = nonzero(stream);
            (left, undo(left, Operator::Divide, value))
        }
    }
}

fn split_integers(max: u32, value: u32, operator: Operator, stream: &mut Stream) -> (u32, u32) {
    match operator {
        Operator::Add => {
            let left = below(stream, value + 1);
            (left, value - left)
        }
        Operator::Subtract => {
            let right = below(stream, max - value + 1);
            (value + right, right)
        }
        Operator::Multiply if value == 0 => zero_product(max, stream),
        Operator::Multiply => {
            let divisors = (1..=value).filter(|divisor| value.is_multiple_of(*divisor));
            let count = divisors.clone().count() as u32;
            let left = divisors
                .clone()
                .nth(below(stream, count) as usize)
                .unwrap_or(1);
            (left, value / left)
        }
        Operator::Divide => {
            let right = 1 + below(stream, max / value.max(1));
            (value * right, right)
        }
    }
}

/// One of the `2 * largest + 1` pairs whose product is zero.
fn zero_product(largest: u32, stream: &mut Stream) -> (u32, u32) {
    let pair = below(stream, 2 * largest + 1);
    if pair <= largest {
        (0, pair)
    } else {
        (pair - largest, 0)
    }
}

fn below(stream: &mut Stream, bound: u32) -> u32 {
    stream.below(u64::from(bound)) as u32
}
