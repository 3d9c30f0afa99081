//! The write-ahead log: pages that were written and are not in the file yet. What a killed program had not finished is behind the last
//! change that it had, and does not count.

use std::collections::HashMap;

use super::{Error, ReadAt, fill};

/// How long the header is, and that of a frame, in bytes.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// The largest log, in bytes: the list of its pages is some hundred megabytes then. Programs begin a new one after some megabytes.
const MOST_BYTES: u64 = 4 << 30;

pub struct Wal {
    file: Box<dyn ReadAt>,
    /// What each of its frames has, and none of an older or newer log.
    salts: [u8; 8],
    /// Where the frame with the newest content of a page is.
    places: HashMap<u32, u64>,
    /// How many pages the database has.
    pub count: u32,
}

/// The sum of what comes before a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    /// Adds bytes, eight at a time.
    fn add(self, bytes: &[u8], is_big: bool) -> Self {
        let word = |bytes: &[u8]| {
            let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
            if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let Sum(mut one, mut two) = self;
        for pair in bytes.chunks_exact(8) {
            one = one.wrapping_add(word(&pair[..4])).wrapping_add(two);
            two = two.wrapping_add(word(&pair[4..])).wrapping_add(one);
        }
        Sum(one, two)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Wal {
    /// Reads all frames up to the end of the last change; `None` where there is no such change, which is usual.
    pub fn open(file: Box<dyn ReadAt>, size: usize) -> Result<Option<Self>, Error> {
        let mut header = [0; HEADER];
        if file.bytes()? > MOST_BYTES {
            return Err(Error::NoDatabase("its write-ahead log is larger than 4 GiB"));
        }
        if !fill(&*file, &mut header, 0)? {
            return Ok(None);
        }
        let is_big = match number(&header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return Ok(None),
        };
        let mut sum = Sum(0, 0).add(&header[..24], is_big);
        let is_own = number(&header, 4) == 3_007_000
            && usize::try_from(number(&header, 8)).is_ok_and(|own| own == size)
            && sum == Sum(number(&header, 24), number(&header, 28));
        if !is_own {
            return Ok(None);
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        let mut wal = Wal { file, salts, places: HashMap::new(), count: 0 };
        let (mut unfinished, mut at) = (Vec::new(), HEADER as u64);
        let mut frame = vec![0; FRAME + size];
        while fill(&*wal.file, &mut frame, at)? {
            sum = sum.add(&frame[..8], is_big).add(&frame[FRAME..], is_big);
            let page = number(&frame, 0);
            // Behind the newest frames may be those of an older log, which have other salts.
            let is_whole =
                frame[8..16] == salts && sum == Sum(number(&frame, 16), number(&frame, 20)) && page != 0;
            if !is_whole {
                break;
            }
            unfinished.push((page, at));
            let count = number(&frame, 4);
            if count != 0 {
                wal.places.extend(unfinished.drain(..));
                wal.count = count;
            }
            at += frame.len() as u64;
        }
        Ok((wal.count != 0).then_some(wal))
    }

    /// Reads a page where the log has it; false where it has not.
    pub fn read(&self, page: u32, to: &mut [u8]) -> Result<bool, Error> {
        let Some(place) = self.places.get(&page) else { return Ok(false) };
        let mut head = [0; FRAME];
        // A program that runs may have begun to write it anew.
        let is_same = fill(&*self.file, &mut head, *place)?
            && number(&head, 0) == page
            && head[8..16] == self.salts
            && fill(&*self.file, to, place + FRAME as u64)?;
        if is_same {
            Ok(true)
        } else {
            Err(Error::Damaged { page, why: "the write-ahead log has changed while it was read" })
        }
    }
}
