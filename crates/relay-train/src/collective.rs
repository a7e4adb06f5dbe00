//! Sums over the devices of a machine by burn's own collective layer.
//!
//! The layer has one server a backend in a process. It knows no runs, and does not see that a worker is lost: the others
//! would wait. So one run at a time has it, and the first of its workers that goes has it forget whatever waits.

use std::any::TypeId;
use std::iter::once;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorPrimitive};
use burn_collective::{
    AllReduceStrategy, CollectiveConfig, CollectiveError, PeerId, ReduceOperation, all_reduce,
    broadcast, register, reset_collective,
};

use crate::all_reduce::{AllReduce, lost};
use crate::loader::message;
use crate::{Objective, Result, TrainError, Trainer};

impl<B: AutodiffBackend, O: Objective<B>> Trainer<B, O> {
    /// Whether sums over the devices of this machine are made by burn's collective layer, as a tree, and not by the first
    /// worker. They then are in the order of the devices; workers of one device are added up in any order.
    ///
    /// One run of a process at a time can have it, and nothing else in the process may use the layer with this backend
    /// meanwhile.
    pub fn collective(mut self, collective: bool) -> Self {
        self.collective = collective;
        self
    }

    /// The ends of the workers of this machine, in their order.
    pub(crate) fn connect_collective(
        &self,
        machines: Option<Box<dyn AllReduce<B::InnerBackend>>>,
    ) -> Result<Vec<Collective<B::InnerBackend>>> {
        let devices: Vec<_> = once(&self.device).chain(&self.more_devices).collect();
        Collective::connect(&devices, machines)
    }
}

/// A worker's end of the layer.
#[derive(Debug)]
pub(crate) struct Collective<B: Backend> {
    rank: usize,
    machines: Machines<B>,
    run: Arc<Run>,
}

/// Who adds up over other machines.
#[derive(Debug)]
enum Machines<B: Backend> {
    /// Nobody: there are none.
    Nobody,
    /// This worker, the first of its machine.
    This(Box<dyn AllReduce<B>>),
    /// The first worker, which gives the others the sum.
    First,
}

/// The run that has the layer, until the last of its ends is gone.
#[derive(Debug)]
struct Run {
    /// The first worker that was lost.
    lost: OnceLock<usize>,
}

/// What this process does with the layer.
struct Layer {
    taken: bool,
    /// Backends that have a server, which they keep.
    servers: Vec<TypeId>,
}

static LAYER: Mutex<Layer> = Mutex::new(Layer {
    taken: false,
    servers: Vec::new(),
});

fn layer() -> MutexGuard<'static, Layer> {
    LAYER.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn begin<B: Backend>() -> Result<Self> {
        let refused = |right: String| Err(TrainError::setting("collective", true, right));
        let mut layer = layer();
        if layer.taken {
            let right = "false while another run of this process has it: burn's collective layer serves one at a time";
            return refused(right.to_owned());
        }
        let server = TypeId::of::<B>();
        if !layer.servers.contains(&server) {
            // Each server keeps one of the layer's threads for good. One more would never begin, and nobody would say so.
            let (there, most) = (layer.servers.len(), threads());
            if there >= most {
                return refused(format!(
                    "false with a further backend: burn's collective layer has {most} threads in this process, and \
                     {there} other backends have them; TOKIO_WORKER_THREADS sets how many"
                ));
            }
            layer.servers.push(server);
        }
        layer.taken = true;
        let lost = OnceLock::new();
        Ok(Self { lost })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        layer().taken = false;
    }
}

/// Threads that the layer's runtime has.
fn threads() -> usize {
    let set = std::env::var("TOKIO_WORKER_THREADS").ok();
    let set = set.and_then(|number| number.parse().ok());
    set.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
}

impl<B: Backend> Collective<B> {
    /// The ends of workers on these devices; `machines` adds up over other machines.
    fn connect(
        devices: &[&B::Device],
        mut machines: Option<Box<dyn AllReduce<B>>>,
    ) -> Result<Vec<Self>> {
        let run = Arc::new(Run::begin::<B>()?);
        let several = machines.is_some();
        let end = |rank| Self {
            rank,
            machines: match machines.take() {
                Some(machines) => Machines::This(machines),
                None if several => Machines::First,
                None => Machines::Nobody,
            },
            run: Arc::clone(&run),
        };
        let ends: Vec<Self> = (0..devices.len()).map(end).collect();
        register_all::<B>(devices)?;
        Ok(ends)
    }

    /// What the layer answers this worker.
    fn ask(
        &self,
        call: impl FnOnce(PeerId) -> Result<B::FloatTensorPrimitive, CollectiveError>,
    ) -> Result<Tensor<B, 1>> {
        match answer(|| call(self.rank.into())) {
            Ok(values) => Ok(Tensor::from_primitive(TensorPrimitive::Float(values))),
            Err(reason) => Err(match self.run.lost.get() {
                Some(rank) => lost(*rank),
                None => failed(self.rank, reason),
            }),
        }
    }
}

