//! Where base URLs lead: out of variables, and out of settings files, which anybody may have written.

use std::net::IpAddr;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The deepest table of a settings file that is looked into.
const MOST_DEPTH: usize = 16;

/// The most URLs that are taken from one file.
const MOST_URLS: usize = 32;

/// Keys of settings files that hold base URLs.
pub const URL_KEYS: &[&str] = &[
    "api",
    "api_base",
    "api_url",
    "baseURL",
    "baseUrl",
    "base_url",
    "baseurl",
    "chatgpt_base_url",
    "openai_base_url",
    "url",
];

/// A variable that holds the key of a model service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub variable: &'static str,
    /// The only host that it is for,
    pub host: &'static str,
    /// unless this variable names another one.
    pub base_url: Option<&'static str>,
}

const fn key(variable: &'static str, host: &'static str, base_url: Option<&'static str>) -> Key {
    Key { variable, host, base_url }
}

/// Keys that are for one host.
pub const KEYS: &[Key] = &[
    key("ANTHROPIC_API_KEY", "api.anthropic.com", Some("ANTHROPIC_BASE_URL")),
    key("ANTHROPIC_AUTH_TOKEN", "api.anthropic.com", Some("ANTHROPIC_BASE_URL")),
    key("CEREBRAS_API_KEY", "api.cerebras.ai", None),
    key("CLAUDE_CODE_OAUTH_TOKEN", "api.anthropic.com", Some("ANTHROPIC_BASE_URL")),
    key("DEEPSEEK_API_KEY", "api.deepseek.com", None),
    key("GEMINI_API_KEY", "generativelanguage.googleapis.com", Some("GOOGLE_GEMINI_BASE_URL")),
    key("GROQ_API_KEY", "api.groq.com", None),
    key("MISTRAL_API_KEY", "api.mistral.ai", None),
    key("OPENAI_API_KEY", "api.openai.com", Some("OPENAI_BASE_URL")),
    key("OPENROUTER_API_KEY", "openrouter.ai", None),
    key("XAI_API_KEY", "api.x.ai", None),
];

/// How the name of a model begins, before a `/`, and where its provider answers.
pub const PROVIDERS: &[(&str, &str)] = &[
    ("anthropic", "api.anthropic.com"),
    ("cerebras", "api.cerebras.ai"),
    ("deepseek", "api.deepseek.com"),
    ("gemini", "generativelanguage.googleapis.com"),
    ("google", "generativelanguage.googleapis.com"),
    ("groq", "api.groq.com"),
    ("mistral", "api.mistral.ai"),
    ("openai", "api.openai.com"),
    ("opencode", "opencode.ai"),
    ("openrouter", "openrouter.ai"),
    ("xai", "api.x.ai"),
];

/// Returns where the provider of a model, `provider/name`, answers.
pub fn of_model(model: Option<&str>) -> Option<&'static str> {
    of_provider(model?.split_once('/')?.0)
}

/// Returns where a provider answers.
pub fn of_provider(provider: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(known, _)| *known == provider).map(|(_, host)| *host)
}

/// A file of the host that an import copies, and what in it holds base URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As in [`super::Copy::to`].
    pub file: &'static str,
    pub keys: &'static [&'static str],
}

/// A host and a port. Nothing else of a URL is kept: it can hold a password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

/// A service, and the key that leads to it: `model_providers.x.base_url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub key: String,
    pub service: Service,
}

