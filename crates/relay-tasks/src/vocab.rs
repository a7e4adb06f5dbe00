//! The vocabulary: tokens to numbers and back.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{Result, Task, TaskError, error::excerpt, text::shown};

/// A token's number.
pub type TokenId = u32;

/// `<pad>`: fills a window on the left. It cannot stand in data.
pub const PAD: TokenId = 0;
/// `<sep>`: ends problems and steps.
pub const SEP: TokenId = 1;
/// `<eos>`: ends a line of text. It cannot stand in data.
pub const EOS: TokenId = 2;

const SPECIAL: [&str; 3] = ["<pad>", "<sep>", "<eos>"];

/// All tokens that a model knows, numbered from 0: `<pad> <sep> <eos>`, then the tags of the tasks, then the rest.
///
/// In files it is the list of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Vocab {
    tokens: Vec<String>,
    ids: HashMap<String, TokenId, BuildHasherDefault<TokenHasher>>,
}

impl Vocab {
    /// The vocabulary of some tasks: `<pad> <sep> <eos>`, the tags, symbols in the order in which the tasks name them,
    /// then single letters, then numbers ascending.
    ///
    /// # Errors
    /// As [`Vocab::new`].
    pub fn for_tasks(tasks: &[Arc<dyn Task>]) -> Result<Self> {
        let tags: Vec<String> = tasks.iter().map(|task| task.tag()).collect();
        let mut tokens: Vec<String> = tasks.iter().flat_map(|task| task.tokens()).collect();
        tokens.sort_by_cached_key(|token| match token.as_bytes() {
            // Decimal numbers without leading zeros: the shorter is the smaller.
            digits if digits.iter().all(u8::is_ascii_digit) => (2, digits.len(), token.clone()),
            [letter] if letter.is_ascii_lowercase() => (1, 1, token.clone()),
            // The sort is stable: symbols stay as they came.
            _ => (0, 0, String::new()),
        });
        Self::new(&tags, tokens)
    }

    /// The vocabulary of the special tokens, `tags`, then `tokens` in their order; a token that comes again counts once.
    ///
    /// # Errors
    /// When a token is empty, holds white space, or is `<pad>` or `<eos>`; when a tag comes twice or is also a token.
    pub fn new(tags: &[String], tokens: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut vocab = Self {
            tokens: Vec::new(),
            ids: HashMap::default(),
        };
        for special in SPECIAL {
            vocab.insert(special);
        }
        for tag in tags {
            vocab.check(tag)?;
            if SPECIAL.contains(&tag.as_str()) {
                return Err(TaskError::data(format!(
                    "a task has the tag {}, which is a special token",
                    shown(tag)
                )));
            }
            if !vocab.insert(tag) {
                return Err(TaskError::data(format!(
                    "two tasks have the tag {}; each needs its own",
                    shown(tag)
                )));
            }
        }
        for token in tokens {
            vocab.add(tags, &token)?;
        }
        Ok(vocab)
    }

    /// Adds a token of the data.
    pub(crate) fn add(&mut self, tags: &[String], token: &str) -> Result<()> {
        // Most tokens have come before.
        let new = self.id(token).is_none_or(|id| id <= EOS);
        if new {
            self.check(token)?;
            self.insert(token);
        } else if tags.iter().any(|tag| tag == token) {
            let shown = shown(token);
            return Err(TaskError::data(format!(
                "{shown} stands before the problems of a task; data need another token"
            )));
        }
        Ok(())
    }

    fn check(&self, token: &str) -> Result<()> {
        if token.is_empty() || token.contains(char::is_whitespace) {
            return Err(TaskError::data(format!(
                "{} is no token: that is text without spaces",
                shown(token)
            )));
        }
        if is_reserved(self.id(token)) {
            return Err(TaskError::data(format!(
                "`{token}` is reserved and cannot stand in data; choose another token"
            )));
        }
        Ok(())
    }

    fn insert(&mut self, token: &str) -> bool {
        let new = !self.ids.contains_key(token);
        if new {
            self.ids
                .insert(token.to_owned(), self.tokens.len() as TokenId);
            self.tokens.push(token.to_owned());
        }
        new
    }

