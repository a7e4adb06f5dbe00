//! Texts from their prompts to their ends on the device: one kernel for all tokens of all texts.

use std::sync::OnceLock;

use burn::backend::Cuda;
use burn::tensor::{DType, Tensor};
use cubecl::server::Handle;

use super::constants::angles;
use super::decode_plan::{Form, Model, Plan};
use super::launch::{Params, Queue, narrow};
use super::op::{Lazy, exactly, submit};
use super::source::{File, Kernel};
use crate::choices::numbers;
use crate::decode::{DecoderSpec, Written};
use crate::floats::{primitive, wrap};
use crate::switch::Precision;

/// Columns that texts have room for at first: those that need more are read again with twice as many.
const COLUMNS: usize = 4096;

/// The parameters of a causal transformer, and what is known of them.
#[derive(Debug)]
pub(crate) struct Decoding {
    spec: DecoderSpec,
    readout_epsilon: Option<f32>,
    /// `[vocab, d]`.
    embedding: Lazy,
    /// Matrix and bias, and scale and shift of the norm if there is one.
    readout: Vec<Lazy>,
    layers: Vec<[Lazy; 12]>,
    packed: OnceLock<Option<Packed>>,
}

/// The parameters as the kernel reads them.
#[derive(Debug)]
struct Packed {
    weights: Lazy,
    vectors: Lazy,
}

/// A text that has something left to write.
#[derive(Debug)]
struct Text {
    index: usize,
    /// The prompt, and what has been written.
    read: Vec<u32>,
    left: usize,
}

impl Text {
    /// Columns that it may come to: the last token is never read.
    fn columns(&self) -> usize {
        (self.read.len() - 1).saturating_add(self.left)
    }
}

impl Decoding {
    /// Without layers. From embedding, the readout's matrix and bias, and with `readout_epsilon` the norm's scale and shift;
    /// None if a tensor is not of `f32`, or if tokens may be chosen that cannot be read.
    pub fn new(
        tensors: Vec<Lazy>,
        readout_epsilon: Option<f32>,
        spec: &DecoderSpec,
    ) -> Option<Self> {
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        let mut tensors = tensors.into_iter();
        let embedding = tensors.next()?;
        let readout: Vec<Lazy> = tensors.collect();
        // Every token that is written is read.
        let known = readout.first()?.shape[1] <= embedding.shape[0];
        (floats && known).then(|| Self {
            spec: *spec,
            readout_epsilon,
            embedding,
            readout,
            layers: Vec::new(),
            packed: OnceLock::new(),
        })
    }

