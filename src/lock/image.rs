//! Image references: the parts that a pin and a registry need of them.

/// The registry that a reference without one means.
const USUAL: &str = "docker.io";

/// How a digest begins, and the number of its hex digits.
const ALGORITHM: &str = "sha256:";
const DIGITS: usize = 64;

/// Says whether a text is `sha256:` and 64 lower-case hex digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix(ALGORITHM).is_some_and(|hex| super::is_hex(hex, DIGITS))
}

/// Returns the digest that a reference names itself, with which it cannot move.
pub fn own_digest(reference: &str) -> Option<&str> {
    let digest = reference.rsplit_once('@').map_or(reference, |(_, digest)| digest);
    is_digest(digest).then_some(digest)
}

/// Returns a reference without tag and digest: `registry.test:5000/team/tools`.
pub fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // The colon of a port has a slash behind it.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Returns the reference of exactly one image: `debian@sha256:…`.
pub fn by_digest(reference: &str, digest: &str) -> String {
    if is_digest(reference) { reference.to_owned() } else { format!("{}@{digest}", repository(reference)) }
}

/// Returns the host, and the port where there is one, of a reference's registry.
pub fn registry(reference: &str) -> &str {
    match repository(reference).split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => USUAL,
    }
}

/// Says whether two repositories are one: an engine leaves out what is usual.
pub fn is_same(one: &str, other: &str) -> bool {
    let full = |name: &str| {
        let rest = name.strip_prefix("docker.io/").unwrap_or(name);
        rest.strip_prefix("library/").unwrap_or(rest).to_owned()
    };
    full(one) == full(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_reference() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for (reference, repo, from) in [
            ("debian", "debian", "docker.io"),
            ("debian:12", "debian", "docker.io"),
            ("team/tools:1", "team/tools", "docker.io"),
            ("localhost/x:1", "localhost/x", "localhost"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000"),
            ("registry.test:5000/a/b:1@sha256:00", "registry.test:5000/a/b", "registry.test:5000"),
        ] {
            assert_eq!((repository(reference), registry(reference)), (repo, from), "{reference}");
            assert_eq!(by_digest(reference, &digest), format!("{repo}@{digest}"));
            assert_eq!(own_digest(reference), None, "{reference}");
        }
        assert_eq!(own_digest(&format!("a:1@{digest}")), Some(digest.as_str()));
        assert_eq!(own_digest(&digest), Some(digest.as_str()));
        assert_eq!(by_digest(&digest, &digest), digest);
        assert!(is_same("docker.io/library/debian", "debian") && !is_same("a.test/debian", "debian"));
        for other in ["", "sha256:", "sha256:../../x", &"0".repeat(64), &digest.to_uppercase()] {
            assert!(!is_digest(other), "{other}");
        }
    }
}
