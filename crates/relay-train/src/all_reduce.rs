//! Sums over the workers of a run: of gradients, and of what is told of them.

use std::sync::mpsc::{Receiver, Sender, channel};

use burn::module::AutodiffModule;
use burn::tensor::{
    Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};

use crate::gradients::GradientSet;
use crate::parameters::visit;
use crate::statistics::UpdateNumbers;
use crate::{Result, TrainError};

/// Adds up vectors over all workers of a run.
pub(crate) trait AllReduce<B: Backend>: std::fmt::Debug + Send {
    /// The sum of what all workers call this with, on this worker's device. Every worker has to call it as often as the
    /// others, with vectors of the same length, and gets the same bits.
    ///
    /// # Errors
    /// When a worker is lost.
    fn sum(&mut self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>>;
}

/// Workers that are threads of one process. The first adds up in the order of the workers, so that a sum does not depend
/// on who was ready when, with the sums of other machines, if there are any, and hands it to the others.
#[derive(Debug)]
pub(crate) enum Threads<B: Backend> {
    First(Vec<Line<B>>, Option<Box<dyn AllReduce<B>>>),
    Other(Line<B>),
}

/// Both directions between the first worker and another.
#[derive(Debug)]
pub(crate) struct Line<B: Backend> {
    to: Sender<Tensor<B, 1>>,
    from: Receiver<Tensor<B, 1>>,
}

impl<B: Backend> Threads<B> {
    /// The ends of this many workers, in their order; `machines` adds up over other machines.
    pub fn connect(workers: usize, machines: Option<Box<dyn AllReduce<B>>>) -> Vec<Self> {
        let line = |_| {
            let ((to_other, at_other), (to_first, at_first)) = (channel(), channel());
            let first = Line {
                to: to_other,
                from: at_first,
            };
            let other = Line {
                to: to_first,
                from: at_other,
            };
            (first, Self::Other(other))
        };
        let (first, others): (Vec<_>, Vec<_>) = (1..workers).map(line).unzip();
        let mut ends = vec![Self::First(first, machines)];
        ends.extend(others);
        ends
    }
}

impl<B: Backend> AllReduce<B> for Threads<B> {
    fn sum(&mut self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>> {
        let device = values.device();
        match self {
            Self::First(others, machines) => {
                let mut sum = values;
                for (rank, other) in (1..).zip(&*others) {
                    let part = other.from.recv().map_err(|_| lost(rank))?;
                    sum = sum + part.to_device(&device);
                }
                if let Some(machines) = machines {
                    sum = machines.sum(sum)?;
                }
                for (rank, other) in (1..).zip(&*others) {
                    other.to.send(sum.clone()).map_err(|_| lost(rank))?;
                }
                Ok(sum)
            }
            Self::Other(first) => {
                first.to.send(values).map_err(|_| lost(0))?;
                let sum = first.from.recv().map_err(|_| lost(0))?;
                Ok(sum.to_device(&device))
            }
        }
    }
}

pub(crate) fn lost(rank: usize) -> TrainError {
    TrainError::Worker {
        rank,
        reason: "it ended early".to_owned(),
    }
}

/// Gradients, numbers and norm of an update over all workers.
///
/// Losses are scaled by counts over the whole update, so the gradients of its parts add up to its own. They travel as one
/// vector in the order of the model's parameters, whether or not a worker has all of them; behind them, for each whether
/// it has, and the numbers. The first worker's norm is everybody's: all have to clip alike, and to skip alike.
pub(crate) fn exchange<B: AutodiffBackend, M: AutodiffModule<B>>(
    model: &M,
    (gradients, numbers): (GradientSet<B::InnerBackend>, UpdateNumbers),
    tasks: usize,
    rank: usize,
    others: &mut dyn AllReduce<B::InnerBackend>,
) -> Result<(GradientSet<B::InnerBackend>, UpdateNumbers, f64)> {
    let (mut parts, mut places, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    visit(model, |place, value: Tensor<B, 1>| {
        let own = gradients.get(&place.path).cloned();
        tail.push(f32::from(u8::from(own.is_some())));
        places.push((place.path, value.dims()[0]));
        parts.push(own.unwrap_or_else(|| value.inner().zeros_like()));
    });
    let Some(device) = parts.first().map(Tensor::device) else {
        return Ok((gradients, numbers, 0.0));
    };
    tail.extend(numbers.flat(tasks));
    let told = tail.len();
    parts.push(Tensor::from_data(TensorData::new(tail, [told]), &device));
    let sum = others.sum(Tensor::cat(parts, 0))?;

    let length = sum.dims()[0];
    let tail = sum.clone().narrow(0, length - told, told).into_data();
    let tail: Vec<f64> = tail.iter::<f64>().collect();
    let (found, numbers) = tail.split_at(places.len());
    let (mut all, mut at) = (GradientSet::new(), 0);
    for ((path, length), found) in places.into_iter().zip(found) {
        if *found > 0.0 {
            all.put(path, sum.clone().narrow(0, at, length));
        }
        at += length;
    }
    let own = if rank == 0 { all.norm() } else { 0.0 };
    let own = TensorData::new(vec![own as f32], [1]);
    let norm = others.sum(Tensor::from_data(own, &device))?.into_data();
    let norm = norm.iter::<f64>().next().unwrap_or(f64::NAN);
    Ok((all, UpdateNumbers::from_flat(numbers), norm))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use burn::backend::Flex;

    use super::*;

    #[test]
    fn everybody_gets_the_same_sum() {
        let ends = Threads::<Flex>::connect(3, None);
        let sum = |(rank, mut end): (usize, Threads<Flex>)| {
            let values = [rank as f32, 1.0];
            let values = Tensor::from_floats(values, &Default::default());
            end.sum(values)
                .unwrap()
                .into_data()
                .to_vec::<f32>()
                .unwrap()
        };
        let threads: Vec<_> = ends.into_iter().enumerate().collect();
        let threads = threads
            .into_iter()
            .map(|end| thread::spawn(move || sum(end)));
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), [3.0, 3.0]);
        }
    }

    #[test]
    fn a_lost_worker_is_an_error_and_no_wait() {
        let mut ends = Threads::<Flex>::connect(3, None);
        drop(ends.remove(1));
        let mut first = ends.remove(0);
        let values = || Tensor::from_floats([1.0], &Default::default());
        let error = first.sum(values()).unwrap_err().to_string();
        assert_eq!(error, "worker 1 of this run failed: it ended early");
        drop(first);
        assert!(ends.remove(0).sum(values()).is_err());
    }
}
