//! An answer on disk while it is made: documents are within each other where they are read, and one behind the other where they are
//! written.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::ops::Range;

use crate::util::redact::Scrubber;
use crate::util::text::json_text;

/// Texts, collected in turns.
pub struct Spool {
    file: BufWriter<File>,
    end: u64,
    /// Where the parts of each text are.
    texts: Vec<Vec<Range<u64>>>,
    /// Takes secrets out, where they are not wanted.
    scrubber: Option<Scrubber>,
    pub secrets: usize,
    failed: Option<io::Error>,
}

impl Spool {
    pub fn new(scrubber: Option<Scrubber>) -> io::Result<Self> {
        let file = BufWriter::new(tempfile::tempfile()?);
        Ok(Spool { file, end: 0, texts: Vec::new(), scrubber, secrets: 0, failed: None })
    }

    /// Begins a text behind all others, and returns its number.
    pub fn begin(&mut self) -> usize {
        self.texts.push(Vec::new());
        self.texts.len() - 1
    }

    /// Adds JSON to a text. Secrets are looked for in each part by itself.
    pub fn put(&mut self, text: usize, part: &str) {
        let part = json_text(part);
        let part = match &self.scrubber {
            None => part.into_bytes(),
            Some(scrubber) => {
                let (clean, count) = scrubber.scrub(part.as_bytes());
                self.secrets += count;
                clean
            }
        };
        if let Err(error) = self.file.write_all(&part) {
            self.failed.get_or_insert(error);
        }
        let begin = self.end;
        self.end += part.len() as u64;
        match self.texts[text].last_mut() {
            Some(last) if last.end == begin => last.end = self.end,
            _ => self.texts[text].push(begin..self.end),
        }
    }

    /// Writes all texts, in the order in which they began.
    pub fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        for part in self.texts.into_iter().flatten() {
            file.seek(SeekFrom::Start(part.start))?;
            io::copy(&mut (&mut file).take(part.end - part.start), out)?;
        }
        out.flush()
    }
}
