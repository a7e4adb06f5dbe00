//! The parameters of a model, flat and by path.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, backend::Backend};

/// Where a parameter stands, and its shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Such as `block.layers.0.query`.
    pub path: String,
    pub shape: Vec<usize>,
}

impl Place {
    /// A matrix of the layers of a block: what Muon is for.
    pub fn is_hidden_matrix(&self) -> bool {
        self.is_matrix() && self.path.split('.').any(|part| part == "layers")
    }

    /// How many numbers it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// A matrix at all: what weight decay is for.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// Calls `each` with every float parameter, in the order in which they are declared.
pub(crate) fn visit<B: Backend, M: Module<B>>(
    module: &M,
    mut each: impl FnMut(Place, Tensor<B, 1>),
) {
    module.visit(&mut Walk {
        path: Vec::new(),
        each: &mut each,
    });
}

/// The places of all float parameters, in the order in which they are declared.
pub(crate) fn places<B: Backend, M: Module<B>>(module: &M) -> Vec<Place> {
    let mut places = Vec::new();
    visit(module, |place, _: Tensor<B, 1>| places.push(place));
    places
}

/// Replaces every float parameter by what `each` makes of it.
pub(crate) fn map<B: Backend, M: Module<B>>(
    module: M,
    mut each: impl FnMut(Place, Tensor<B, 1>) -> Tensor<B, 1>,
) -> M {
    module.map(&mut Walk {
        path: Vec::new(),
        each: &mut each,
    })
}

/// Keeps the path on the way through a module.
struct Walk<'a, F> {
    path: Vec<String>,
    each: &'a mut F,
}

impl<B: Backend, F: FnMut(Place, Tensor<B, 1>)> ModuleVisitor<B> for Walk<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let (place, flat) = flatten(&self.path, param.val());
        (self.each)(place, flat);
    }
}

impl<B: Backend, F: FnMut(Place, Tensor<B, 1>) -> Tensor<B, 1>> ModuleMapper<B> for Walk<'_, F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let (dims, learns) = (tensor.dims(), tensor.is_require_grad());
        let (place, flat) = flatten(&self.path, tensor);
        let tensor = (self.each)(place, flat).reshape(dims);
        Param::from_mapped_value(id, tensor.set_require_grad(learns), mapper)
    }
}

/// The values alone: what is done with them must not become part of a graph.
fn flatten<B: Backend, const D: usize>(
    path: &[String],
    tensor: Tensor<B, D>,
) -> (Place, Tensor<B, 1>) {
    let place = Place {
        path: path.join("."),
        shape: tensor.dims().to_vec(),
    };
    let elements = place.elements();
    let flat = tensor.set_require_grad(false).reshape([elements]);
    (place, flat)
}