    /// With one more layer; None if there is no kernel for it.
    pub fn layer(mut self, tensors: [Lazy; 12]) -> Option<Self> {
        let floats = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
        let first = self.layers.first().unwrap_or(&tensors);
        let same = first[8].shape == tensors[8].shape;
        self.layers.push(tensors);
        self.packed = OnceLock::new();
        (floats && same && self.model().fits()).then_some(self)
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Width of the model.
    pub fn d(&self) -> usize {
        self.embedding.shape[1]
    }

    /// Tokens that can be read.
    pub fn vocab(&self) -> usize {
        self.embedding.shape[0]
    }

    fn model(&self) -> Model {
        Model {
            d: self.d(),
            m: self.layers.first().map_or(0, |layer| layer[8].shape[1]),
            heads: self.spec.heads,
            layers: self.layers.len(),
            // Of the tokens that can be written.
            vocab: self.readout[0].shape[1],
            norm: self.readout_epsilon.is_some(),
            rope: self.spec.rope,
        }
    }

    /// What is written after every prompt, of which none is empty; all tokens are of the vocabulary.
    pub fn generate(&self, prompts: &[Vec<u32>], end: u32, limits: &[usize]) -> Vec<Written> {
        let mut written = vec![Written::default(); prompts.len()];
        let texts = prompts.iter().zip(limits).enumerate();
        let mut texts: Vec<Text> = texts
            .filter(|(_, (_, limit))| **limit > 0)
            .map(|(index, (prompt, limit))| Text {
                index,
                read: prompt.clone(),
                left: *limit,
            })
            .collect();
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let mut room = COLUMNS.max(2 * longest);
        while !texts.is_empty() {
            // The longest first, so that none is left over at the end.
            texts.sort_by_key(|text| core::cmp::Reverse(text.columns()));
            let Some(chosen) = self.run(&texts, end, room) else {
                unreachable!("sizes were checked with every layer");
            };
            for (text, chosen) in texts.iter_mut().zip(chosen) {
                text.note(&chosen, end, &mut written[text.index]);
            }
            texts.retain(|text| text.left > 0);
            room *= 2;
        }
        written
    }

    /// Tokens and their probabilities after every text: all up to the end, or as many as there is room for.
    fn run(&self, texts: &[Text], end: u32, room: usize) -> Option<Vec<Vec<f32>>> {
        let model = self.model();
        let longest = texts.iter().map(|text| text.columns().min(room)).max()?;
        let plan = Plan::new(model, texts.len(), longest)?;
        let (mut prompts, mut described, mut outs, mut total) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        for text in texts {
            let limit = text.left.min(room + 1 - text.read.len());
            described.extend([prompts.len(), text.read.len(), total, limit].map(narrow));
            prompts.extend(&text.read);
            outs.push(2 * total..2 * (total + limit));
            total += limit;
        }
        let packed = self.packed.get_or_init(|| self.pack()).as_ref()?;
        let inputs = vec![
            packed.weights.clone(),
            packed.vectors.clone(),
            self.embedding.clone(),
        ];
        let params = [texts.len(), end as usize, model.layers, longest, plan.share];
        let epsilons = [self.spec.epsilon, self.readout_epsilon.unwrap_or_default()];
        let base = self.spec.rope_base;
        let work = move |queue: &Queue, inputs: Vec<Handle>| {
            let [weights, vectors, embedding] = exactly(inputs);
            // Few different widths, so that they are remembered.
            let angles = angles(queue, longest.next_multiple_of(512), model.head(), base);
            let out = queue.floats(2 * total);
            let buffers = [
                &weights,
                &vectors,
                &embedding,
                &angles,
                &queue.upload(&prompts),
                &queue.upload(&described),
                &queue.upload(&[0]),
                &queue.operands(plan.cache),
                &out,
            ];
            let params = Params::sizes(params).float(epsilons[0]).float(epsilons[1]);
            queue.launch(plan.kernel(), plan.grid(), &buffers, params);
            vec![out]
        };
        let [out] = submit(
            ("relay_decode", Precision::Bf16),
            inputs,
            [(DType::F32, vec![2 * total])],
            work,
        );
        let out = numbers::<Cuda, 1>(wrap(out)?);
        Some(outs.into_iter().map(|range| out[range].to_vec()).collect())
    }

    fn pack(&self) -> Option<Packed> {
        let model = self.model();
        let matrices = self
            .layers
            .iter()
            .flat_map(|layer| [2, 3, 4, 5, 8, 10].map(|index| &layer[index]));
        let matrices: Vec<Lazy> = matrices.chain(self.readout.first()).cloned().collect();
        let halves = model.weights();
        let work = move |queue: &Queue, matrices: Vec<Handle>| {
            let units = queue.operands(halves);
            queue.zero(&units, 2 * halves);
            for (index, matrix) in matrices.iter().enumerate() {
                let (layer, index) = (index / 6, index % 6);
                let head = layer == model.layers;
                // Queries, keys and values are one product.
                let which = if head { 4 } else { index.saturating_sub(2) };
                let column = if which == 0 { index * model.d } else { 0 };
                place(queue, matrix, &units, model, [layer, which, column]);
            }
            vec![units]
        };
        let [weights] = submit(
            ("relay_pack_decoder", Precision::Bf16),
            matrices,
            [(DType::BF16, vec![halves])],
            work,
        );
        // Scale and shift of the first norm, of the second, bias of down, of up.
        let layers = self
            .layers
            .iter()
            .flat_map(|layer| [0, 1, 6, 7, 11, 9].map(|index| &layer[index]));
        let unused = [&self.layers.first()?[0]; 2];
        let norm = match &self.readout[2..] {
            [gamma, beta] => [gamma, beta],
            _ => unused,
        };
        let vectors = layers.chain(norm).chain(self.readout.get(1));
        let vectors: Option<Vec<Tensor<Cuda, 1>>> =
            vectors.map(|vector| wrap(vector.clone())).collect();
        let vectors = primitive::<Cuda, Lazy, 1>(&Tensor::cat(vectors?, 0))?;
        Some(Packed { weights, vectors })
    }
}

impl Text {
    /// Adds what was written, pairs of tokens and probabilities up to the end or to where there was room.
    fn note(&mut self, chosen: &[f32], end: u32, written: &mut Written) {
        for pair in chosen.chunks_exact(2) {
            let token = pair[0] as u32;
            if token == end {
                written.ended = true;
                self.left = 0;
                return;
            }
            written.tokens.push(token);
            written.probabilities.push(pair[1]);
            self.read.push(token);
            self.left -= 1;
        }
    }
}

/// Puts a matrix where the kernel reads it: of which layer, of which product, from which of the product's columns on.
fn place(
    queue: &Queue,
    matrix: &Handle,
    units: &Handle,
    model: Model,
    [layer, which, column]: [usize; 3],
) {
    let forms = model.forms();
    let count = |forms: &[Form]| forms.iter().map(Form::units).sum::<usize>();
    let begin = layer * count(&forms[..4]) + if which < 4 { count(&forms[..which]) } else { 0 };
    let form = &forms[which];
    let outputs = if which == 0 { model.d } else { form.outer };
    let sizes = [
        form.inner,
        outputs,
        column,
        form.tiles,
        form.parts,
        form.inner / 16,
        begin,
        model.units(),
    ];
    let kernel = Kernel {
        file: File::Pack,
        name: "pack_fragments",
        defines: Vec::new(),
        threads: 256,
        shared: 0,
    };
    let grid = [(form.inner * outputs).div_ceil(256), 1, 1];
    queue.launch(kernel, grid, &[matrix, units], Params::sizes(sizes));
}
