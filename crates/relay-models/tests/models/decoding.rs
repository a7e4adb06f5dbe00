//! The bookkeeping of greedy decoding, on stub models that write what they are told.

use relay_models::{Logits, LoopedDecoder, NextToken, decode_causal, decode_looped};

const VOCAB: usize = 100;
const EOS: u32 = 99;

/// Logits that make each of `tokens` nearly certain.
fn certain(tokens: impl Iterator<Item = u32>) -> Logits {
    let mut values = Vec::new();
    for token in tokens {
        let row = values.len();
        values.resize(row + VOCAB, 0.0);
        values[row + token as usize] = 50.0;
    }
    Logits {
        values,
        vocab: VOCAB,
    }
}

/// Column c of sample s spells `10 * s + iteration + c`.
struct Looped {
    rows: Vec<u32>,
    width: u32,
    iteration: u32,
    passes: usize,
}

impl LoopedDecoder for Looped {
    type Choices = Vec<(u32, f32)>;

    fn iterate(&mut self, iteration: usize) {
        self.iteration = iteration as u32;
        self.passes += self.rows.len();
    }

    fn steps(&mut self) -> Option<Vec<(u32, f32)>> {
        let column = |row: u32, at: u32| (10 * row + self.iteration + at, 0.5);
        let columns = |row: &u32| {
            (0..self.width)
                .map(move |at| (*row, at))
                .collect::<Vec<_>>()
        };
        let places = self.rows.iter().flat_map(columns);
        Some(places.map(|(row, at)| column(row, at)).collect())
    }

    fn answers(&mut self, rows: &[usize]) -> Vec<(u32, f32)> {
        let answer = |row: &usize| (10 * self.rows[*row] + self.iteration, 0.75);
        rows.iter().map(answer).collect()
    }

    fn read(choices: Vec<Vec<(u32, f32)>>) -> Vec<Vec<(u32, f32)>> {
        choices
    }

    fn keep(&mut self, rows: &[usize]) {
        assert!(!rows.is_empty());
        self.rows = rows.iter().map(|row| self.rows[*row]).collect();
    }
}

#[test]
fn every_sample_leaves_at_its_own_iteration() {
    let iterations = [2, 5, 1, 2];
    let mut model = Looped {
        rows: vec![0, 1, 2, 3],
        width: 3,
        iteration: 0,
        passes: 0,
    };
    let chains = decode_looped(&mut model, 3, &iterations);
    assert_eq!(model.passes, 10, "as many passes as iterations in total");
    for (sample, (chain, iterations)) in chains.iter().zip(iterations).enumerate() {
        let first = 10 * sample as u32;
        let expected: Vec<Vec<u32>> = (1..=iterations as u32)
            .map(|t| (0..3).map(|c| first + t + c).collect())
            .collect();
        assert_eq!(chain.columns, expected);
        assert_eq!(chain.answer, first + iterations as u32);
        assert_eq!(chain.answer_probability, 0.75);
        assert_eq!(chain.probabilities, vec![vec![0.5; 3]; iterations]);
    }
}

/// Text s is written as told and ends there.
struct Causal {
    texts: Vec<(Vec<u32>, usize)>,
    passes: usize,
}

impl NextToken for Causal {
    fn logits(&mut self) -> Logits {
        certain(
            self.texts
                .iter()
                .map(|(text, at)| text.get(*at).copied().unwrap_or(EOS)),
        )
    }

    fn push(&mut self, tokens: &[u32]) {
        assert_eq!(tokens.len(), self.texts.len());
        self.passes += tokens.len();
        for ((text, at), token) in self.texts.iter_mut().zip(tokens) {
            // 0 is fed to texts that are done.
            let told = text.get(*at).unwrap_or(&EOS);
            assert!(*token == 0 || token == told);
            *at += 1;
        }
    }

    fn keep(&mut self, rows: &[usize]) {
        assert!(!rows.is_empty());
        self.texts = rows.iter().map(|row| self.texts[*row].clone()).collect();
    }
}

#[test]
fn texts_end_by_themselves_or_at_their_limit() {
    let texts: Vec<Vec<u32>> = vec![vec![1, 2, 3], vec![], vec![4; 20], vec![5], vec![6, 7]];
    let mut model = Causal {
        texts: texts.iter().map(|text| (text.clone(), 0)).collect(),
        passes: 0,
    };
    let chains = decode_causal(&mut model, EOS, &[10, 10, 6, 0, 2]);
    let written: Vec<&[u32]> = chains.iter().map(|chain| &chain.tokens[..]).collect();
    assert_eq!(written, [&[1, 2, 3][..], &[], &[4; 6], &[], &[6, 7]]);
    assert_eq!(
        chains.iter().map(|chain| chain.ended).collect::<Vec<_>>(),
        [true, true, false, false, false]
    );
    assert!(
        chains
            .iter()
            .all(|chain| chain.tokens.len() == chain.probabilities.len())
    );
    assert!(
        model.passes < 5 * 6,
        "rows that are done are dropped: {} passes",
        model.passes
    );
}

/// A model that has another number of rows than it holds texts.
struct Rows(usize);

impl NextToken for Rows {
    fn logits(&mut self) -> Logits {
        certain((0..self.0).map(|row| row as u32))
    }

    fn push(&mut self, _: &[u32]) {}

    fn keep(&mut self, _: &[usize]) {}
}

#[test]
#[should_panic(expected = "one row of logits a text: 1 rows, 2 texts")]
fn logits_of_fewer_rows_than_texts_are_refused() {
    decode_causal(&mut Rows(1), EOS, &[3, 3]);
}

#[test]
#[should_panic(expected = "one row of logits a text: 3 rows, 2 texts")]
fn logits_of_more_rows_than_texts_are_refused() {
    decode_causal(&mut Rows(3), EOS, &[3, 3]);
}
