//! Which `nix` is run: an absolute path that nobody but root or the user could have put there.

use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::Error;

/// Where distributions and Nix itself put it.
const PLACES: &[&str] = &[
    "/run/current-system/sw/bin/nix",
    "/nix/var/nix/profiles/default/bin/nix",
    "/usr/bin/nix",
    "/usr/local/bin/nix",
];

/// Below the home directory: profiles of a user.
const PROFILES: &[&str] = &[".nix-profile/bin/nix", ".local/state/nix/profiles/profile/bin/nix"];

/// Finds and verifies the program; `wanted` is the path that the user's own environment names.
pub fn find(wanted: Option<&Utf8Path>, home: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    let places: Vec<Utf8PathBuf> = match wanted {
        Some(path) => vec![path.to_owned()],
        None => {
            PLACES.iter().map(Utf8PathBuf::from).chain(PROFILES.iter().map(|name| home.join(name))).collect()
        }
    };
    let Some(path) = places.iter().find(|path| path.exists()) else {
        return Err(Error::Missing { tried: places.iter().map(|path| format!("`{path}`")).collect() });
    };
    let uid = nix::unistd::geteuid().as_raw();
    verify(path, uid).map_err(|reason| Error::Program { path: path.clone(), reason })?;
    Ok(path.clone())
}

/// Refuses what another user could have put there, and what is no program.
fn verify(path: &Utf8Path, uid: u32) -> Result<(), String> {
    if !path.is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let real = path.canonicalize_utf8().map_err(|error| error.to_string())?;
    // The links on the way decide as much as the place that they lead to.
    for start in [path.parent(), Some(real.as_path())].into_iter().flatten() {
        let start = start.canonicalize_utf8().map_err(|error| error.to_string())?;
        for part in start.ancestors() {
            let meta = fs_err::metadata(part).map_err(|error| error.to_string())?;
            if meta.uid() != 0 && meta.uid() != uid {
                return Err(format!("`{part}` belongs to user {}", meta.uid()));
            }
            // The store is group-writable for its build users, with the sticky bit.
            if meta.mode() & 0o022 != 0 && !(meta.is_dir() && meta.mode() & 0o1000 != 0) {
                return Err(format!("`{part}` can be changed by other users"));
            }
        }
    }
    let mut file = fs_err::File::open(&real).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    let mut magic = [0; 4];
    let program = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
    if !program || file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Err("it is not a program but a script or another file".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_root_or_the_user_is_run() {
        let place = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(place.path().canonicalize().unwrap()).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let copy = top.join("nix");
        fs_err::copy("/bin/true", &copy).unwrap();
        verify(&copy, uid).unwrap();
        fs_err::set_permissions(&copy, std::fs::Permissions::from_mode(0o775)).unwrap();
        assert!(verify(&copy, uid).unwrap_err().contains("changed by other users"));
        assert!(verify("/usr/bin/ldd".into(), uid).unwrap_err().contains("a script"));
        assert!(verify("usr/bin/nix".into(), uid).unwrap_err().contains("not absolute"));
        let missing = find(Some(&top.join("none")), &top).unwrap_err();
        assert!(matches!(missing, Error::Missing { .. }), "{missing}");
    }
}
