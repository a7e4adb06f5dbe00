//! Asking a run to stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that asks a run to save a checkpoint and end; clones share it.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    own: Arc<AtomicBool>,
    above: Option<Arc<StopFlag>>,
}

impl StopFlag {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that is set when this one is, and can be set without it: for a part of the work.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            own: Arc::default(),
            above: Some(Arc::new(self.clone())),
        }
    }

    /// Sets the flag.
    pub fn set(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Takes back what [`set`](Self::set) did to this flag; one above it stays as it is.
    pub fn clear(&self) {
        self.own.store(false, Ordering::SeqCst);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.own.load(Ordering::SeqCst) || self.above.as_ref().is_some_and(|above| above.is_set())
    }

    /// The flag itself, for a signal handler.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.own)
    }
}

impl From<Arc<AtomicBool>> for StopFlag {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self {
            own: flag,
            above: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_stopped_with_the_whole_and_alone() {
        let whole = StopFlag::new();
        let (part, other) = (whole.child(), whole.child());
        part.clone().set();
        assert!(part.is_set() && !other.is_set() && !whole.is_set());
        whole.set();
        assert!(other.is_set() && other.child().is_set());
        part.clear();
        assert!(part.is_set() && whole.is_set());
        whole.clear();
        assert!(!part.is_set() && !other.is_set());
    }
}
