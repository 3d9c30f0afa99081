//! The repositories of a domain, as `repos/*/REPO.md` have them, and an older list.

use super::item::get;
use super::store::Store;

/// One repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repo {
    pub id: String,
    /// `active`, `inactive` or `retired`.
    pub status: String,
    pub item_key: String,
    pub aliases: Vec<String>,
    pub remotes: Vec<String>,
}

/// Says whether a text can be the id of a repository, and with it the name of a directory.
pub fn is_id(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    (2..=100).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(inner)
        && !text.contains("..")
}

/// Reads all of them; what is damaged has an empty status.
pub fn read(store: &Store) -> Vec<Repo> {
    let names = store.repos().unwrap_or_default();
    if names.is_empty() {
        return store.document("repositories.yaml").map(|text| older(&text)).unwrap_or_default();
    }
    let repo = |name: String| {
        let text = store.document(&format!("repos/{name}/REPO.md")).unwrap_or_default();
        Repo {
            status: get(&text, "status"),
            item_key: get(&text, "item_key"),
            aliases: list(&text, "aliases"),
            remotes: list(&text, "remotes"),
            id: name,
        }
    };
    names.into_iter().map(repo).collect()
}

/// Returns the values of a list, in one line or in lines.
pub fn list(text: &str, key: &str) -> Vec<String> {
    let value = |text: &str| Some(super::scalar::read(text)).filter(|text| !text.is_empty());
    let inline = get(text, key);
    if let Some(inner) = inline.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.split(',').filter_map(value).collect();
    }
    let mut lines =
        text.lines().skip_while(|line| !line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    let _key = lines.next();
    lines.map_while(|line| line.trim_start().strip_prefix("- ")).filter_map(value).collect()
}

/// Reads the list that domains had before.
fn older(text: &str) -> Vec<Repo> {
    let mut found: Vec<Repo> = Vec::new();
    for line in text.lines() {
        let inner = line.trim_start();
        let inner = inner.strip_prefix("- ").unwrap_or(inner);
        let Some((key, value)) = inner.split_once(':') else { continue };
        let value = super::scalar::read(value);
        match (key, found.last_mut()) {
            ("repo_id", _) => found.push(Repo { id: value, status: "active".into(), ..Repo::default() }),
            ("active", Some(repo)) if !value.eq_ignore_ascii_case("true") => repo.status = "inactive".into(),
            ("status", Some(repo)) => repo.status = value,
            ("aliases", Some(repo)) => repo.aliases = list(&format!("aliases: {value}\n"), "aliases"),
            _ => {}
        }
    }
    found
}

/// Finds an active repository by its id or an older one.
///
/// # Errors
/// Why it is none.
pub fn resolve(known: &[Repo], named: &str) -> Result<String, String> {
    if !is_id(named) {
        return Err(format!("`{}` is no id of a repository", crate::util::text::escape(named)));
    }
    let own: Vec<&Repo> = known.iter().filter(|repo| repo.id == named).collect();
    let other: Vec<&Repo> =
        known.iter().filter(|repo| repo.aliases.iter().any(|alias| alias == named)).collect();
    match (own.as_slice(), other.as_slice()) {
        ([repo], _) | ([], [repo]) if repo.status == "active" => Ok(repo.id.clone()),
        ([repo], _) | ([], [repo]) => {
            Err(format!("the repository `{}` is {}", repo.id, crate::util::text::escape(&repo.status)))
        }
        ([], []) => Err(format!("the domain has no repository `{named}`")),
        _ => {
            let names: Vec<&str> = other.iter().map(|repo| repo.id.as_str()).collect();
            Err(format!("`{named}` is an older id of several: {}", names.join(", ")))
        }
    }
}

/// Returns the name of a repository by its URL.
pub fn base_name(url: &str) -> String {
    let name = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    name.strip_suffix(".git").unwrap_or(name).to_owned()
}

/// Finds an active repository by the URL of its remote, or by the name in it.
pub fn by_remote(known: &[Repo], url: &str) -> Option<String> {
    let is_active = |repo: &&Repo| repo.status == "active";
    let by_url = known.iter().filter(is_active).find(|repo| repo.remotes.iter().any(|remote| remote == url));
    by_url.map(|repo| repo.id.clone()).or_else(|| resolve(known, &base_name(url)).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_found_by_id_alias_and_remote() {
        let repo = |id: &str, status: &str, aliases: &[&str], remotes: &[&str]| Repo {
            id: id.into(),
            status: status.into(),
            aliases: aliases.iter().map(|text| (*text).to_owned()).collect(),
            remotes: remotes.iter().map(|text| (*text).to_owned()).collect(),
            ..Repo::default()
        };
        let known = [
            repo("one", "active", &["old", "both"], &["git@example.com:a/one.git"]),
            repo("two", "retired", &["both"], &[]),
        ];
        assert_eq!(resolve(&known, "one").unwrap(), "one");
        assert_eq!(resolve(&known, "old").unwrap(), "one");
        for other in ["two", "both", "none", "../x", "A", "a"] {
            resolve(&known, other).unwrap_err();
        }
        assert_eq!(by_remote(&known, "git@example.com:a/one.git").as_deref(), Some("one"));
        assert_eq!(by_remote(&known, "https://example.com/x/one.git").as_deref(), Some("one"));
        assert_eq!(by_remote(&known, "/x/two.git"), None);
        assert_eq!(list("aliases: [a, 'b c']\n", "aliases"), ["a", "b c"]);
        assert_eq!(list("aliases:\n  - a\n  - b # c\nremotes: []\n", "aliases"), ["a", "b"]);
        let old =
            older("repositories:\n  - repo_id: x\n    active: false\n  - repo_id: yy\n    aliases: [z]\n");
        assert_eq!((old[0].status.as_str(), old[1].aliases.len()), ("inactive", 1));
    }
}