    /// How many tokens there are; never 0.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the special tokens are always there"
    )]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The number of a token.
    pub fn id(&self, token: &str) -> Option<TokenId> {
        self.ids.get(token).copied()
    }

    /// The token of a number.
    pub fn token(&self, id: TokenId) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// All tokens in the order of their numbers.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The numbers of a text's tokens, special ones among them.
    ///
    /// # Errors
    /// Names the first token that is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        self.ids_of(text, |_| false)
            .map_err(|token| self.unknown(token, format!("`{}`", excerpt(text))))
    }

    /// The numbers of the tokens of data.
    ///
    /// # Errors
    /// Names the first token that is not in the vocabulary, or is reserved, and the place that `place` says.
    pub(crate) fn encode_data(
        &self,
        text: &str,
        place: impl FnOnce() -> String,
    ) -> Result<Vec<TokenId>> {
        self.ids_of(text, |id| is_reserved(Some(id)))
            .map_err(|token| match self.id(token) {
                Some(_) => TaskError::data(format!(
                    "`{token}` in {} is reserved and cannot stand in data",
                    place()
                )),
                None => self.unknown(token, place()),
            })
    }

    /// The numbers of a text's tokens, or the first token that has none or is `refused`.
    fn ids_of<'a>(
        &self,
        text: &'a str,
        refused: impl Fn(TokenId) -> bool,
    ) -> Result<Vec<TokenId>, &'a str> {
        // Tokens stand one space apart, so this is their number as a rule.
        let count = text.bytes().filter(|&byte| byte == b' ').count() + 1;
        let mut ids = Vec::with_capacity(count);
        let mut push = |token| match self.id(token) {
            Some(id) if !refused(id) => {
                ids.push(id);
                Ok(())
            }
            _ => Err(token),
        };
        // The vertical tab is white space in text, but not in ASCII.
        if text.is_ascii() && !text.contains('\u{b}') {
            text.split_ascii_whitespace().try_for_each(&mut push)?;
        } else {
            text.split_whitespace().try_for_each(&mut push)?;
        }
        Ok(ids)
    }

    fn unknown(&self, token: &str, place: String) -> TaskError {
        TaskError::UnknownToken {
            token: excerpt(token),
            place,
            size: self.len(),
        }
    }

    /// The text of some numbers; a number without a token reads `<unknown>`.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut text = String::with_capacity(4 * ids.len());
        for (index, &id) in ids.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(self.token(id).unwrap_or("<unknown>"));
        }
        text
    }

    /// That `other` has the same tokens in the same order.
    ///
    /// # Errors
    /// Names the first token that differs.
    pub fn check_same(&self, other: &Self) -> Result<()> {
        if self.tokens == other.tokens {
            return Ok(());
        }
        let longest = self.len().max(other.len());
        let at = |vocab: &Self, id: usize| {
            vocab
                .tokens
                .get(id)
                .cloned()
                .unwrap_or_else(|| "nothing".to_owned())
        };
        let id = (0..longest)
            .find(|&id| at(self, id) != at(other, id))
            .unwrap_or(longest);
        Err(TaskError::MixedVocabularies {
            id,
            expected: at(self, id),
            found: at(other, id),
        })
    }
}

impl TryFrom<Vec<String>> for Vocab {
    type Error = TaskError;

    fn try_from(tokens: Vec<String>) -> Result<Self> {
        let count = tokens.len();
        let vocab = match tokens.split_at_checked(SPECIAL.len()) {
            Some((special, rest)) if special == SPECIAL => Self::new(&[], rest.iter().cloned())?,
            _ => {
                return Err(TaskError::data(
                    "a vocabulary must begin with <pad> <sep> <eos>",
                ));
            }
        };
        if vocab.len() == count {
            Ok(vocab)
        } else {
            Err(TaskError::data("a vocabulary names a token twice"))
        }
    }
}

impl From<Vocab> for Vec<String> {
    fn from(vocab: Vocab) -> Self {
        vocab.tokens
    }
}

fn is_reserved(id: Option<TokenId>) -> bool {
    matches!(id, Some(PAD | EOS))
}

/// FNV-1a. Tokens are a few bytes long, for which it is several times faster than the standard hash.
#[derive(Debug, Clone)]
struct TokenHasher(u64);

