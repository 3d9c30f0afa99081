//! Settings of an agent by name: `settings reasoning_effort="high"` in its block, checked before anything starts.
//!
//! Each agent has one table. A value becomes words of the command, one argument each and never a line for a shell, or a
//! variable.

use std::collections::BTreeMap;

use kdl::KdlValue;
use serde_json::Value;

use super::{ALL, Agent};
use crate::config::values::Type;
use crate::config::{Origin, Sourced};

/// A whole number of something.
pub const COUNT: Type = Type::Integer { min: 1, max: 4_294_967_295 };

/// The same, or none of it.
pub const COUNT_OR_NONE: Type = Type::Integer { min: 0, max: 4_294_967_295 };

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Tunable {
    /// As it stands in `pier.kdl`.
    pub name: &'static str,
    /// A string, a number or a boolean: no other types.
    pub kind: Type,
    pub way: Way,
    pub doc: &'static str,
}

/// How the agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `FLAG=VALUE`, in one word.
    Flag(&'static str),
    /// `FLAG VALUE`, in two words.
    Word(&'static str),
    /// `FLAG` alone where the value is true; nothing where it is false.
    Switch(&'static str),
    /// The one where the value is true, the other where it is false.
    Either(&'static str, &'static str),
    /// `FLAG KEY=VALUE`, with the value as JSON, which is TOML as well for what can stand here.
    Pair(&'static str, &'static str),
    /// `FLAG KEY=VALUE`, with the value as it is.
    Plain(&'static str, &'static str),
    Variable(&'static str),
    /// A value in the JSON object of a variable, below these keys.
    Entry(&'static str, &'static [&'static str]),
}

/// What the settings of one start come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuned {
    /// They stand before the arguments of `pier.kdl`, which win where an agent takes the last of two.
    pub arguments: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
}

/// A setting that the agent does not have, or a value that it does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub origin: Origin,
    pub message: String,
    pub help: String,
}

/// Returns what the settings come to, and each that is refused.
pub fn tuned(agent: &dyn Agent, given: &BTreeMap<String, Sourced<KdlValue>>) -> (Tuned, Vec<Refused>) {
    let (mut tuned, mut refused) = (Tuned::default(), Vec::new());
    let mut objects: BTreeMap<&'static str, Value> = BTreeMap::new();
    let table = agent.tunables();
    for (name, Sourced { value, origin }) in given {
        let refuse = |message, help| Refused { origin: origin.clone(), message, help };
        let Some(setting) = table.iter().find(|setting| setting.name == name) else {
            let message = format!("the agent `{}` has no setting `{name}`", agent.name());
            refused.push(refuse(message, known(table, name)));
            continue;
        };
        if !setting.kind.accepts(value) {
            let message =
                format!("`{name}` of `{}` must be {}", agent.name(), setting.kind.instead_of(value));
            refused.push(refuse(message, setting.doc.to_owned()));
            continue;
        }
        match setting.way {
            Way::Flag(flag) => tuned.arguments.push(format!("{flag}={}", plain(value))),
            Way::Word(flag) => tuned.arguments.extend([flag.to_owned(), plain(value)]),
            Way::Switch(flag) if *value == KdlValue::Bool(true) => tuned.arguments.push(flag.to_owned()),
            Way::Switch(_) => {}
            Way::Either(yes, no) => {
                let flag = if *value == KdlValue::Bool(true) { yes } else { no };
                tuned.arguments.push(flag.to_owned());
            }
            Way::Pair(flag, key) => {
                let words = [flag.to_owned(), format!("{key}={}", json(value))];
                tuned.arguments.extend(words);
            }
            Way::Plain(flag, key) => {
                let words = [flag.to_owned(), format!("{key}={}", plain(value))];
                tuned.arguments.extend(words);
            }
            Way::Variable(variable) => tuned.variables.push((variable, plain(value))),
            Way::Entry(variable, keys) => {
                let object = objects.entry(variable).or_default();
                *keys.iter().fold(object, |inner, key| &mut inner[*key]) = entry(value);
            }
        }
    }
    tuned.variables.extend(objects.into_iter().map(|(variable, object)| (variable, object.to_string())));
    (tuned, refused)
}

/// Says which settings there are, the one first that is spelled most alike.
fn known(table: &[Tunable], name: &str) -> String {
    if table.is_empty() {
        return "it has none that pier knows; `args` adds words to its command".to_owned();
    }
    let score = |setting: &Tunable| strsim::jaro_winkler(setting.name, name);
    let nearest = table.iter().max_by(|one, other| score(one).total_cmp(&score(other)));
    if let Some(setting) = nearest.filter(|setting| score(setting) > 0.75) {
        return format!("did you mean `{}`?", setting.name);
    }
    let names: Vec<String> = table.iter().map(|setting| format!("`{}`", setting.name)).collect();
    format!("known: {}", names.join(", "))
}

fn plain(value: &KdlValue) -> String {
    match value {
        KdlValue::String(text) => text.clone(),
        KdlValue::Integer(number) => number.to_string(),
        KdlValue::Float(number) => number.to_string(),
        KdlValue::Bool(is_true) => is_true.to_string(),
        KdlValue::Null => String::new(),
    }
}

fn json(value: &KdlValue) -> String {
    match value {
        KdlValue::String(text) => Value::from(text.as_str()).to_string(),
        _ => plain(value),
    }
}

fn entry(value: &KdlValue) -> Value {
    match value {
        KdlValue::String(text) => text.as_str().into(),
        KdlValue::Integer(number) => i64::try_from(*number).map_or(Value::Null, Value::from),
        KdlValue::Float(number) => (*number).into(),
        KdlValue::Bool(is_true) => (*is_true).into(),
        KdlValue::Null => Value::Null,
    }
}

/// Returns every agent's settings as lines of text.
pub fn text() -> String {
    let mut out = String::from("\nsettings of agents\n");
    for agent in ALL {
        for setting in agent.tunables() {
            let name = format!("{} {}=", agent.name(), setting.name);
            out.push_str(&format!("  {name:<42}  {} ({})\n", setting.doc, setting.kind.expected()));
        }
    }
    out
}

/// Returns every agent's settings as tables.
pub fn markdown() -> String {
    let mut out =
        String::from("\n## Settings of agents\n\nWhat `settings` in the block of an agent may name.\n");
    for agent in ALL.iter().filter(|agent| !agent.tunables().is_empty()) {
        let head = "| setting | must be | meaning |\n|---|---|---|\n";
        out.push_str(&format!("\n### `{}`\n\n{head}", agent.name()));
        for setting in agent.tunables() {
            out.push_str(&format!(
                "| `{}` | {} | {} |\n",
                setting.name,
                setting.kind.expected(),
                setting.doc
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, Request, find};
    use super::*;

    fn given(settings: &[(&str, KdlValue)]) -> BTreeMap<String, Sourced<KdlValue>> {
        let sourced = |value: &KdlValue| Sourced { value: value.clone(), origin: Origin::BUILT_IN };
        settings.iter().map(|(name, value)| ((*name).to_owned(), sourced(value))).collect()
    }

    fn text(text: &str) -> KdlValue {
        KdlValue::String(text.to_owned())
    }

    #[test]
    fn values_become_words_and_variables_and_never_a_line_for_a_shell() {
        let claude = find("claude-code").unwrap();
        let settings = given(&[
            ("max_turns", KdlValue::Integer(40)),
            ("fallback_model", text("a; rm -rf / \"$HOME\"")),
            ("max_thinking_tokens", KdlValue::Integer(1024)),
            ("reasoning_effort", text("max")),
        ]);
        let (told, refused) = tuned(claude, &settings);
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(
            told.arguments,
            ["--fallback-model=a; rm -rf / \"$HOME\"", "--max-turns=40", "--effort=max"]
        );
        assert_eq!(told.variables, [("MAX_THINKING_TOKENS", "1024".to_owned())]);
        let (told, _) = tuned(find("codex").unwrap(), &given(&[("reasoning_summary", text("none"))]));
        assert_eq!(told.arguments, ["-c", "model_reasoning_summary=\"none\""]);
        let architect = |is: bool| {
            tuned(find("aider").unwrap(), &given(&[("architect", KdlValue::Bool(is))])).0.arguments
        };
        assert_eq!((architect(true), architect(false)), (vec!["--architect".to_owned()], Vec::new()));
    }

    /// An agent, its settings, and what they come to: words and variables.
    type Told<'a> = (&'a str, &'a [(&'a str, KdlValue)], &'a [&'a str], &'a [(&'a str, &'a str)]);

    #[test]
    fn each_agent_is_told_in_its_own_words() {
        let number = KdlValue::Integer;
        let share = KdlValue::Float;
        let table: &[Told<'_>] = &[
            ("gemini-cli", &[("approval_mode", text("plan"))], &["--approval-mode=plan"], &[]),
            (
                "qwen-coder",
                &[
                    ("append_system_prompt", text("be brief")),
                    ("approval_mode", text("auto-edit")),
                    ("disallowed_tools", text("edit,web_fetch")),
                    ("max_output_tokens", number(777)),
                    ("max_tool_concurrency", number(2)),
                    ("max_turns", number(3)),
                    ("system_prompt", text("you are")),
                ],
                &[
                    "--append-system-prompt=be brief",
                    "--approval-mode=auto-edit",
                    "--exclude-tools=edit,web_fetch",
                    "--max-session-turns=3",
                    "--system-prompt=you are",
                ],
                &[("QWEN_CODE_MAX_OUTPUT_TOKENS", "777"), ("QWEN_CODE_MAX_TOOL_CONCURRENCY", "2")],
            ),
            (
                "opencode",
                &[
                    ("max_steps", number(2)),
                    ("reasoning_effort", text("high")),
                    ("temperature", share(0.25)),
                    ("top_p", number(1)),
                    ("variant", text("max")),
                ],
                &["--variant=max"],
                &[(
                    "OPENCODE_CONFIG_CONTENT",
                    r#"{"agent":{"build":{"steps":2,"reasoningEffort":"high","temperature":0.25,"top_p":1}}}"#,
                )],
            ),
            (
                "hermes",
                &[
                    ("max_output_tokens", number(777)),
                    ("max_turns", number(2)),
                    ("skills", text("a,b")),
                    ("toolsets", text("terminal")),
                ],
                &["--max-turns=2", "--skills=a,b", "--toolsets=terminal"],
                &[("HERMES_MAX_TOKENS", "777")],
            ),
            (
                "cline",
                &[
                    ("compaction", text("off")),
                    ("max_mistakes", number(3)),
                    ("plan", KdlValue::Bool(true)),
                    ("reasoning_effort", text("high")),
                    ("system_prompt", text("you are")),
                    ("timeout_sec", number(50)),
                ],
                &[
                    "--compaction=off",
                    "--retries=3",
                    "--plan",
                    "--thinking=high",
                    "--system=you are",
                    "--timeout=50",
                ],
                &[],
            ),
            (
                "copilot-cli",
                &[
                    ("allowed_tools", text("bash,view")),
                    ("context", text("long_context")),
                    ("disallowed_tools", text("task")),
                    ("max_credits", number(30)),
                    ("max_output_tokens", number(777)),
                    ("max_prompt_tokens", number(50_000)),
                    ("no_custom_instructions", KdlValue::Bool(true)),
                    ("reasoning_effort", text("max")),
                ],
                &[
                    "--available-tools=bash,view",
                    "--context=long_context",
                    "--excluded-tools=task",
                    "--max-ai-credits=30",
                    "--no-custom-instructions",
                    "--reasoning-effort=max",
                ],
                &[
                    ("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", "777"),
                    ("COPILOT_PROVIDER_MAX_PROMPT_TOKENS", "50000"),
                ],
            ),
            (
                "kimi-cli",
                &[
                    ("max_context_size", number(90_000)),
                    ("max_output_tokens", number(777)),
                    ("max_retries", number(1)),
                    ("max_steps", number(3)),
                    ("temperature", number(0)),
                    ("thinking", KdlValue::Bool(false)),
                    ("top_p", share(0.5)),
                ],
                &["--max-retries-per-step=1", "--max-steps-per-turn=3", "--no-thinking"],
                &[
                    ("KIMI_MODEL_MAX_CONTEXT_SIZE", "90000"),
                    ("KIMI_MODEL_MAX_COMPLETION_TOKENS", "777"),
                    ("KIMI_MODEL_TEMPERATURE", "0"),
                    ("KIMI_MODEL_TOP_P", "0.5"),
                ],
            ),
        ];
        for (name, settings, words, variables) in table {
            let agent = find(name).unwrap();
            let (told, refused) = tuned(agent, &given(settings));
            assert!(refused.is_empty(), "{refused:?}");
            let said: Vec<(&str, &str)> =
                told.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(
                (told.arguments.as_slice(), said.as_slice()),
                (&strings(words)[..], *variables),
                "{name}"
            );
            // All that it has is here.
            assert_eq!(settings.len(), agent.tunables().len(), "{name}");
            let prompt = Mode::Headless { prompt: Some("go") };
            let line = agent.command(&Request { mode: prompt, args: &told.arguments, ..Request::default() });
            let at = line.iter().position(|word| *word == told.arguments[0]).unwrap();
            assert_eq!(line[at..at + words.len()], told.arguments[..], "{name}");
        }
        let (told, _) = tuned(find("kimi-cli").unwrap(), &given(&[("thinking", KdlValue::Bool(true))]));
        assert_eq!(told.arguments, ["--thinking"]);
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_an_agent_does_not_know_is_refused_with_the_nearest_name() {
        let claude = find("claude-code").unwrap();
        let bad = [
            ("max_turn", KdlValue::Integer(1), "no setting `max_turn`", "did you mean `max_turns`?"),
            ("zzz", KdlValue::Integer(1), "no setting `zzz`", "known: `"),
            ("max_turns", text("many"), "must be a whole number from 1", "turns"),
            ("max_turns", KdlValue::Integer(0), "must be a whole number from 1", "turns"),
            ("append_system_prompt", text("a\0b"), "must be a string without the character `\\u{0}`", ""),
            ("reasoning_effort", text("extreme"), "one of `low`, `medium`", ""),
        ];
        for (name, value, message, help) in bad {
            let (told, refused) = tuned(claude, &given(&[(name, value)]));
            assert_eq!(told, Tuned::default());
            let [refused] = &refused[..] else { panic!("{name}: {refused:?}") };
            assert!(refused.message.contains(message) && refused.help.contains(help), "{refused:?}");
        }
        let (_, refused) = tuned(find("cursor-cli").unwrap(), &given(&[("max_turns", text("1"))]));
        assert_eq!(refused[0].help, "known: `mode`");
    }

    #[test]
    fn each_table_is_in_order_and_of_plain_types() {
        for agent in ALL {
            let names: Vec<&str> = agent.tunables().iter().map(|setting| setting.name).collect();
            assert!(names.is_sorted(), "{}: {names:?}", agent.name());
            for setting in agent.tunables() {
                let is_plain = match setting.kind {
                    Type::Text | Type::Integer { .. } | Type::Amount | Type::UpTo(_) | Type::OneOf(_) => {
                        !matches!(setting.way, Way::Switch(_) | Way::Either(..))
                    }
                    Type::Bool => true,
                    _ => false,
                };
                assert!(is_plain && setting.doc.ends_with('.'), "{}: {}", agent.name(), setting.name);
                // A variable that pier sets is one that the agent reads, and not one that it must not have.
                if let Way::Variable(variable) | Way::Entry(variable, _) = setting.way {
                    assert!(!agent.refuses().contains(&variable), "{variable}");
                }
            }
        }
    }
}
