//! What a new coordination repository begins with.

use jiff::Timestamp;

use super::domain::Write;
use super::id::time;
use super::scalar;

/// The documents that say how it is used, with their places; `rules upgrade` writes them anew.
pub const RULES: [(&str, &str); 4] = [
    ("AGENTS.md", include_str!("templates/AGENTS.md")),
    ("docs/SYNC_PROTOCOL.md", include_str!("templates/SYNC_PROTOCOL.md")),
    ("docs/ITEM_FORMAT.md", include_str!("templates/ITEM_FORMAT.md")),
    (".pi/skills/agent-coordination/SKILL.md", include_str!("templates/SKILL.md")),
];

/// Directories that are there from the beginning, empty.
const DIRECTORIES: [&str; 5] = ["agents", "decisions", "notes", "requirements", "todos"];
const ISSUES: [&str; 4] = ["blocked", "closed", "done", "open"];

/// Keeps an empty directory.
pub const KEEP: &str = ".gitkeep";

/// Returns everything that a new repository has. Issues are in a place of their repository where there is one.
pub fn files(project: &str, key: &str, repo: Option<(&str, Option<&str>)>, at: Timestamp) -> Vec<Write> {
    let write = |path: String, text: String| Write { path: path.into(), text: Some(text) };
    let mut all: Vec<Write> =
        RULES.iter().map(|(path, text)| write((*path).to_owned(), (*text).to_owned())).collect();
    let shown = project.replace('`', "'");
    all.push(write("README.md".into(), include_str!("templates/README.md").replace("{project}", &shown)));
    all.push(write("PROJECT.md".into(), document(project, key, at)));
    all.extend(DIRECTORIES.iter().map(|name| write(format!("{name}/{KEEP}"), String::new())));
    match repo {
        Some((repo, remote)) => all.extend(of_repo(repo, key, project, remote, at)),
        None => all.extend(ISSUES.iter().map(|state| write(format!("issues/{state}/{KEEP}"), String::new()))),
    }
    all
}

fn document(project: &str, key: &str, at: Timestamp) -> String {
    let (project_value, key, created) = (scalar::write(project), scalar::write(key), time(at));
    format!("---\nproject: {project_value}\nitem_key: {key}\ncreated: {created}\n---\n\n# {project}\n")
}

/// Returns what the place of one repository begins with.
pub fn of_repo(repo: &str, key: &str, project: &str, remote: Option<&str>, at: Timestamp) -> Vec<Write> {
    let now = time(at);
    let remotes = remote.map_or("[]".to_owned(), |remote| format!("\n  - {}", scalar::write(remote)));
    let space = if remotes.starts_with('\n') { "" } else { " " };
    let text = format!(
        "---\nrepo_id: {}\nstatus: active\nitem_key: {}\nproject: {}\ncreated: {now}\nupdated: {now}\naliases: []\n\
         remotes:{space}{remotes}\ndomain_generated_files: []\n---\n\n# {repo}\n",
        scalar::write(repo),
        scalar::write(key),
        scalar::write(project),
    );
    let write = |path: String, text: String| Write { path: path.into(), text: Some(text) };
    let mut all = vec![write(format!("repos/{repo}/REPO.md"), text)];
    all.extend(
        ISSUES.iter().map(|state| write(format!("repos/{repo}/issues/{state}/{KEEP}"), String::new())),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_valid_whatever_the_project_is_called() {
        for project in ["plain", "foo: bar", "yes", "it's", "a`b"] {
            let all =
                files(project, "KEY", Some(("repo", Some("git@example.com:a/b.git"))), Timestamp::UNIX_EPOCH);
            let text =
                |path: &str| all.iter().find(|write| write.path == path).unwrap().text.clone().unwrap();
            let front = text("PROJECT.md").split("---\n").nth(1).unwrap().to_owned();
            let read: std::collections::BTreeMap<String, serde_json::Value> =
                serde_saphyr::from_str(&front).unwrap();
            assert_eq!(read["project"], project);
            let front = text("repos/repo/REPO.md").split("---\n").nth(1).unwrap().to_owned();
            let read: std::collections::BTreeMap<String, serde_json::Value> =
                serde_saphyr::from_str(&front).unwrap();
            assert_eq!(read["remotes"][0], "git@example.com:a/b.git");
        }
        let plain = files("p", "P", None, Timestamp::UNIX_EPOCH);
        assert!(plain.iter().any(|write| write.path == "issues/open/.gitkeep"));
    }
}
