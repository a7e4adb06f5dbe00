//! Greedy generation with the causal model, token by token with a key-value cache.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::causal::CausalTransformer;
use crate::decode::Decoder;
use crate::error::{ModelError, Result};
use crate::fused;
use crate::greedy::Logits;

/// What the causal model wrote after one prompt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CausalChain {
    /// The new tokens, without the end token.
    pub tokens: Vec<u32>,
    /// The probability of each.
    pub probabilities: Vec<f32>,
    /// Whether the end token was written before the limit.
    pub ended: bool,
}

impl From<relay_kernels::Written> for CausalChain {
    fn from(written: relay_kernels::Written) -> Self {
        Self {
            tokens: written.tokens,
            probabilities: written.probabilities,
            ended: written.ended,
        }
    }
}

/// What [`decode_causal`] needs of a model that holds a batch of texts.
pub trait NextToken {
    /// Logits of the token that follows each text.
    fn logits(&mut self) -> Logits;
    /// Adds one token to every text.
    fn push(&mut self, tokens: &[u32]);
    /// Drops all texts but those in `rows`.
    fn keep(&mut self, rows: &[usize]);
}

/// Texts that ordinary operations write side by side, and columns that their caches may fill together.
const MAX_TEXTS: usize = 128;
const MAX_COLUMNS: usize = 32_768;

/// Continues every prompt until `eos` or until it has written its number of `max_new_tokens`, `eos` counted.
///
/// A prompt's continuation does not depend on what else is in the batch: to the last bit where there is a
/// [`Decoder`](relay_kernels::Decoder) for the model, else up to rounding, as ordinary operations pad prompts on the left.
/// Any number of prompts may be given: what is held in memory at a time is bounded.
/// Call it with [`valid()`](burn::module::AutodiffModule::valid) models: a model under autodiff keeps its graphs.
///
/// # Errors
/// [`ModelError::Input`] for empty prompts, tokens outside the vocabulary, and when `max_new_tokens`
/// has not one entry a prompt.
pub fn generate_causal<B: Backend>(
    model: &CausalTransformer<B>,
    prompts: &[Vec<u32>],
    eos: u32,
    max_new_tokens: &[usize],
    device: &B::Device,
) -> Result<Vec<CausalChain>> {
    validate(prompts, max_new_tokens, model.config().transformer.vocab)?;
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(decoder) = fused::decoder(model) {
        let written = decoder.generate(prompts, eos, max_new_tokens);
        return Ok(written.into_iter().map(CausalChain::from).collect());
    }
    let size = |text: usize| [prompts[text].len(), max_new_tokens[text]];
    // Texts of like size together; the order of the chains stays that of the prompts.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&text| {
        let [prompt, chain] = size(text);
        (prompt.saturating_add(chain), text)
    });
    let mut chains = vec![CausalChain::default(); prompts.len()];
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (group, others) = rest.split_at(side_by_side(rest.iter().map(|&text| size(text))));
        rest = others;
        let limits: Vec<usize> = group.iter().map(|&text| max_new_tokens[text]).collect();
        let group_prompts: Vec<&[u32]> =
            group.iter().map(|&text| prompts[text].as_slice()).collect();
        let (tokens, pads) = padded(&group_prompts, device);
        let written = decode_causal(&mut Decoder::new(model, tokens, &pads), eos, &limits);
        for (&text, written) in group.iter().zip(written) {
            chains[text] = written;
        }
    }
    Ok(chains)
}

/// Prompts padded on the left to one width, and how far each is.
fn padded<B: Backend>(prompts: &[&[u32]], device: &B::Device) -> (Tensor<B, 2, Int>, Vec<usize>) {
    let width = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
    let pads: Vec<usize> = prompts.iter().map(|prompt| width - prompt.len()).collect();
    let tokens = prompts.iter().zip(&pads).flat_map(|(prompt, pad)| {
        core::iter::repeat_n(0, *pad).chain(prompt.iter().map(|token| *token as i32))
    });
    let tokens = TensorData::new(tokens.collect::<Vec<i32>>(), [prompts.len(), width]);
    (Tensor::from_data(tokens, device), pads)
}

