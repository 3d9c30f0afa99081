//! What a program needs of the system around it: its loader, its libraries, and which versions of what is in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, ReadCache, ReadRef};

/// What is read of an ELF file of this machine's kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The loader; a static program has none.
    pub loader: Option<Utf8PathBuf>,
    /// Names of libraries, with the versions that must be in them (`libc.so.6`, `GLIBC_2.28`).
    pub libraries: BTreeMap<String, Vec<String>>,
}

/// Returns what the program at `path` needs.
pub fn needs(path: &Utf8Path) -> io::Result<Needs> {
    // A program may have hundreds of megabytes: only the tables are read.
    let cache = ReadCache::new(File::open(path)?);
    read_needs(&cache).map_err(io::Error::other)
}

fn read_needs<'data, R: ReadRef<'data>>(data: R) -> object::read::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, data)? {
        if let Some(loader) = segment.interpreter(endian, data)? {
            needs.loader = Some(text(loader).into());
        }
    }
    let sections = header.sections(endian, data)?;
    if let Some((entries, link)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
            let name = entry.val32(endian).and_then(|at| strings.get(at).ok());
            needs.libraries.insert(text(name.unwrap_or_default()), Vec::new());
        }
    }
    if let Some((mut files, link)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((file, mut versions)) = files.next()? {
            let known = needs.libraries.entry(text(file.file(endian, strings)?)).or_default();
            while let Some(version) = versions.next()? {
                known.push(text(version.name(endian, strings)?));
            }
        }
    }
    Ok(needs)
}

/// Returns the versions that a library offers; none where it is no library.
pub fn offers(bytes: &[u8]) -> Vec<String> {
    read_offers(bytes).unwrap_or_default()
}

fn read_offers(data: &[u8]) -> object::read::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut offers = Vec::new();
    if let Some((mut versions, link)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut names)) = versions.next()? {
            // The first is its own name, the others are those it follows.
            if let Some(name) = names.next()? {
                offers.push(text(name.name(endian, strings)?));
            }
        }
    }
    Ok(offers)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_tells_its_loader_and_its_libraries() {
        // A shell is everywhere, and is no static program where tests are built.
        let needs = needs(Utf8Path::new("/bin/sh")).unwrap();
        let loader = needs.loader.unwrap();
        assert!(loader.file_name().unwrap().starts_with("ld-"), "{loader}");
        let libc = needs.libraries.iter().find(|(name, _)| name.starts_with("libc.")).unwrap();
        assert!(libc.1.iter().all(|version| version.starts_with("GLIBC_")), "{libc:?}");
        let text = Utf8Path::new("/etc/passwd");
        assert!(super::needs(text).is_err());
        assert_eq!(offers(b"\x7fELF, but no more"), Vec::<String>::new());
    }

    #[test]
    fn a_library_tells_its_versions() {
        let found =
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
        let Some(bytes) = found.iter().find_map(|path| fs_err::read(path).ok()) else {
            println!("skipped: this host has no GNU C library at a usual place");
            return;
        };
        let offers = offers(&bytes);
        assert!(offers.iter().any(|version| version == "GLIBC_2.17"), "{offers:?}");
        assert!(!offers.iter().any(|version| version == "GLIBC_9.99"));
    }
}