/// Makes all known to the server, which lets nobody go before it knows all: so each has a thread for it, and nobody
/// begins before all these threads are there. Nothing is lost in between that the others would wait for.
fn register_all<B: Backend>(devices: &[&B::Device]) -> Result<()> {
    let config = CollectiveConfig::default()
        .with_num_devices(devices.len())
        .with_local_all_reduce_strategy(AllReduceStrategy::Tree(2));
    // Whoever used the layer before may have left something.
    answer(|| {
        reset_collective::<B>();
        Ok(())
    })
    .map_err(|reason| failed(0, reason))?;
    thread::scope(|scope| {
        let (mut gates, mut threads) = (Vec::new(), Vec::new());
        for (rank, device) in devices.iter().enumerate() {
            let ((open, opened), config) = (channel::<()>(), config.clone());
            let register = move || match opened.recv() {
                Ok(()) => answer(|| register::<B>(rank.into(), (*device).clone(), config)),
                Err(_) => Err("it was not begun".to_owned()),
            };
            let thread = thread::Builder::new().spawn_scoped(scope, register);
            threads.push(thread.map_err(|error| failed(rank, error.to_string()))?);
            gates.push(open);
        }
        for gate in gates {
            // Its thread waits for this.
            let _ = gate.send(());
        }
        for (rank, thread) in threads.into_iter().enumerate() {
            let joined = thread.join();
            let registered = joined.unwrap_or_else(|panic| Err(message(panic.as_ref())));
            registered.map_err(|reason| failed(rank, reason))?;
        }
        Ok(())
    })
}

/// What the layer answers, or why it does not: where its server is gone it panics.
fn answer<T>(call: impl FnOnce() -> Result<T, CollectiveError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|error| format!("burn's collective layer says {error:?}")),
        Err(panic) => {
            let panic = message(panic.as_ref());
            Err(format!(
                "burn's collective layer of this process is lost, start another one: {panic}"
            ))
        }
    }
}

fn failed(rank: usize, reason: String) -> TrainError {
    TrainError::Worker { rank, reason }
}

impl<B: Backend> AllReduce<B> for Collective<B> {
    fn sum(&mut self, values: Tensor<B, 1>) -> Result<Tensor<B, 1>> {
        let device = values.device();
        let values = values.into_primitive().tensor();
        let sum = self.ask(|id| all_reduce::<B>(id, values, ReduceOperation::Sum))?;
        let all = match &mut self.machines {
            Machines::Nobody => return Ok(sum),
            Machines::This(machines) => Some(machines.sum(sum)?),
            Machines::First => None,
        };
        let all = all.map(|all| all.into_primitive().tensor());
        let all = self.ask(|id| broadcast::<B>(id, all))?;
        // The layer takes it to be on the device of whoever asked first, and leaves it there for that one.
        Ok(all.to_device(&device))
    }
}

impl<B: Backend> Drop for Collective<B> {
    fn drop(&mut self) {
        // First noted, so that who hears of it knows who it was. A finished sum was sent to all before this is read, and
        // the next run begins after this was sent.
        if self.run.lost.set(self.rank).is_ok() {
            let reset = answer(|| {
                reset_collective::<B>();
                Ok(())
            });
            if let Err(reason) = reset {
                tracing::debug!("{reason}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    /// One test at a time has the layer.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(workers: usize, machines: Option<Box<dyn AllReduce<Flex>>>) -> Vec<Collective<Flex>> {
        let device = Default::default();
        Collective::connect(&vec![&device; workers], machines).unwrap()
    }

    fn tensor(values: &[f32]) -> Tensor<Flex, 1> {
        Tensor::from_floats(values, &Default::default())
    }

    fn bits(values: Tensor<Flex, 1>) -> Vec<u32> {
        let values = values.into_data().to_vec::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    /// What each gets for numbers whose sum depends on their order.
    fn sums(ends: Vec<Collective<Flex>>) -> Vec<Vec<u32>> {
        let sum = |mut end: Collective<Flex>| {
            let values = (1..100).map(|place| 1.0 / (3 * place + end.rank) as f32);
            let values: Vec<f32> = values.collect();
            for _ in 0..20 {
                end.sum(tensor(&values)).unwrap();
            }
            bits(end.sum(tensor(&values)).unwrap())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = ends
                .into_iter()
                .map(|end| scope.spawn(move || sum(end)))
                .collect();
            let all = threads.into_iter().map(|thread| thread.join().unwrap());
            all.collect()
        })
    }

    /// Another machine, which has the same.
    #[derive(Debug)]
    struct Twice;

    impl AllReduce<Flex> for Twice {
        fn sum(&mut self, values: Tensor<Flex, 1>) -> Result<Tensor<Flex, 1>> {
            Ok(values * 2.0)
        }
    }

    #[test]
    fn all_get_the_same_bits() {
        let _alone = alone();
        for workers in [1, 2, 3, 7, 20] {
            for machines in [1, 2] {
                let more = (machines == 2).then(|| Box::new(Twice) as Box<dyn AllReduce<Flex>>);
                let all = sums(ends(workers, more));
                assert!(all.iter().all(|one| *one == all[0]), "{workers} workers");
                let right = (0..workers).map(|rank| 1.0 / (3 + rank) as f32);
                let right = machines as f32 * right.sum::<f32>();
                let found = f32::from_bits(all[0][0]);
                assert!((found - right).abs() < 1e-5 * right, "{found} {right}");
            }
        }
    }

    #[test]
    fn a_lost_worker_is_an_error_and_no_wait() {
        let _alone = alone();
        let mut all = ends(3, None);
        let (mut third, second, mut first) =
            (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
        thread::scope(|scope| {
            // Waits, or asks when it is too late: both end.
            let waiting = scope.spawn(|| first.sum(tensor(&[1.0])).unwrap_err().to_string());
            drop(second);
            let told = "worker 1 of this run failed: it ended early";
            assert_eq!(waiting.join().unwrap(), told);
            assert_eq!(third.sum(tensor(&[1.0])).unwrap_err().to_string(), told);
        });
        let another = Collective::<Flex>::connect(&[&Default::default()], None);
        let error = another.unwrap_err().to_string();
        assert!(error.contains("`collective` is true"), "{error}");
        drop((first, third));
        assert_eq!(sums(ends(2, None)).len(), 2);
    }
}