/// How many of the texts that come next are written side by side: as many as their caches have room for, where each is as
/// long as the longest prompt and the longest chain of them together; one at least. `sizes` are those of prompt and chain.
fn side_by_side(sizes: impl Iterator<Item = [usize; 2]>) -> usize {
    let (mut prompt, mut chain) = (0_usize, 0_usize);
    let fits = |&(texts, size): &(usize, [usize; 2])| {
        prompt = size[0].max(prompt);
        chain = size[1].max(chain);
        texts == 1 || prompt.saturating_add(chain).saturating_mul(texts) <= MAX_COLUMNS
    };
    (1..=MAX_TEXTS).zip(sizes).take_while(fits).count()
}

/// The bookkeeping of [`generate_causal`] over any model: `max_new_tokens` has one entry a text.
///
/// # Panics
/// If the model's logits have not one row for each text that it holds.
pub fn decode_causal(
    model: &mut impl NextToken,
    eos: u32,
    max_new_tokens: &[usize],
) -> Vec<CausalChain> {
    let mut chains = vec![CausalChain::default(); max_new_tokens.len()];
    // Which text each row of the model holds; a text that is done stays until rows are dropped.
    let mut rows: Vec<usize> = (0..max_new_tokens.len()).collect();
    let done = |chain: &CausalChain, text: usize| {
        chain.ended || chain.tokens.len() >= max_new_tokens[text]
    };
    loop {
        let going: Vec<usize> = (0..rows.len())
            .filter(|row| !done(&chains[rows[*row]], rows[*row]))
            .collect();
        if going.is_empty() {
            return chains;
        }
        // Dropping copies the caches, so it waits until a quarter of the rows is idle.
        if 4 * going.len() <= 3 * rows.len() {
            model.keep(&going);
            rows = going.iter().map(|row| rows[*row]).collect();
        }
        // Rows that are done are fed any token; nobody reads what follows.
        let mut next = vec![0; rows.len()];
        for (row, (token, probability)) in best(model, rows.len()).enumerate() {
            let text = rows[row];
            let chain = &mut chains[text];
            if done(chain, text) {
                continue;
            }
            next[row] = token;
            if token == eos {
                chain.ended = true;
            } else {
                chain.tokens.push(token);
                chain.probabilities.push(probability);
            }
        }
        if rows.iter().any(|text| !done(&chains[*text], *text)) {
            model.push(&next);
        }
    }
}

/// The most probable token of each of so many texts, with its probability.
fn best(model: &mut impl NextToken, texts: usize) -> impl Iterator<Item = (u32, f32)> {
    let best: Vec<_> = model.logits().greedy().collect();
    let rows = best.len();
    assert_eq!(
        rows, texts,
        "one row of logits a text: {rows} rows, {texts} texts"
    );
    best.into_iter()
}

fn validate(prompts: &[Vec<u32>], max_new_tokens: &[usize], vocab: usize) -> Result<()> {
    if max_new_tokens.len() != prompts.len() {
        let expected = format!("one for each of {} prompts", prompts.len());
        return Err(ModelError::input(
            "number of `max_new_tokens`",
            max_new_tokens.len(),
            expected,
        ));
    }
    for (at, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(ModelError::input(
                format!("length of prompt {at}"),
                0,
                "at least 1",
            ));
        }
        if let Some(place) = prompt.iter().position(|token| *token as usize >= vocab) {
            let expected = format!("in 0..{vocab}, the vocabulary");
            return Err(ModelError::input(
                format!("token {place} of prompt {at}"),
                prompt[place],
                expected,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_group_fit_into_its_caches() {
        let group = |sizes: &[[usize; 2]]| side_by_side(sizes.iter().copied());
        // The shortest alone would let 128 of them in.
        let growing: Vec<[usize; 2]> = (1..200).map(|n| [20 * n, 80 * n]).collect();
        let texts = group(&growing);
        assert_eq!(texts, 18);
        assert!(
            texts * 100 * texts <= MAX_COLUMNS && (texts + 1) * 100 * (texts + 1) > MAX_COLUMNS
        );
        // A long prompt before a short chain, and a short one before a long chain, meet in one width.
        assert_eq!(group(&[[20_000, 10], [10, 20_000]]), 1);
        assert_eq!(group(&[[16_000, 300], [16_000, 300], [1, 1]]), 2);
        assert_eq!(group(&[[2 * MAX_COLUMNS, 1], [1, 1]]), 1);
        assert_eq!(group(&[[2, 30]; 300]), MAX_TEXTS);
        assert_eq!(group(&[[2, 30]; 7]), 7);
        assert_eq!(group(&[]), 0);
    }
}
