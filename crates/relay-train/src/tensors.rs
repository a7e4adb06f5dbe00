//! Tensors by name, to the bytes of a safetensors file and back.

use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::parameters::{map, visit};

/// Tensors on the host by name.
pub(crate) type Tensors = BTreeMap<String, TensorData>;

/// The bytes of a file; the same tensors give the same bytes.
pub(crate) fn encode(tensors: &Tensors) -> Result<Vec<u8>, String> {
    let mut full = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let (dtype, data) = match data.dtype {
            DType::F64 => (Dtype::F64, data.clone()),
            DType::I64 => (Dtype::I64, data.clone()),
            DType::F32 => (Dtype::F32, data.clone()),
            // Half precision is widened: full precision loses nothing.
            _ => (Dtype::F32, data.clone().convert::<f32>()),
        };
        full.push((name, dtype, data));
    }
    let views = full.iter().map(|(name, dtype, data)| {
        let view = TensorView::new(*dtype, data.shape.to_vec(), data.as_bytes());
        view.map(|view| (name.as_str(), view))
            .map_err(|error| format!("{name}: {error}"))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    // One entry only: more would come in random order.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// The tensors of a file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let (bytes, shape) = (view.data(), view.shape().to_vec());
        let data = match view.dtype() {
            Dtype::F32 => TensorData::new(values(bytes, f32::from_le_bytes), shape),
            Dtype::F64 => TensorData::new(values(bytes, f64::from_le_bytes), shape),
            Dtype::I64 => TensorData::new(values(bytes, i64::from_le_bytes), shape),
            other => return Err(format!("`{name}` has the unexpected type {other:?}")),
        };
        tensors.insert(name.to_owned(), data);
    }
    Ok(tensors)
}

/// Little-endian numbers; what does not fill one is left out.
pub(crate) fn values<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|chunk| read(*chunk))
        .collect()
}

/// The parameters of a model by path.
pub(crate) fn of_model<B: Backend, M: Module<B>>(model: &M) -> Tensors {
    let mut tensors = Tensors::new();
    visit(model, |place, value: Tensor<B, 1>| {
        let mut data = value.into_data();
        data.shape = place.shape.into();
        tensors.insert(place.path, data);
    });
    tensors
}

/// The model with the parameters of a file; on failure says which do not fit.
pub(crate) fn into_model<B: Backend, M: Module<B>>(
    model: M,
    mut tensors: Tensors,
) -> Result<M, String> {
    let mut wrong = Vec::new();
    let model = map(model, |place, value: Tensor<B, 1>| {
        match tensors.remove(&place.path) {
            Some(data) if !data.dtype.is_float() => {
                wrong.push(format!(
                    "`{}` is {:?}, expected floats",
                    place.path, data.dtype
                ));
                value
            }
            Some(mut data) if data.shape.to_vec() == place.shape => {
                data.shape = [place.elements()].into();
                Tensor::from_data(data, &value.device())
            }
            Some(data) => {
                wrong.push(format!(
                    "`{}` has shape {:?}, the model {:?}",
                    place.path, data.shape, place.shape
                ));
                value
            }
            None => {
                wrong.push(format!("`{}` is missing", place.path));
                value
            }
        }
    });
    wrong.extend(
        tensors
            .keys()
            .map(|path| format!("`{path}` is not in the model")),
    );
    match wrong.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(model),
    }
}