impl Default for TokenHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for TokenHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskConfig;

    fn vocab(tags: &[&str], tokens: &[&str]) -> Result<Vocab> {
        let tags: Vec<String> = tags.iter().map(|&tag| tag.to_owned()).collect();
        Vocab::new(&tags, tokens.iter().map(|&token| token.to_owned()))
    }

    #[test]
    fn the_paper_s_tasks_have_the_paper_s_vocabulary() {
        let tasks = TaskConfig::paper().map(|config| config.build().unwrap());
        let vocab = Vocab::for_tasks(&tasks).unwrap();
        let mut expected = "<pad> <sep> <eos> [ARI] [ED] [LIS] + - * / ( ) = | ,".to_owned();
        ('a'..='z').for_each(|letter| expected.extend([' ', letter]));
        (0..=249).for_each(|number| expected.push_str(&format!(" {number}")));
        assert_eq!(vocab.tokens().join(" "), expected);
        assert_eq!([PAD, SEP, EOS].map(|id| vocab.token(id)), SPECIAL.map(Some));
    }

    #[test]
    fn text_goes_there_and_back() {
        let vocab = vocab(&["[T]"], &["x", "1", "é", "x"]).unwrap();
        assert_eq!(vocab.len(), 7);
        assert_eq!(
            vocab.encode(" [T] x\t1  é <sep> ").unwrap(),
            [3, 4, 5, 6, SEP]
        );
        assert_eq!(
            vocab.encode("x\u{b}1").unwrap(),
            vocab.encode("x 1").unwrap()
        );
        assert_eq!(vocab.decode(&[3, 4, 5, 6, SEP]), "[T] x 1 é <sep>");
        assert_eq!(vocab.decode(&[99, TokenId::MAX]), "<unknown> <unknown>");
        assert!(vocab.encode(" ").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_in_it_is_named() {
        let vocab = vocab(&["[T]"], &["x"]).unwrap();
        let message = vocab.encode("x y").unwrap_err().to_string();
        assert_eq!(
            message,
            "token `y` of `x y` is not in the vocabulary of 5 tokens"
        );
    }

    #[test]
    fn reserved_and_doubled_tokens_are_refused() {
        for (tags, tokens, says) in [
            (vec!["[T]"], vec!["<pad>"], "`<pad>` is reserved"),
            (vec!["[T]"], vec!["<eos>"], "`<eos>` is reserved"),
            (vec!["<eos>"], vec![], "`<eos>` is reserved"),
            (vec!["[T]"], vec![""], "`` is no token"),
            (vec!["[T]"], vec!["a b"], "`a b` is no token"),
            (vec!["[MY TASK]"], vec![], "is no token"),
            (vec!["[T]", "[T]"], vec![], "two tasks have the tag `[T]`"),
            (vec!["[T]"], vec!["[T]"], "`[T]` stands before the problems"),
        ] {
            let message = vocab(&tags, &tokens).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(vocab(&["[T]"], &["<sep>"]).unwrap().len(), 4);
    }

    #[test]
    fn in_files_it_is_a_list() {
        let vocab = vocab(&["[T]"], &["x", "1"]).unwrap();
        let text = serde_json::to_string(&vocab).unwrap();
        assert_eq!(text, r#"["<pad>","<sep>","<eos>","[T]","x","1"]"#);
        assert_eq!(serde_json::from_str::<Vocab>(&text).unwrap(), vocab);
        for wrong in [
            r#"[]"#,
            r#"["<pad>","<sep>"]"#,
            r#"["<sep>","<pad>","<eos>"]"#,
            r#"["<pad>","<sep>","<eos>","x","x"]"#,
        ] {
            assert!(serde_json::from_str::<Vocab>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let one = vocab(&["[T]"], &["x", "1"]).unwrap();
        let other = vocab(&["[T]"], &["x", "2", "3"]).unwrap();
        let message = one.check_same(&other).unwrap_err().to_string();
        assert_eq!(
            message,
            "the vocabularies differ: token 5 is `2` where `1` is expected"
        );
        let longer = vocab(&["[T]"], &["x", "1", "3"]).unwrap();
        let message = one.check_same(&longer).unwrap_err().to_string();
        assert_eq!(
            message,
            "the vocabularies differ: token 6 is `3` where `nothing` is expected"
        );
        one.check_same(&one.clone()).unwrap();
    }
}
