//! What is made once for many calls.

use std::sync::{Mutex, PoisonError};

/// What was made lately, by what it was made of.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: Mutex<Vec<(K, V)>>,
    /// Entries that are remembered.
    most: usize,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    pub const fn new(most: usize) -> Self {
        Self {
            entries: Mutex::new(Vec::new()),
            most,
        }
    }

    /// What was made of `key`, or what `make` makes of it.
    pub fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match entries.iter().position(|known| known.0 == key) {
            Some(index) => entries.remove(index),
            None => (key, make()),
        };
        let value = entry.1.clone();
        entries.push(entry);
        let surplus = entries.len().saturating_sub(self.most);
        entries.drain(..surplus);
        value
    }
}
