//! Gradients of one update: their sum over micro-batches, and their global norm.

use std::collections::HashMap;

use burn::module::{AutodiffModule, ModuleVisitor, Param};
use burn::tensor::{
    Tensor,
    backend::{AutodiffBackend, Backend},
};

/// Gradients by the path of their parameter, flat.
#[derive(Debug, Clone, Default)]
pub struct GradientSet<B: Backend> {
    /// In the order of the first backward pass that gave one: sums and norms must not depend on a hash.
    entries: Vec<(String, Tensor<B, 1>)>,
    places: HashMap<String, usize>,
}

impl<B: Backend> GradientSet<B> {
    /// No gradients yet.
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Adds what a backward pass through `model` gave.
    pub fn add<A, M>(&mut self, model: &M, mut gradients: A::Gradients)
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        model.visit(&mut Collect::<A> {
            path: Vec::new(),
            gradients: &mut gradients,
            into: self,
        });
    }

    /// Sets the gradient of the parameter at `path`, which has none yet.
    pub(crate) fn put(&mut self, path: String, gradient: Tensor<B, 1>) {
        self.places.insert(path.clone(), self.entries.len());
        self.entries.push((path, gradient));
    }

    fn add_one(&mut self, path: String, gradient: Tensor<B, 1>) {
        match self.places.get(&path) {
            Some(&place) => {
                // Taken out, so that nobody else holds its memory and it is added to in place.
                let sum = &mut self.entries[place].1;
                let old = core::mem::replace(sum, gradient);
                *sum = old + sum.clone();
            }
            None => self.put(path, gradient),
        }
    }

    /// The gradient of the parameter at `path`, if the loss depends on it.
    pub fn get(&self, path: &str) -> Option<&Tensor<B, 1>> {
        self.places.get(path).map(|&place| &self.entries[place].1)
    }

    /// The root of the sum of all squares; not finite as soon as one gradient is not, nor, where squares are added up in f32 (on a GPU,
    /// and without kernels), where one is larger than 1.8e19.
    pub fn norm(&self) -> f64 {
        let Some(sum) = self.known_squares() else {
            let squares = self.squares();
            if squares.is_empty() {
                return 0.0;
            }
            // One copy from the device for all of them.
            let squares = Tensor::cat(squares, 0).into_data();
            return squares.iter::<f64>().sum::<f64>().sqrt();
        };
        sum.sqrt()
    }

    /// The sum of all squares, where a kernel makes it on the host.
    pub(crate) fn known_squares(&self) -> Option<f64> {
        relay_kernels::sum_of_squares(self.entries.iter().map(|(_, gradient)| gradient))
    }

    /// The sums of squares of all gradients, in tensors of one dimension that are left on the device.
    pub(crate) fn squares(&self) -> Vec<Tensor<B, 1>> {
        let gradients: Vec<_> = self.entries.iter().map(|(_, gradient)| gradient).collect();
        if let Some(squares) = relay_kernels::squares_of_each(&gradients) {
            return vec![squares];
        }
        let square = |gradient: &Tensor<B, 1>| (gradient.clone() * gradient.clone()).sum();
        gradients.into_iter().map(square).collect()
    }
}

struct Collect<'a, A: AutodiffBackend> {
    path: Vec<String>,
    gradients: &'a mut A::Gradients,
    into: &'a mut GradientSet<A::InnerBackend>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for Collect<'_, A> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            let length = gradient.dims().iter().product::<usize>();
            self.into
                .add_one(self.path.join("."), gradient.reshape([length]));
        }
    }
}
