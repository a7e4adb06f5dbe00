//! One thread's texts, from their prompts to their ends.

use rayon::prelude::*;

use super::Written;
use super::cache::PAGE;
use super::model::Model;
use super::pass::{Pass, Row};
use super::queue::Queue;
use crate::pool::Buffer;

/// What is written after every prompt.
pub(super) fn generate(
    model: &Model,
    prompts: &[Vec<u32>],
    end: u32,
    limits: &[usize],
) -> Vec<Written> {
    let mut written = vec![Written::default(); prompts.len()];
    let queue = Queue::new(model, prompts, end, limits);
    // Not a task for each text: those of a worker share the reading of the weights.
    let workers = rayon::current_num_threads().min(queue.len());
    let finished: Vec<_> = (0..workers)
        .into_par_iter()
        .map(|_| Worker::new(model, &queue, workers).run())
        .collect();
    for (text, finished) in finished.into_iter().flatten() {
        written[text] = finished;
    }
    written
}

/// Rows of a pass: enough for products to be fast while prompts are read.
const ROWS: usize = 64;
/// Columns that there is room for at first.
const COLUMNS: usize = 1024;

/// A text that is being read or written.
#[derive(Debug)]
struct Slot {
    text: usize,
    /// Columns that are in the cache.
    length: usize,
    written: Written,
}

/// A few texts that share every reading of the weights.
#[derive(Debug)]
struct Worker<'a> {
    model: &'a Model,
    queue: &'a Queue<'a>,
    pass: Pass<'a>,
    /// Columns that there is room for.
    columns: usize,
    most: usize,
    slots: Vec<Slot>,
    /// The pages of each slot.
    pages: Vec<Vec<Buffer>>,
    finished: Vec<(usize, Written)>,
}

impl<'a> Worker<'a> {
    /// One of so many workers on the queue.
    pub fn new(model: &'a Model, queue: &'a Queue<'a>, workers: usize) -> Self {
        let most = queue.slots(workers);
        Self {
            model,
            queue,
            pass: Pass::new(model, ROWS.max(most)),
            columns: 0,
            most,
            slots: Vec::new(),
            pages: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Works until no text is left; gives the texts that were finished.
    pub fn run(mut self) -> Vec<(usize, Written)> {
        let mut rows = Vec::new();
        let mut chosen = Vec::new();
        loop {
            self.take();
            if self.slots.is_empty() {
                return self.finished;
            }
            self.schedule(&mut rows);
            chosen.clear();
            chosen.resize(rows.iter().filter(|row| row.last).count(), (0, 0.0));
            self.pass.run(&mut rows, &mut self.pages, &mut chosen);
            for (row, choice) in rows.iter().zip(&chosen) {
                self.write(row.slot, *choice);
            }
            self.drop_finished();
        }
    }

    /// Fills empty slots.
    fn take(&mut self) {
        while self.slots.len() < self.most {
            let Some(text) = self.queue.next() else {
                return;
            };
            self.slots.push(Slot {
                text,
                length: 0,
                written: Written::default(),
            });
            self.pages.push(Vec::new());
        }
    }

    /// The next rows: of each text what it has not read, as much as there is room for, and at least one token.
    fn schedule(&mut self, rows: &mut Vec<Row>) {
        rows.clear();
        let slots = self.slots.len();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let prompt = &self.queue.prompts[slot.text];
            let known = prompt.len() + slot.written.tokens.len();
            let room = ROWS.max(slots) - rows.len() - (slots - index - 1);
            let end = known.min(slot.length + room);
            rows.extend((slot.length..end).map(|column| Row {
                slot: index,
                column,
                token: match prompt.get(column) {
                    Some(token) => *token,
                    None => slot.written.tokens[column - prompt.len()],
                },
                last: column + 1 == known,
            }));
            slot.length = end;
            let pages = &mut self.pages[index];
            while pages.len() * PAGE < end {
                pages.push(self.model.layout.page());
            }
            if end > self.columns {
                self.columns = (2 * end).max(COLUMNS).min(self.queue.longest);
                self.pass.reserve(self.columns);
            }
        }
    }

    /// Adds a chosen token to its text.
    fn write(&mut self, slot: usize, (token, probability): (u32, f32)) {
        let written = &mut self.slots[slot].written;
        if token == self.queue.end {
            written.ended = true;
        } else {
            written.tokens.push(token);
            written.probabilities.push(probability);
        }
    }

    fn drop_finished(&mut self) {
        for index in (0..self.slots.len()).rev() {
            let Slot { text, written, .. } = &mut self.slots[index];
            if written.ended || written.tokens.len() >= self.queue.limits[*text] {
                self.finished.push((*text, core::mem::take(written)));
                self.slots.swap_remove(index);
                self.pages.swap_remove(index);
            }
        }
    }
}
