//! The most probable tokens of states, which a device may still have to find.

use burn::tensor::{Tensor, backend::Backend};
use rayon::prelude::*;

/// Choices that one task converts at least.
const PAIRS: usize = 1 << 14;

/// The most probable token of each of some rows, and its probability.
///
/// On a device that works on its own this may be what is still to be computed; only reading it waits. So ask for all that
/// is wanted first, and read it together.
#[derive(Debug, Clone)]
pub struct Choices<B: Backend>(Held<B>);

#[derive(Debug, Clone)]
enum Held<B: Backend> {
    Here(Vec<(u32, f32)>),
    There(Tensor<B, 2>),
}

impl<B: Backend> From<Vec<(u32, f32)>> for Choices<B> {
    fn from(known: Vec<(u32, f32)>) -> Self {
        Self(Held::Here(known))
    }
}

impl<B: Backend> Choices<B> {
    /// Those that a device will have written to a tensor `[rows, 2]`: tokens, which f32 holds exactly up to 2^24, and
    /// probabilities.
    ///
    /// # Panics
    /// When the rows are of another length.
    pub fn later(rows: Tensor<B, 2>) -> Self {
        assert_eq!(rows.dims()[1], 2, "numbers in a row of choices");
        Self(Held::There(rows))
    }

    /// Waits for them.
    pub fn read(self) -> Vec<(u32, f32)> {
        match self.0 {
            Held::Here(known) => known,
            Held::There(tensor) => pairs(&numbers(tensor)),
        }
    }

    /// Waits for all of them, with one copy from the device: one list for each of `all`.
    pub fn read_all(all: Vec<Self>) -> Vec<Vec<(u32, f32)>> {
        let waiting: Vec<Tensor<B, 2>> = all
            .iter()
            .filter_map(|choices| match &choices.0 {
                Held::There(tensor) => Some(tensor.clone()),
                Held::Here(_) => None,
            })
            .collect();
        let read = if waiting.is_empty() {
            Vec::new()
        } else {
            numbers(Tensor::cat(waiting, 0))
        };
        let mut rest = read.as_slice();
        all.into_iter()
            .map(|choices| match choices.0 {
                Held::Here(known) => known,
                Held::There(tensor) => {
                    let (own, others) = rest.split_at(2 * tensor.dims()[0]);
                    rest = others;
                    pairs(own)
                }
            })
            .collect()
    }
}

/// What is in a tensor, row by row.
pub(crate) fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    // Converted to what is asked for, so that this is all of it.
    data.into_vec().unwrap_or_default()
}

fn pairs(numbers: &[f32]) -> Vec<(u32, f32)> {
    let pairs = numbers.par_chunks_exact(2).with_min_len(PAIRS);
    pairs.map(|pair| (pair[0] as u32, pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use burn_flex::Flex;

    use super::Choices;

    #[test]
    fn each_gets_its_own_rows_back() {
        let there = |rows: &[[f32; 2]]| {
            let flat: Vec<f32> = rows.concat();
            let data = burn::tensor::TensorData::new(flat, [rows.len(), 2]);
            Choices::<Flex>::later(Tensor::from_data(data, &Default::default()))
        };
        let all = vec![
            there(&[[3.0, 0.5], [16_777_215.0, 0.25]]),
            Choices::from(vec![(7, 1.0)]),
            there(&[[9.0, 0.125]]),
        ];
        let expected = vec![
            vec![(3, 0.5), (16_777_215, 0.25)],
            vec![(7, 1.0)],
            vec![(9, 0.125)],
        ];
        let single: Vec<_> = all.iter().cloned().map(Choices::read).collect();
        assert_eq!(single, expected);
        assert_eq!(Choices::read_all(all), expected);
        assert_eq!(Choices::<Flex>::read_all(Vec::new()), Vec::<Vec<_>>::new());
    }
}
