//! What a model has written in a stage that is not finished: a stop loses the part in progress and no other.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use relay_tasks::{Chain, Example};
use relay_train::hash_examples;
use serde::{Deserialize, Serialize};

use crate::{PipelineError, Result};

/// The file of what a stage has written.
pub(crate) const UNFINISHED: &str = "unfinished.jsonl";

/// Chains of a stage, part by part, in a file that is gone once the stage is finished.
#[derive(Debug)]
pub(crate) struct KeptChains {
    path: PathBuf,
    file: File,
    /// Size of the vocabulary.
    tokens: usize,
    /// Parts of before that were not asked for yet, and where each ends in the file.
    before: VecDeque<(Part, u64)>,
    /// Where the last part ends that was asked for.
    end: u64,
    /// Seconds that went into the parts of before that were asked for.
    seconds: f64,
    began: Instant,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    /// Hash of the examples.
    of: String,
    seconds: f64,
    chains: Vec<Chain>,
}

impl KeptChains {
    /// What the stage in `dir` has written so far, and room for more, in `tokens` tokens. A line that was cut off counts as not
    /// written.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn open(dir: &Path, tokens: usize) -> Result<Self> {
        let path = dir.join(UNFINISHED);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|e| PipelineError::io("read", &path, e))?,
        };
        let (mut before, mut end) = (VecDeque::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(part) if line.ends_with(b"\n") => {
                    end += line.len() as u64;
                    before.push_back((part, end));
                }
                _ => break,
            }
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let mut this = Self {
            file: (options.open(&path)).map_err(|e| PipelineError::io("open", &path, e))?,
            path,
            tokens,
            before,
            end,
            seconds: 0.0,
            began: Instant::now(),
        };
        this.cut()?;
        this.end = 0;
        Ok(this)
    }

    /// The chains of `examples`: those of before, or what `write` writes now. Examples have to come in the order of before; from
    /// the first ones on that others were written for, all is written anew.
    ///
    /// # Errors
    /// What `write` returns, and when the file cannot be written.
    pub fn write(
        &mut self,
        examples: &[Example],
        write: impl FnOnce(&[Example]) -> Result<Vec<Chain>>,
    ) -> Result<Vec<Chain>> {
        let of = hash_examples(examples);
        match self.before.pop_front() {
            Some((part, end)) if part.of == of && self.fits(&part, examples) => {
                (self.end, self.seconds) = (end, self.seconds + part.seconds);
                return Ok(part.chains);
            }
            Some(_) => self.before.clear(),
            None => {}
        }
        self.cut()?;
        let clock = Instant::now();
        let part = Part {
            of,
            chains: write(examples)?,
            seconds: clock.elapsed().as_secs_f64(),
        };
        let text = serde_json::to_string(&part)
            .map_err(|e| PipelineError::corrupt(&self.path, e.to_string()))?;
        let written = self.file.write_all((text + "\n").as_bytes());
        let end = written.and_then(|()| self.file.stream_position());
        self.end = end.map_err(|e| PipelineError::io("write", &self.path, e))?;
        Ok(part.chains)
    }

    /// Whether it is what a model can have written: the directory may be from elsewhere.
    fn fits(&self, part: &Part, examples: &[Example]) -> bool {
        let known = |token: &u32| (*token as usize) < self.tokens;
        let chain = |chain: &Chain| {
            let mut tokens = chain.steps.iter().flatten().chain(&chain.answer);
            tokens.all(known)
        };
        part.chains.len() == examples.len() && part.chains.iter().all(chain)
    }

    /// The seconds that went into the chains, those of before included.
    pub fn seconds(&self) -> f64 {
        self.seconds + self.began.elapsed().as_secs_f64()
    }

    /// Removes the file in the directory `stage`, if there is one: only once the marker of the stage says that what it holds is in
    /// the results.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(stage: &Path) -> Result<()> {
        let path = stage.join(UNFINISHED);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(PipelineError::io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Lets the file end where the last part does that counts.
    fn cut(&mut self) -> Result<()> {
        let cut = self.file.set_len(self.end);
        let cut = cut.and_then(|()| self.file.seek(SeekFrom::End(0)));
        cut.map_err(|e| PipelineError::io("write", &self.path, e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(token: u32) -> Example {
        Example {
            task: 0,
            length: 1,
            iterations: 1,
            width: 4,
            prompt: vec![3, token],
            steps: Vec::new(),
            answer: None,
        }
    }

    /// What a model writes for `tokens`, and whether it was asked.
    fn write(kept: &mut KeptChains, tokens: &[u32]) -> (Vec<Chain>, bool) {
        let examples: Vec<Example> = tokens.iter().map(|token| example(*token)).collect();
        let mut asked = false;
        let chains = kept.write(&examples, |examples| {
            asked = true;
            let chain = |example: &Example| Chain {
                steps: vec![example.prompt.clone()],
                answer: Some(example.prompt[1]),
                confidence: vec![0.1 + 0.7],
                answer_confidence: 1.0 / 3.0,
            };
            Ok(examples.iter().map(chain).collect())
        });
        (chains.unwrap(), asked)
    }

    #[test]
    fn what_was_written_before_a_stop_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(UNFINISHED);
        let mut kept = KeptChains::open(dir.path(), 10).unwrap();
        let first = write(&mut kept, &[5, 6]);
        assert!(first.1 && write(&mut kept, &[7]).1);
        drop(kept);
        // As a kill leaves it.
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend(b"{\"of\":\"");
        fs::write(&file, &bytes).unwrap();

        let mut kept = KeptChains::open(dir.path(), 10).unwrap();
        assert_eq!(write(&mut kept, &[5, 6]), (first.0.clone(), false));
        assert!(!write(&mut kept, &[7]).1 && write(&mut kept, &[8]).1);
        drop(kept);
        let mut kept = KeptChains::open(dir.path(), 10).unwrap();
        assert!(!write(&mut kept, &[5, 6]).1);
        // Other examples than before: nothing that follows belongs to them.
        assert!(write(&mut kept, &[9]).1 && write(&mut kept, &[8]).1);
        drop(kept);
        let mut kept = KeptChains::open(dir.path(), 10).unwrap();
        assert!(
            [&[5, 6][..], &[9], &[8]]
                .into_iter()
                .all(|of| !write(&mut kept, of).1)
        );
        drop(kept);

        // Tokens that nobody has.
        let mut kept = KeptChains::open(dir.path(), 6).unwrap();
        assert!(write(&mut kept, &[5, 6]).1);
        assert!(kept.seconds() > 0.0 && file.exists());
        KeptChains::remove(dir.path()).unwrap();
        KeptChains::remove(dir.path()).unwrap();
        assert!(!file.exists());
    }
}
