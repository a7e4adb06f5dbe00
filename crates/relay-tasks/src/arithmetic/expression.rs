//! Expressions as flat token lists: read, written, checked, evaluated.

use super::domain::{Domain, Operator};
use crate::text::{parse_number, push_number, shown};

/// One token of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Number(u32),
    Operator(Operator),
    Open,
    Close,
}

/// A well-formed expression, without its closing `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(super) tokens: Vec<Token>,
}

impl Expression {
    pub(crate) fn number(value: u32) -> Self {
        Self {
            tokens: vec![Token::Number(value)],
        }
    }

    /// Reads a problem or a step: an expression closed by `=`. The error says what is wrong.
    pub(crate) fn parse(text: &str, domain: &Domain) -> Result<Self, String> {
        let mut tokens = Vec::with_capacity(text.len() / 2);
        let mut words = text.split_ascii_whitespace();
        let mut closed = false;
        for word in words.by_ref() {
            if word == "=" {
                closed = true;
                break;
            }
            tokens.push(parse_token(word, domain)?);
        }
        if let Some(word) = words.next() {
            return Err(format!(
                "{} stands after `=`, which has to be the last token",
                shown(word)
            ));
        }
        if !closed {
            return Err("it has to end in `=`".to_owned());
        }
        check_grammar(&tokens)?;
        Ok(Self { tokens })
    }

    /// Number of operators: the length of the problem, and the number of its steps.
    pub(crate) fn operators(&self) -> usize {
        self.tokens
            .iter()
            .filter(|token| matches!(token, Token::Operator(_)))
            .count()
    }

    /// The text as a problem or step has it: closed by `=` while there is something left to do.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(3 * self.tokens.len() + 1);
        for (index, token) in self.tokens.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            match token {
                Token::Number(number) => push_number(&mut text, *number),
                Token::Operator(operator) => text.push(operator.symbol()),
                Token::Open => text.push('('),
                Token::Close => text.push(')'),
            }
        }
        if self.tokens.len() > 1 {
            text.push_str(" =");
        }
        text
    }

    /// The value, or `None` where an operation leaves the domain.
    pub(super) fn evaluate(&self, domain: &Domain) -> Option<u32> {
        let mut values = Vec::new();
        let mut pending: Vec<Token> = Vec::new();
        for &token in &self.tokens {
            match token {
                Token::Number(number) => values.push(number),
                Token::Open => pending.push(token),
                Token::Close => {
                    while let Some(Token::Operator(operator)) = pending.pop() {
                        apply_top(&mut values, operator, domain)?;
                    }
                }
                Token::Operator(next) => {
                    while let Some(&Token::Operator(operator)) = pending.last() {
                        if next.binds_tight() && !operator.binds_tight() {
                            break;
                        }
                        pending.pop();
                        apply_top(&mut values, operator, domain)?;
                    }
                    pending.push(token);
                }
            }
        }
        while let Some(Token::Operator(operator)) = pending.pop() {
            apply_top(&mut values, operator, domain)?;
        }
        values.pop()
    }
}

fn apply_top(values: &mut Vec<u32>, operator: Operator, domain: &Domain) -> Option<()> {
    let right = values.pop()?;
    let left = values.pop()?;
    values.push(domain.apply(left, operator, right)?);
    Some(())
}

fn parse_token(word: &str, domain: &Domain) -> Result<Token, String> {
    let token = match word {
        "+" => Token::Operator(Operator::Add),
        "-" => Token::Operator(Operator::Subtract),
        "*" => Token::Operator(Operator::Multiply),
        "/" => Token::Operator(Operator::Divide),
        "(" => Token::Open,
        ")" => Token::Close,
        _ => match parse_number(word) {
            Some(number) if number <= domain.largest() => Token::Number(number),
            Some(number) => {
                return Err(format!(
                    "{number} is above {}, the largest number here",
                    domain.largest()
                ));
            }
            None => return Err(format!("{} is no number, operator or bracket", shown(word))),
        },
    };
    Ok(token)
}

fn check_grammar(tokens: &[Token]) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut wants_operand = true;
    for token in tokens {
        match (token, wants_operand) {
            (Token::Number(_), true) => wants_operand = false,
            (Token::Open, true) => depth += 1,
            (Token::Operator(_), false) => wants_operand = true,
            (Token::Close, false) if depth > 0 => depth -= 1,
            (Token::Close, false) => return Err("a `)` has no `(` before it".to_owned()),
            (_, true) => {
                return Err("a number or `(` is missing before an operator or `)`".to_owned());
            }
            (_, false) => {
                return Err("an operator is missing between two numbers or brackets".to_owned());
            }
        }
    }
    match (wants_operand, depth) {
        (true, _) => Err("a number is missing at the end".to_owned()),
        (false, 0) => Ok(()),
        (false, _) => Err("a `(` is not closed".to_owned()),
    }
}
