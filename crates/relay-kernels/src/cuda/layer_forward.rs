//! The forward pass of a layer on the device.

use cubecl::server::Handle;

use super::constants;
use super::launch::Queue;
use super::layer::{Plan, Sizes};
use super::layer_backward::Kept;
use super::product::Product;
use super::rows::{Norm, attention};

/// What the forward pass reads.
#[derive(Debug)]
pub(super) struct Inputs {
    x: Handle,
    /// Scale and shift of the first norm, of the second, both biases.
    vectors: [Handle; 6],
    /// Queries, keys and values, output, up, down: transposed.
    weights: [Handle; 4],
}

impl Inputs {
    /// In the order of the fields.
    pub fn of(inputs: Vec<Handle>) -> Self {
        let [x, a, b, c, d, e, f, qkv, output, up, down] = super::op::exactly(inputs);
        Self {
            x,
            vectors: [a, b, c, d, e, f],
            weights: [qkv, output, up, down],
        }
    }
}

/// Both halves of a layer on given rows.
struct Halves<'a> {
    queue: &'a Queue,
    plan: &'a Plan,
    inputs: &'a Inputs,
}

impl Halves<'_> {
    fn product<'a>(&self, left: &'a Handle, right: &'a Handle, n: usize, k: usize) -> Product<'a> {
        Product {
            left,
            right,
            sizes: [self.plan.sizes.rows(), n, k],
        }
    }

    fn norm(&self, x: &Handle, vectors: [&Handle; 2]) -> [Handle; 2] {
        let norm = Norm {
            sizes: [self.plan.sizes.rows(), self.plan.sizes.d],
            epsilon: self.plan.epsilon,
            x,
            vectors,
            chosen: None,
        };
        norm.rounded(self.queue)
    }

    /// The input normalised, its moments, queries, keys and values, what attention brings together, the logarithms of its
    /// sums, and the stream behind it.
    fn attention(&self) -> [Handle; 6] {
        let (queue, plan, d) = (self.queue, self.plan, self.plan.sizes.d);
        let [gamma, beta, ..] = &self.inputs.vectors;
        let [qkv_weight, output, ..] = &self.inputs.weights;
        let x = &self.inputs.x;
        let [normed, stats] = self.norm(x, [gamma, beta]);
        let qkv = self.product(&normed, qkv_weight, 3 * d, d).rounded(queue);
        let columns = constants::columns(queue, plan);
        let [attended, sums] = attention(queue, plan, &columns, &qkv);
        let mask = plan.dropout.map(|dropout| dropout.attention);
        let product = self.product(&attended, output, d, d);
        let middle = product.residual(queue, None, x, mask);
        [normed, stats, qkv, attended, sums, middle]
    }

    /// What goes into the MLP and its moments.
    fn norm_mlp(&self, middle: &Handle) -> [Handle; 2] {
        let [_, _, gamma, beta, ..] = &self.inputs.vectors;
        self.norm(middle, [gamma, beta])
    }

    fn up<'a>(&'a self, normed: &'a Handle) -> Product<'a> {
        let Sizes { d, m, .. } = self.plan.sizes;
        self.product(normed, &self.inputs.weights[2], m, d)
    }

    fn down(&self, after: &Handle, middle: &Handle) -> Handle {
        let Sizes { d, m, .. } = self.plan.sizes;
        let mask = self.plan.dropout.map(|dropout| dropout.mlp);
        let product = self.product(after, &self.inputs.weights[3], d, m);
        product.residual(self.queue, Some(&self.inputs.vectors[5]), middle, mask)
    }
}

/// The result.
pub(super) fn infer(queue: &Queue, plan: &Plan, inputs: &Inputs) -> Handle {
    let halves = Halves {
        queue,
        plan,
        inputs,
    };
    let [.., middle] = halves.attention();
    let [normed, _] = halves.norm_mlp(&middle);
    let after = halves.up(&normed).only_gelu(queue, &inputs.vectors[4]);
    halves.down(&after, &middle)
}

/// The result, and what the backward pass needs of what came between.
pub(super) fn run(queue: &Queue, plan: &Plan, inputs: &Inputs) -> (Handle, Kept<Handle>) {
    let halves = Halves {
        queue,
        plan,
        inputs,
    };
    let [normed, stats, qkv, attended, sums, middle] = halves.attention();
    let [normed_mlp, stats_mlp] = halves.norm_mlp(&middle);
    let [before, after] = halves.up(&normed_mlp).gelu(queue, &inputs.vectors[4]);
    let out = halves.down(&after, &middle);
    let kept = Kept {
        normed,
        stats,
        qkv,
        attended,
        sums,
        middle,
        normed_mlp,
        stats_mlp,
        before,
        after,
    };
    (out, kept)
}
