//! The configuration of a private git directory: what of the host's is harmless, and nothing that runs or tells.

use camino::Utf8Path;

use crate::util::fs::{read_bounded, read_without_links};
use crate::util::git::config::{Entry, is_true, parse, render};

/// The most that is read of one file, in bytes.
const MOST: u64 = 1024 * 1024;

/// Keys that say how files and names are handled, by section; none of them names a program or a file.
const KEYS: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "abbrev",
            "autocrlf",
            "bigfilethreshold",
            "eol",
            "filemode",
            "ignorecase",
            "precomposeunicode",
            "protecthfs",
            "protectntfs",
            "quotepath",
            "safecrlf",
            "sparsecheckout",
            "sparsecheckoutcone",
            "symlinks",
            "trustctime",
            "whitespace",
        ],
    ),
    ("extensions", &["objectformat", "partialclone"]),
    ("user", &["name", "email"]),
    ("branch", &["remote", "merge", "rebase", "pushremote"]),
    ("remote", &["url", "pushurl", "fetch", "tagopt", "promisor", "partialclonefilter"]),
    ("index", &["sparse"]),
];

/// Returns the configuration for the private directory of a repository; `home` is the user's.
pub fn private(directory: &Utf8Path, common: &Utf8Path, home: &Utf8Path) -> String {
    let mut entries = identity(home);
    entries.extend(read(&common.join("config")));
    entries.extend(read(&directory.join("config.worktree")));
    let mut kept = vec![entry("core", "bare", "false"), entry("core", "logallrefupdates", "true")];
    kept.extend(entries.into_iter().filter_map(harmless));
    // Extensions are obeyed from format 1 on.
    let format = if kept.iter().any(|entry| entry.section == "extensions") { "1" } else { "0" };
    kept.insert(0, entry("core", "repositoryformatversion", format));
    render(&kept)
}

/// Returns the configuration for a submodule's directory; `tree` is where its files are inside.
pub fn submodule(directory: &Utf8Path, tree: Option<&Utf8Path>) -> String {
    let entries = read(&directory.join("config"));
    let format = |entry: &Entry| entry.section == "core" && entry.key == "repositoryformatversion";
    let kept =
        entries.into_iter().filter_map(|entry| if format(&entry) { Some(entry) } else { harmless(entry) });
    let tree = tree.map(|tree| entry("core", "worktree", tree.as_str()));
    render(&kept.chain(tree).collect::<Vec<_>>())
}

/// Returns the configuration for a bare repository of this object format.
pub fn bare(sha256: bool) -> String {
    let mut entries = vec![
        entry("core", "repositoryformatversion", if sha256 { "1" } else { "0" }),
        entry("core", "bare", "true"),
        // What an agent wrote about its own history is not believed.
        entry("core", "commitgraph", "false"),
        entry("core", "multipackindex", "false"),
        entry("core", "usereplacerefs", "false"),
        entry("pack", "usebitmaps", "false"),
    ];
    if sha256 {
        entries.push(entry("extensions", "objectformat", "sha256"));
    }
    render(&entries)
}

/// Returns what is added where hidden files are left out: they are not checked out, and what is seen in their place
/// says nothing about them. With `no_modules`, nested repositories are not looked into.
pub fn filtered(leaves_out: bool, no_modules: bool) -> String {
    let mut text = String::new();
    if leaves_out {
        text += &sparse();
        text += &render(&[entry("sparse", "expectfilesoutsideofpatterns", "true")]);
    }
    if no_modules {
        text += &render(&[entry("diff", "ignoresubmodules", "all")]);
    }
    text
}

/// Returns what makes git read `info/sparse-checkout`.
pub fn sparse() -> String {
    render(&[
        entry("core", "sparsecheckout", "true"),
        entry("core", "sparsecheckoutcone", "false"),
        entry("index", "sparse", "false"),
    ])
}

/// Says whether a repository has only a part of its files checked out.
pub fn is_sparse(directory: &Utf8Path, common: &Utf8Path) -> bool {
    let mut entries = read(&common.join("config"));
    entries.extend(read(&directory.join("config.worktree")));
    let of_core = |entry: &&Entry| entry.section == "core" && entry.key == "sparsecheckout";
    entries.iter().rfind(of_core).is_some_and(|entry| is_true(&entry.value))
}

