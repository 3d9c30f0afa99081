//! Pages by their numbers: out of the write-ahead log where it has them, out of the file otherwise.

use super::wal::Wal;
use super::{Error, MAGIC, MOST_BYTES, ReadAt, fill};

/// How long the header is, with which the first page begins, in bytes.
pub const HEADER: usize = 100;

pub struct Pages {
    file: Box<dyn ReadAt>,
    wal: Option<Wal>,
    /// In bytes.
    size: usize,
    /// How much of a page is used, in bytes.
    pub usable: usize,
    /// How many there are.
    pub count: u32,
}

impl Pages {
    pub fn open(file: Box<dyn ReadAt>, wal: Option<Box<dyn ReadAt>>) -> Result<Self, Error> {
        let mut header = [0; HEADER];
        if !fill(&*file, &mut header, 0)? {
            return Err(Error::NoDatabase("it ends before its header does"));
        }
        if !header.starts_with(MAGIC.as_bytes()) {
            return Err(Error::NoDatabase("it does not begin as one"));
        }
        let size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 1 << 16,
            size => usize::from(size),
        };
        if !size.is_power_of_two() || size < 512 {
            return Err(Error::NoDatabase("its pages are of no possible size"));
        }
        let bytes = file.bytes()?;
        if bytes > MOST_BYTES {
            return Err(Error::NoDatabase("it is larger than 64 GiB"));
        }
        let wal = wal.map(|wal| Wal::open(wal, size)).transpose()?.flatten();
        let own = u32::try_from(bytes / size as u64).unwrap_or(u32::MAX);
        // A log says how many there were at the end of its last change; those of one that lies are not there when they are read.
        let most = u32::try_from(MOST_BYTES / size as u64).unwrap_or(u32::MAX);
        let count = wal.as_ref().map_or(own, |wal| wal.count).min(most);
        let mut pages = Pages { file, wal, size, usable: size, count };
        // It may be newer in the log.
        let first = pages.read(1)?;
        pages.usable = size - usize::from(first[20]);
        if pages.usable < 480 {
            return Err(Error::NoDatabase("its pages have no room"));
        }
        match u32::from_be_bytes([first[56], first[57], first[58], first[59]]) {
            // Nothing was written into it where nobody has said which.
            0 | 1 => Ok(pages),
            2 => Err(Error::Encoding("UTF-16, little endian")),
            3 => Err(Error::Encoding("UTF-16, big endian")),
            _ => Err(Error::Encoding("an unknown encoding")),
        }
    }

    pub fn read(&self, number: u32) -> Result<Vec<u8>, Error> {
        let damaged = |why| Error::Damaged { page: number, why };
        if number == 0 || number > self.count {
            return Err(damaged("there is none of this number"));
        }
        let mut page = vec![0; self.size];
        if let Some(wal) = &self.wal
            && wal.read(number, &mut page)?
        {
            return Ok(page);
        }
        let there = fill(&*self.file, &mut page, u64::from(number - 1) * self.size as u64)?;
        if there { Ok(page) } else { Err(damaged("the file ends before it")) }
    }
}

/// A set of pages.
pub struct Seen(Vec<u64>);

impl Seen {
    pub fn of(pages: &Pages) -> Self {
        Seen(vec![0; pages.count as usize / 64 + 1])
    }

    /// Adds a page; an error for one that is there already, and for one that no database of this size has.
    pub fn add(&mut self, page: u32) -> Result<(), Error> {
        let place = self.0.get_mut(page as usize / 64);
        let Some(place) = place.filter(|_| page != 0) else {
            return Err(Error::Damaged { page, why: "there is none of this number" });
        };
        let bit = 1 << (page % 64);
        if *place & bit != 0 {
            return Err(Error::Damaged { page, why: "two places lead to it" });
        }
        *place |= bit;
        Ok(())
    }
}
