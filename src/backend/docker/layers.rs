//! Whether a program of pier's cache runs in an image, and what of the host must be shown there for it.
//!
//! An image with the loader that a program names must have its libraries as well, in versions that are new enough. Where
//! the loader is not there, nothing in the image can need another one at that place: the host's loader and libraries are
//! mounted, file by file, at the places where that loader looks.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use super::inside::{Entry, Inside};
use crate::backend::elf::{self, Needs};
use crate::plan::facts::Library;
use crate::util::fs::canonical;

/// Why a program does not run in an image.
#[derive(Debug, Error)]
pub enum Misfit {
    #[error(transparent)]
    Engine(#[from] super::Error),
    #[error("cannot read `{path}`: {error}")]
    Read { path: Utf8PathBuf, error: std::io::Error },
    #[error("it needs `{name}`, which the image lacks")]
    Lacks { name: String },
    #[error("it needs `{version}` of `{name}`, and that of the image is older")]
    TooOld { name: String, version: String },
    #[error("it needs `{name}`, which neither the image nor this host has")]
    Nowhere { name: String },
    #[error("it needs `{path}` of this host, and the image has something else there")]
    Taken { path: Utf8PathBuf },
}

/// Where loaders look for libraries; `{}` is the name that Debian has for the machine.
const PLACES: [&str; 7] =
    ["/lib/{}", "/usr/lib/{}", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"];

/// The trees that nothing of the host but libraries is shown in.
const TREES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// Libraries that a C library older than 2.34 opens by itself to look up names and users.
const OPENED: [&str; 3] = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

/// The most libraries of one program.
const MOST: usize = 64;

/// Returns what of the host must be shown in the image for the program to run there.
pub fn libraries(program: &Utf8Path, inside: &mut Inside) -> Result<Vec<Library>, Misfit> {
    // The shell of a script is the image's own.
    if is_script(program) {
        return Ok(Vec::new());
    }
    let needs = needs(program)?;
    let Some(loader) = &needs.loader else { return Ok(Vec::new()) };
    match inside.find(loader)? {
        (_, Entry::File { executable: true }) => {
            check(&needs, inside)?;
            Ok(Vec::new())
        }
        (place, Entry::Missing) => from_host(loader, place, needs.libraries, inside),
        (place, _) => Err(Misfit::Taken { path: place }),
    }
}

fn is_script(path: &Utf8Path) -> bool {
    let mut start = [0; 2];
    let read =
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && start == *b"#!"
}

fn needs(path: &Utf8Path) -> Result<Needs, Misfit> {
    elf::needs(path).map_err(|error| Misfit::Read { path: path.to_owned(), error })
}

fn places() -> impl Iterator<Item = Utf8PathBuf> {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    PLACES.into_iter().map(move |place| place.replace("{}", &machine).into())
}

/// Compares what a program needs with the libraries of the image.
fn check(needs: &Needs, inside: &mut Inside) -> Result<(), Misfit> {
    for (name, versions) in &needs.libraries {
        let mut found = None;
        for place in places() {
            if let (path, Entry::File { .. }) = inside.find(&place.join(name))? {
                found = Some(path);
                break;
            }
        }
        let is_loader = needs.loader.as_ref().and_then(|loader| loader.file_name()) == Some(name);
        let path = match (found, &needs.loader) {
            (Some(path), _) => path,
            (None, Some(_)) if is_loader => continue,
            _ => return Err(Misfit::Lacks { name: name.clone() }),
        };
        if versions.is_empty() {
            continue;
        }
        let offers = inside.offers(&path)?;
        if let Some(version) = versions.iter().find(|version| !offers.contains(version)) {
            return Err(Misfit::TooOld { name: name.clone(), version: version.clone() });
        }
    }
    Ok(())
}

/// Returns the host's loader and every library that is needed, with what those need.
fn from_host(
    loader: &Utf8Path,
    place: Utf8PathBuf,
    needed: BTreeMap<String, Vec<String>>,
    inside: &mut Inside,
) -> Result<Vec<Library>, Misfit> {
    let nowhere = |name: &str| Misfit::Nowhere { name: name.to_owned() };
    let source = canonical(loader).map_err(|_| nowhere(loader.as_str()))?;
    let mut shown = vec![Library { at: in_place(place)?, source }];
    let mut names: Vec<String> = needed.into_keys().collect();
    names.extend(OPENED.iter().filter(|name| on_host(name).is_some()).map(|name| (*name).to_owned()));
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        if loader.file_name() == Some(name.as_str()) {
            continue;
        }
        let (path, source) = on_host(&name).filter(|_| next <= MOST).ok_or_else(|| nowhere(&name))?;
        let (at, entry) = inside.find(&path)?;
        if entry != Entry::Missing {
            return Err(Misfit::Taken { path: at });
        }
        let at = in_place(at)?;
        let more = needs(&source)?.libraries.into_keys();
        names.extend(more.filter(|more| !names.contains(more)).collect::<Vec<_>>());
        shown.push(Library { at, source });
    }
    Ok(shown)
}

/// Refuses a place that is none for libraries: links of an image could lead into the project.
fn in_place(at: Utf8PathBuf) -> Result<Utf8PathBuf, Misfit> {
    if TREES.iter().any(|tree| at.starts_with(tree)) { Ok(at) } else { Err(Misfit::Taken { path: at }) }
}

/// Returns a library of the host: where its loader finds it, and the file itself.
fn on_host(name: &str) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
    places().find_map(|place| {
        let place = canonical(&place).ok()?;
        let path = place.join(name);
        let source = canonical(&path).ok().filter(|source| source.is_file())?;
        Some((path, source))
    })
}