/// Says whether ids of this repository are SHA-256.
pub fn is_sha256(common: &Utf8Path) -> bool {
    let of_format = |entry: &Entry| entry.section == "extensions" && entry.key == "objectformat";
    read(&common.join("config")).iter().any(|entry| of_format(entry) && entry.value == "sha256")
}

/// Says whether a repository has no working tree of its own.
pub fn is_bare(common: &Utf8Path) -> bool {
    let of_core = |entry: &&Entry| entry.section == "core" && entry.key == "bare";
    read(&common.join("config")).iter().rfind(of_core).is_some_and(|entry| is_true(&entry.value))
}

fn entry(section: &str, key: &str, value: &str) -> Entry {
    Entry { section: section.into(), subsection: None, key: key.into(), value: value.into() }
}

/// Returns the entries of a file of the repository's; none where it is missing or makes no sense.
fn read(path: &Utf8Path) -> Vec<Entry> {
    let text = read_without_links(path, MOST).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text)).unwrap_or_default()
}

/// Returns the name and address that the user's own commits have.
fn identity(home: &Utf8Path) -> Vec<Entry> {
    let files = [home.join(".config/git/config"), home.join(".gitconfig")];
    let text = files.map(|path| read_bounded(&path, MOST).unwrap_or_default());
    let entries = text.iter().filter_map(|text| parse(&String::from_utf8_lossy(text))).flatten();
    entries.filter(|entry| entry.section == "user" && entry.subsection.is_none()).collect()
}

fn harmless(mut entry: Entry) -> Option<Entry> {
    let (section, keys) = KEYS.iter().find(|(section, _)| *section == entry.section)?;
    let named = matches!(*section, "branch" | "remote");
    if named != entry.subsection.is_some() || !keys.contains(&entry.key.as_str()) {
        return None;
    }
    let printed = |text: &str| !text.chars().any(char::is_control);
    if !printed(&entry.value) || !entry.subsection.as_deref().is_none_or(printed) {
        return None;
    }
    if matches!(entry.key.as_str(), "url" | "pushurl") {
        entry.value = without_credentials(&entry.value)?;
    }
    Some(entry)
}

/// Returns a remote's address without passwords and tokens; `None` for those that name a helper program.
fn without_credentials(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // A path, or `user@host:path` of ssh. `helper::address` starts a program.
        return (!url.contains("::")).then(|| url.to_owned());
    };
    if !matches!(scheme, "http" | "https" | "ssh" | "git" | "file") {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        Some((user, host)) if scheme == "ssh" => {
            format!("{}@{host}", user.split(':').next().unwrap_or_default())
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_an_address() {
        let table = [
            ("https://me:token@example.com/x.git", Some("https://example.com/x.git")),
            ("https://ghp_x@example.com/x.git?private_token=1", Some("https://example.com/x.git")),
            ("https://a@b@example.com", Some("https://example.com")),
            ("ssh://git:pw@example.com:22/x", Some("ssh://git@example.com:22/x")),
            ("git@example.com:org/x.git", Some("git@example.com:org/x.git")),
            ("../x", Some("../x")),
            ("ext::sh -c touch%20x", None),
            ("helper://x", None),
        ];
        for (url, expected) in table {
            assert_eq!(without_credentials(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn nothing_that_runs_or_tells_is_kept() {
        let text = "[core]\n fsmonitor = x\n hooksPath = x\n filemode = false\n sshCommand = x\n worktree = /\n\
            [alias] st = !x\n[include] path = x\n[filter \"x\"] clean = x\n[http] extraHeader = x\n\
            [credential] helper = x\n[user] name = N\n signingKey = x\n[remote \"o\"] url = https://t@h/x\n uploadpack = x\n\
            [branch \"main\"] remote = o\n[gpg] program = x\n[diff] external = x\n[url \"x\"] insteadOf = y\n";
        let kept: Vec<Entry> = parse(text).unwrap().into_iter().filter_map(harmless).collect();
        let expected = "[core]\n\tfilemode = \"false\"\n[user]\n\tname = \"N\"\n[remote \"o\"]\n\t\
            url = \"https://h/x\"\n[branch \"main\"]\n\tremote = \"o\"\n";
        assert_eq!(render(&kept), expected);
    }
}
