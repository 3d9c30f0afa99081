//! What a repository may do with what the user lends every project, or by an older name this one: keys, logins, a network.
//!
//! Alone, a program that a repository names has nothing to give away. With the user's own key beside it, it is a grant
//! which program that is, and by what it is steered.

use super::quoted;
use crate::config::{Config, NetworkMode, Origin};

/// Says whether anything beyond the baseline is the user's own word.
fn lends(config: &Config) -> bool {
    let is_users = |origin: &Origin| !origin.is_of_repository();
    let network = &config.network.mode;
    (network.value != NetworkMode::None && is_users(&network.origin))
        || config.env.pass.iter().any(|name| is_users(&name.origin))
        || config.env.secrets.iter().any(|secret| is_users(&secret.origin))
        || config.env.files.iter().any(|file| is_users(&file.origin))
        || config.mounts.iter().any(|mount| is_users(&mount.origin))
        || config.agents.iter().flat_map(|agent| &agent.imports).any(|import| is_users(&import.origin))
}

/// Calls `grant` for each line that may be of a repository, with what it means.
pub fn lent(config: &Config, grant: &mut dyn FnMut(&Origin, String)) {
    if !lends(config) {
        return;
    }
    let line = |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    for agent in &config.agents {
        let name = &agent.name.value;
        if let Some(run) = &agent.run {
            grant(&run.origin, format!("run {} as {name}", line(&run.value)));
        }
        if let Some(args) = &agent.args {
            grant(&args.origin, format!("call {name} with {}", line(&args.value)));
        }
        for (setting, value) in &agent.settings {
            let said = quoted(&value.value.to_string());
            grant(&value.origin, format!("set `{}` of {name} to {said}", setting.escape_default()));
        }
        for server in &agent.mcp {
            let words = [std::slice::from_ref(&server.value.command), &server.value.args].concat();
            grant(&server.origin, format!("have {name} run {}", line(&words)));
        }
    }
    for (name, value) in &config.env.set {
        grant(&value.origin, format!("set `{name}` to {}", quoted(&value.value)));
    }
    for file in &config.env.files {
        grant(&file.origin, format!("set the variables in {}", quoted(&file.value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;
    use crate::config::layers::{Inputs, load};
    use crate::config::overlay::Overlay;

    const FILE: &str =
        "agent pi { run \"bash\" \"x.sh\"; args \"--a\"; mcp \"m\" command=\"sh\"; }\nenv { set A=\"1\"; }";

    fn texts(own: &str) -> Vec<String> {
        let beneath = vec![Overlay::new("own", Layer::BuiltIn, own)];
        let inputs = Inputs { project: Some("/p/pier.kdl".into()), beneath, ..Inputs::default() };
        let loaded = load(&inputs, &|_| Ok(Some(FILE.as_bytes().to_vec()))).unwrap();
        let mut texts = Vec::new();
        lent(&loaded.config, &mut |origin, text| {
            if origin.is_of_repository() {
                texts.push(text);
            }
        });
        texts
    }

    #[test]
    fn what_steers_a_program_is_a_grant_where_the_user_lends_something() {
        assert!(texts("limits { pids 99; }").is_empty());
        for own in
            ["network host", "env { pass KEY; }", "agent pi { import auth; }", "mounts { ro \"/opt\"; }"]
        {
            assert_eq!(
                texts(own),
                ["run `bash` `x.sh` as pi", "call pi with `--a`", "have pi run `sh`", "set `A` to `1`"],
                "{own}"
            );
        }
    }
}
