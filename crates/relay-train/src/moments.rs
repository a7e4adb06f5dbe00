//! What the optimizers remember of a parameter, and how a checkpoint holds it.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use relay_kernels::Rule;

use crate::adamw::AdamWState;
use crate::parameters::Place;
use crate::tensors::Tensors;

/// What is remembered of one parameter.
#[derive(Debug, Clone)]
pub(crate) enum State<B: Backend> {
    AdamW(AdamWState<B>),
    Muon { velocity: Tensor<B, 1> },
}

const ADAMW: [&str; 3] = ["time", "moment_1", "moment_2"];
const MUON: [&str; 1] = ["velocity"];

impl<B: Backend> State<B> {
    pub fn of(rule: Rule<B>) -> Self {
        match rule {
            Rule::AdamW {
                moments: [moment_1, moment_2],
                time,
                ..
            } => Self::AdamW(AdamWState {
                time,
                moment_1,
                moment_2,
            }),
            Rule::Muon { velocity, .. } => Self::Muon { velocity },
        }
    }

    pub fn on_device(&self, device: &B::Device) -> Self {
        let moved = |tensor: &Tensor<B, 1>| tensor.clone().to_device(device);
        match self {
            Self::AdamW(state) => Self::AdamW(AdamWState {
                time: state.time,
                moment_1: moved(&state.moment_1),
                moment_2: moved(&state.moment_2),
            }),
            Self::Muon { velocity } => Self::Muon {
                velocity: moved(velocity),
            },
        }
    }

    pub fn velocity(self) -> Option<Tensor<B, 1>> {
        match self {
            Self::Muon { velocity } => Some(velocity),
            Self::AdamW(_) => None,
        }
    }

    pub fn moments(self) -> Option<AdamWState<B>> {
        match self {
            Self::AdamW(state) => Some(state),
            Self::Muon { .. } => None,
        }
    }

    /// The names of what a checkpoint holds of a parameter, behind its path.
    pub fn parts(by_muon: bool) -> &'static [&'static str] {
        if by_muon { &MUON } else { &ADAMW }
    }

    /// Adds what is remembered of the parameter at `path` to the tensors of a checkpoint.
    pub fn put(&self, path: &str, tensors: &mut Tensors) {
        let mut put = |part: &str, data: TensorData| tensors.insert(format!("{path}.{part}"), data);
        match self {
            Self::AdamW(AdamWState {
                time,
                moment_1,
                moment_2,
            }) => {
                put("time", TensorData::new(vec![*time], [1]));
                put("moment_1", moment_1.to_data());
                put("moment_2", moment_2.to_data());
            }
            Self::Muon { velocity } => {
                put("velocity", velocity.to_data());
            }
        }
    }

    /// Takes [`parts`](Self::parts) of a parameter out of the tensors of a checkpoint after update `step`, `None` if it holds
    /// none of them; on failure says what is wrong.
    pub fn take(
        place: &Place,
        parts: &[&str],
        step: u64,
        tensors: &mut Tensors,
        device: &B::Device,
    ) -> Result<Option<Self>, String> {
        let name = |part: &&str| format!("{}.{part}", place.path);
        if !parts.iter().any(|part| tensors.contains_key(&name(part))) {
            return Ok(None);
        }
        let mut take = |part: &str| {
            let name = name(&part);
            let data = tensors.remove(&name);
            data.map(|data| (name.clone(), data))
                .ok_or_else(|| format!("`{name}` is missing"))
        };
        if parts == MUON {
            let velocity = flat(take("velocity")?, place, device)?;
            return Ok(Some(Self::Muon { velocity }));
        }
        Ok(Some(Self::AdamW(AdamWState {
            time: time(take("time")?, step)?,
            moment_1: flat(take("moment_1")?, place, device)?,
            moment_2: flat(take("moment_2")?, place, device)?,
        })))
    }
}

/// A tensor with a number for each element of a parameter.
fn flat<B: Backend>(
    (name, data): (String, TensorData),
    place: &Place,
    device: &B::Device,
) -> Result<Tensor<B, 1>, String> {
    let elements = place.elements();
    if data.shape.to_vec() == [elements] && data.dtype.is_float() {
        return Ok(Tensor::from_data(data, device));
    }
    let (kind, shape) = (data.dtype, data.shape.to_vec());
    Err(format!(
        "`{name}` is {kind:?} of shape {shape:?}, expected floats of shape [{elements}]"
    ))
}

/// The updates that moments have seen, which cannot be more than there were.
fn time((name, data): (String, TensorData), step: u64) -> Result<i64, String> {
    if data.shape.to_vec() != [1] || data.dtype != DType::I64 {
        let (kind, shape) = (data.dtype, data.shape.to_vec());
        return Err(format!(
            "`{name}` is {kind:?} of shape {shape:?}, expected I64 of shape [1]"
        ));
    }
    let time = data.iter::<i64>().next().unwrap_or(0);
    match u64::try_from(time) {
        Ok(1..) if time.unsigned_abs() <= step => Ok(time),
        _ => Err(format!("`{name}` is {time}, expected 1 to {step}")),
    }
}