impl Service {
    /// Takes a URL of the web; `None` for any other text.
    pub fn of_url(text: &str) -> Option<Self> {
        let url: hyper::Uri = text.trim().parse().ok()?;
        let usual = match url.scheme_str()? {
            "https" | "wss" => 443,
            "http" | "ws" => 80,
            _ => return None,
        };
        let said = url.host()?;
        // Not `Uri::port`: for it a port out of range is none.
        let place = url.authority()?.as_str().rsplit('@').next()?;
        let port = match place.strip_prefix(said)? {
            "" => usual,
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let host = said.trim_end_matches('.').to_ascii_lowercase();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        (!host.is_empty()).then(|| Service { host: host.to_owned(), port })
    }

    /// Returns the address where the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Says whether a URL asks for TLS.
pub fn uses_tls(url: &str) -> bool {
    let url = url.trim().parse::<hyper::Uri>();
    url.is_ok_and(|url| matches!(url.scheme_str(), Some("https" | "wss")))
}

/// Returns the services that a settings file names below `settings.keys`.
///
/// # Errors
/// Why nothing is taken from it; the sentence shows nothing of the file, which may hold keys.
pub fn named(settings: &Settings, text: &str) -> Result<Vec<Named>, String> {
    let tree: Value = if Utf8Path::new(settings.file).extension() == Some("toml") {
        toml::from_str(text).map_err(|_| "it is not TOML".to_owned())?
    } else {
        serde_json::from_str(text)
            .map_err(|_| "it is not JSON, in which comments have no place".to_owned())?
    };
    let mut found = Vec::new();
    collect(&tree, "", MOST_DEPTH, settings.keys, &mut found);
    if found.len() > MOST_URLS {
        return Err(format!("it names more than {MOST_URLS} URLs"));
    }
    Ok(found)
}

fn collect(tree: &Value, path: &str, depth: usize, keys: &[&str], found: &mut Vec<Named>) {
    if depth == 0 || found.len() > MOST_URLS {
        return;
    }
    match tree {
        Value::Object(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => {
                        found.extend(Service::of_url(text).map(|service| Named { key: path, service }));
                    }
                    inner => collect(inner, &path, depth - 1, keys, found),
                }
            }
        }
        Value::Array(list) => {
            for inner in list {
                collect(inner, path, depth - 1, keys, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: Settings = Settings { file: ".x/config.toml", keys: URL_KEYS };
    const JSON: Settings = Settings { file: ".x/settings.json", keys: URL_KEYS };

    #[test]
    fn a_url_is_a_host_and_a_port() {
        for (url, expected) in [
            ("https://api.example.com", Some(("api.example.com", 443))),
            (" http://API.Example.com./v1 ", Some(("api.example.com", 80))),
            ("https://me:pass@host.test:8443/v1?x=1", Some(("host.test", 8443))),
            ("wss://[2606:4700::1]/", Some(("2606:4700::1", 443))),
            ("http://127.0.0.1:11434/v1", Some(("127.0.0.1", 11434))),
            ("https://host.test:0/", None),
            ("https://host.test:99999/", None),
            ("unix:///run/x", None),
            ("{env:BASE}", None),
            ("openai-completions", None),
            ("https://", None),
            ("https://a b/", None),
            ("", None),
        ] {
            let expected = expected.map(|(host, port)| Service { host: host.to_owned(), port });
            assert_eq!(Service::of_url(url), expected, "{url}");
        }
    }

    #[test]
    fn keys_are_found_at_any_depth_and_nothing_else_is() {
        let text = "model = \"https://not.test\"\n[model_providers.x]\nbase_url = \"https://one.test/v1\"\n\
            [[list]]\nurl = \"http://two.test:8080\"\nwhen = 2026-01-01\n";
        let found = |settings: &Settings, text: &str| -> Vec<(String, String, u16)> {
            let named = named(settings, text).unwrap();
            named.into_iter().map(|Named { key, service }| (key, service.host, service.port)).collect()
        };
        assert_eq!(
            found(&TOML, text),
            [
                ("list.url".to_owned(), "two.test".to_owned(), 8080),
                ("model_providers.x.base_url".to_owned(), "one.test".to_owned(), 443)
            ]
        );
        let text = r#"{"a":[{"api":"https://three.test"}],"api":"openai","urls":["https://no.test"]}"#;
        assert_eq!(found(&JSON, text), [("a.api".to_owned(), "three.test".to_owned(), 443)]);
    }

    #[test]
    fn a_hostile_file_is_an_answer_and_no_crash() {
        assert!(named(&TOML, "a = [[[").is_err() && named(&JSON, "// no\n{}").is_err());
        assert!(
            named(&JSON, &"[".repeat(100_000)).is_err()
                && named(&TOML, &format!("a = {}", "[".repeat(100_000))).is_err()
        );
        let deep = |levels: usize| {
            format!("{}{{\"url\":\"https://deep.test\"}}{}", "[".repeat(levels), "]".repeat(levels))
        };
        assert_eq!(named(&JSON, &deep(MOST_DEPTH - 1)).unwrap().len(), 1);
        assert_eq!(named(&JSON, &deep(MOST_DEPTH)).unwrap(), []);
        let many = |count: usize| {
            let urls: Vec<String> =
                (0..count).map(|number| format!("{{\"url\":\"https://h{number}.test\"}}")).collect();
            format!("[{}]", urls.join(","))
        };
        assert_eq!(named(&JSON, &many(MOST_URLS)).unwrap().len(), MOST_URLS);
        assert!(named(&JSON, &many(MOST_URLS + 1)).is_err());
        // What it says never shows the file.
        assert!(!named(&JSON, "{\"key\": sk-secret").unwrap_err().contains("sk-"));
    }
}
