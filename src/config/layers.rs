//! Reads every layer, lowest first, and merges them into one configuration with all findings in one report.
//!
//! Nothing here touches the file system: the caller's reader does, and each file's bytes are read once, so that
//! what was approved, hashed and applied is the same text.

use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use kdl::{KdlDocument, KdlNode};
use sha2::{Digest as _, Sha256};

use super::built_in::built_in;
use super::check::{arguments, check, name_range, value_range};
use super::conflicts::conflicts;
use super::overlay::{Only, Overlay};
use super::schema::{Node, ROOT, Since};
use super::{Config, Layer, codes, decode, syntax};
use crate::diag::{Problem, Report, SourceId, Sources, Span};
use crate::util::text::{escape, nearest};

/// Files that one load may include.
const MAX_INCLUDES: usize = 16;

/// Returns the bytes of a file, `None` where there is none. It decides about symbolic links.
pub type Reader<'a> = &'a dyn Fn(&Utf8Path) -> io::Result<Option<Vec<u8>>>;

/// Where the layers are; a file that is not there is an empty layer.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub policy: Option<Utf8PathBuf>,
    pub user: Option<Utf8PathBuf>,
    pub project: Option<Utf8PathBuf>,
    pub local: Option<Utf8PathBuf>,
    pub profile: Option<String>,
    /// Beneath every file: what holds where none says otherwise.
    pub beneath: Vec<Overlay>,
    /// In the order in which they apply: the environment before flags.
    pub overlays: Vec<Overlay>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub path: Utf8PathBuf,
    pub layer: Layer,
    pub sha256: String,
}

/// A setting that is understood and cannot be carried out yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Such as `network.upstream`.
    pub path: String,
    pub span: Span,
}

/// The merged configuration and what it was made of.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The policy alone: nothing may exceed it.
    pub ceiling: Option<Config>,
    pub sources: Sources,
    pub inputs: Vec<Input>,
    pub unavailable: Vec<Unavailable>,
    /// Every document in the order in which they apply.
    pub documents: Vec<(SourceId, Layer)>,
    /// Names of overlays that do not apply, and why.
    pub left_out: Vec<(String, String)>,
}

/// Loads all layers.
///
/// # Errors
/// Every finding in every layer.
pub fn load(inputs: &Inputs, reader: Reader<'_>) -> Result<Loaded, Report> {
    let mut loader = Loader {
        reader,
        sources: Sources::default(),
        inputs: Vec::new(),
        problems: Vec::new(),
        documents: Vec::new(),
        includes: 0,
    };
    for overlay in &inputs.beneath {
        let source = loader.sources.add(overlay.name.clone(), overlay.text.as_str());
        loader.document(source, &overlay.text, overlay.layer, Only::Always);
    }
    let files = [
        (&inputs.policy, Layer::Policy),
        (&inputs.user, Layer::User),
        (&inputs.project, Layer::Project),
        (&inputs.local, Layer::Local),
    ];
    for (path, layer) in files {
        if let Some(path) = path {
            let bounds = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
            loader.file(path, layer, &bounds, &mut vec![], None);
        }
    }
    for overlay in &inputs.overlays {
        let source = loader.sources.add(overlay.name.clone(), overlay.text.as_str());
        loader.document(source, &overlay.text, overlay.layer, overlay.only);
    }
    loader.merge(inputs.profile.as_deref())
}

struct Document {
    source: SourceId,
    layer: Layer,
    nodes: KdlDocument,
    only: Only,
}

struct Loader<'a> {
    reader: Reader<'a>,
    sources: Sources,
    inputs: Vec<Input>,
    problems: Vec<Problem>,
    documents: Vec<Document>,
    includes: usize,
}

impl Loader<'_> {
    /// Reads a file and, before it, what it includes. `chain` is the files that led here, `asked` the `include`.
    fn file(
        &mut self,
        path: &Utf8Path,
        layer: Layer,
        bounds: &Utf8Path,
        chain: &mut Vec<Utf8PathBuf>,
        asked: Option<Span>,
    ) {
        let bytes = match (self.reader)(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                if let Some(span) = asked {
                    let message = format!("there is no file `{}`", escape(path.as_str()));
                    self.problems.push(Problem::new(codes::INCLUDE, span, "included here", message));
                }
                return;
            }
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", escape(path.as_str()));
                // The reader has a bound of its own, so that a huge file is never in memory.
                let too_large = error.kind() == io::ErrorKind::FileTooLarge;
                let code = if too_large { codes::TOO_LARGE } else { codes::UNREADABLE };
                self.problems.push(match asked {
                    Some(span) => Problem::new(code, span, "included here", message),
                    None => Problem::nowhere(code, message),
                });
                return;
            }
        };
        let sha256 = hex(&Sha256::digest(&bytes));
        self.inputs.push(Input { path: path.to_owned(), layer, sha256 });
        let source = self.sources.reserve();
        let text = match syntax::read(source, bytes) {
            Ok(text) => text,
            Err((text, problem)) => {
                self.sources.fill(source, path.as_str(), text);
                let mut problem = problem;
                if problem.at.is_none() {
                    problem.message = format!("`{}`: {}", escape(path.as_str()), problem.message);
                }
                return self.problems.push(problem);
            }
        };
        self.sources.fill(source, path.as_str(), text.as_str());
        let Some(nodes) = self.parsed(source, &text) else { return };
        chain.push(path.to_owned());
        for node in nodes.nodes().iter().filter(|node| node.name().value() == "include") {
            self.include(node, source, layer, bounds, chain);
        }
        chain.pop();
        self.documents.push(Document { source, layer, nodes, only: Only::Always });
    }

    fn include(
        &mut self,
        node: &KdlNode,
        source: SourceId,
        layer: Layer,
        bounds: &Utf8Path,
        chain: &mut Vec<Utf8PathBuf>,
    ) {
        let Some(entry) = arguments(node).next() else { return };
        let Some(wanted) = entry.value().as_string() else { return };
        let span = Span { source, range: value_range(entry) };
        let base = chain.last().and_then(|path| path.parent()).unwrap_or(bounds);
        let Some(path) = below(bounds, base, wanted) else {
            let message = format!("`{}` is not below `{}`", escape(wanted), escape(bounds.as_str()));
            let problem = Problem::new(codes::INCLUDE, span, "outside", message);
            return self.problems.push(problem.help("include only files beside or below this one"));
        };
        if chain.contains(&path) {
            let mut names: Vec<String> = chain.iter().map(|path| escape(path.as_str())).collect();
            names.push(escape(path.as_str()));
            let message = format!("a file includes itself: {}", names.join(" -> "));
            return self.problems.push(Problem::new(codes::INCLUDE, span, "closes the circle", message));
        }
        // A file that two others include is applied once; its lists would double otherwise.
        if self.inputs.iter().any(|input| input.path == path && input.layer == layer) {
            return;
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            if self.includes == MAX_INCLUDES + 1 {
                let message = format!("more than {MAX_INCLUDES} files are included");
                self.problems.push(Problem::new(codes::INCLUDE, span, "one too many", message));
            }
            return;
        }
        self.file(&path, layer, bounds, chain, Some(span));
    }

    fn parsed(&mut self, source: SourceId, text: &str) -> Option<KdlDocument> {
        match syntax::parse(source, text) {
            Ok(nodes) => {
                self.problems.extend(check(source, &nodes, ROOT, "a configuration"));
                Some(nodes)
            }
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn document(&mut self, source: SourceId, text: &str, layer: Layer, only: Only) {
        if let Some(nodes) = self.parsed(source, text) {
            self.documents.push(Document { source, layer, nodes, only });
        }
    }

    fn merge(mut self, profile: Option<&str>) -> Result<Loaded, Report> {
        let documents = std::mem::take(&mut self.documents);
        let mut config = built_in();
        let mut ceiling = None;
        let mut unavailable = Vec::new();
        let (files, overlays): (Vec<_>, Vec<_>) =
            documents.iter().partition(|document| document.layer < Layer::Profile);
        for document in &files {
            if document.layer == Layer::Policy {
                self.problems.extend(profiles(document).map(|(node, source)| policy_profile(node, source)));
                let ceiling = ceiling.get_or_insert_with(built_in);
                decode::apply(ceiling, &document.nodes, document.source, Layer::Policy);
            }
            decode::apply(&mut config, &document.nodes, document.source, document.layer);
            later(&document.nodes, ROOT, document.source, "", &mut unavailable);
        }
        if let Some(profile) = profile {
            let found: Vec<(&KdlNode, SourceId)> = files
                .iter()
                .filter(|file| file.layer != Layer::Policy)
                .flat_map(|file| profiles(file))
                .collect();
            let mut chosen = found.iter().filter(|(node, _)| profile_name(node) == Some(profile)).peekable();
            if chosen.peek().is_none() {
                self.problems.push(unknown_profile(profile, &found));
            }
            for (node, source) in chosen {
                if let Some(nodes) = node.children() {
                    decode::apply(&mut config, nodes, *source, Layer::Profile);
                    later(nodes, ROOT, *source, "", &mut unavailable);
                }
            }
        }
        let mut left_out = Vec::new();
        for document in &overlays {
            if !document.only.holds(&config) {
                left_out.push((self.sources.get(document.source).name.clone(), document.only.reason()));
                continue;
            }
            decode::apply(&mut config, &document.nodes, document.source, document.layer);
            later(&document.nodes, ROOT, document.source, "", &mut unavailable);
        }
        self.problems.extend(conflicts(&config));
        if self.problems.is_empty() {
            let documents = documents.iter().map(|document| (document.source, document.layer)).collect();
            let Loader { sources, inputs, .. } = self;
            return Ok(Loaded { config, ceiling, sources, inputs, unavailable, documents, left_out });
        }
        Err(Report { sources: self.sources, problems: self.problems })
    }
}

/// Writes bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn profiles(document: &Document) -> impl Iterator<Item = (&KdlNode, SourceId)> {
    let named = document.nodes.nodes().iter().filter(|node| node.name().value() == "profile");
    named.map(|node| (node, document.source))
}

/// A profile is chosen by whoever is to stay below the policy, so one in the policy is no limit.
fn policy_profile(node: &KdlNode, source: SourceId) -> Problem {
    let span = Span { source, range: name_range(node) };
    Problem::new(
        codes::BAD_VALUE,
        span,
        "never applied",
        "the policy has a `profile`, and no profile is a limit",
    )
    .help("write what it holds at the top of the policy")
}

fn profile_name(node: &KdlNode) -> Option<&str> {
    arguments(node).next()?.value().as_string()
}

fn unknown_profile(profile: &str, found: &[(&KdlNode, SourceId)]) -> Problem {
    let names: Vec<&str> = found.iter().filter_map(|(node, _)| profile_name(node)).collect();
    let problem =
        Problem::nowhere(codes::UNKNOWN_PROFILE, format!("there is no profile `{}`", escape(profile)));
    match nearest(profile, names.iter().copied()) {
        Some(known) => problem.help(format!("did you mean `{}`?", escape(known))),
        None if names.is_empty() => problem.help("no file has a `profile`"),
        None => problem.help(format!("known: `{}`", escape(&names.join("`, `")))),
    }
}

/// Joins `wanted` to `base` by its text alone; `None` where that leaves `bounds`.
fn below(bounds: &Utf8Path, base: &Utf8Path, wanted: &str) -> Option<Utf8PathBuf> {
    let mut path = base.to_owned();
    for part in Utf8Path::new(wanted).components() {
        match part {
            Utf8Component::Normal(name) => path.push(name),
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir if path != bounds && path.starts_with(bounds) => drop(path.pop()),
            _ => return None,
        }
    }
    (path != base && path.starts_with(bounds) && !wanted.starts_with('~')).then_some(path)
}

fn later(
    nodes: &KdlDocument,
    table: &'static [Node],
    source: SourceId,
    place: &str,
    out: &mut Vec<Unavailable>,
) {
    for node in nodes.nodes() {
        let Some(row) = table.iter().find(|row| row.name == node.name().value()) else { continue };
        if row.name == "profile" {
            continue;
        }
        let path = if place.is_empty() { row.name.to_owned() } else { format!("{place}.{}", row.name) };
        if row.since == Since::Later && !is_off(node) {
            out.push(Unavailable { path, span: Span { source, range: name_range(node) } });
        } else if let Some(children) = node.children() {
            later(children, row.children, source, &path, out);
        }
    }
}

/// `clone #false` asks for nothing.
fn is_off(node: &KdlNode) -> bool {
    arguments(node).next().is_some_and(|entry| entry.value().as_bool() == Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NetworkMode;
    use crate::config::overlay;

    fn loaded(files: &[(&str, &str)], edit: impl FnOnce(&mut Inputs)) -> Result<Loaded, Report> {
        let read = |path: &Utf8Path| {
            if path == "/p/broken.kdl" {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            Ok(files.iter().find(|(name, _)| path == *name).map(|(_, text)| text.as_bytes().to_vec()))
        };
        let mut inputs = Inputs {
            policy: Some("/etc/pier/policy.kdl".into()),
            user: Some("/u/config.kdl".into()),
            project: Some("/p/pier.kdl".into()),
            local: Some("/p/pier.local.kdl".into()),
            ..Inputs::default()
        };
        edit(&mut inputs);
        load(&inputs, &read)
    }

    #[test]
    fn layers_apply_from_the_lowest_to_the_highest() {
        let files = [
            ("/etc/pier/policy.kdl", "network allowlist"),
            ("/u/config.kdl", "limits { pids 100 }"),
            (
                "/p/pier.kdl",
                "include \"team/base.kdl\"\nlimits { pids 200 }\nprofile ci { limits { pids 400 } }",
            ),
            ("/p/team/base.kdl", "include \"../other.kdl\"\nlimits { pids 150; wall \"1h\" }"),
            ("/p/other.kdl", "env { pass LANG }"),
            ("/p/pier.local.kdl", "limits { pids 300 }"),
        ];
        let pids = |loaded: &Loaded| loaded.config.limits.pids.clone().unwrap();
        let plain = loaded(&files, |_| ()).unwrap();
        assert_eq!((pids(&plain).value.at_most, pids(&plain).origin.layer), (300, Layer::Local));
        assert_eq!(plain.inputs.len(), 6);
        assert!(plain.ceiling.is_some());
        assert!(plain.config.limits.wall.is_some());
        let ci = loaded(&files, |inputs| inputs.profile = Some("ci".into())).unwrap();
        assert_eq!(pids(&ci).value.at_most, 400);
        let flag = overlay::set("--set limits.pids=500", Layer::Flag, "limits.pids=500").unwrap();
        let flagged = loaded(&files, |inputs| {
            inputs.profile = Some("ci".into());
            inputs.overlays.push(flag);
        });
        let flagged = flagged.unwrap();
        let span = pids(&flagged).origin.span.unwrap();
        assert_eq!(flagged.sources.get(span.source).name, "--set limits.pids=500");
        assert_eq!(flagged.config.network.mode.value, NetworkMode::Allowlist);
    }

    #[test]
    fn all_findings_of_all_files_are_in_one_report() {
        let files =
            [("/u/config.kdl", "netwrk none"), ("/p/pier.kdl", "a true"), ("/p/pier.local.kdl", "project")];
        let report = loaded(&files, |inputs| inputs.profile = Some("x".into())).unwrap_err();
        let codes: Vec<&str> = report.problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [codes::UNKNOWN_NODE, codes::SYNTAX, codes::MISSING_VALUE, codes::UNKNOWN_PROFILE]);
    }

    #[test]
    fn a_policy_has_no_profile() {
        let files = [("/etc/pier/policy.kdl", "profile ci { network none }")];
        let report = loaded(&files, |_| ()).unwrap_err();
        assert_eq!(report.problems.len(), 1);
        assert!(report.problems[0].message.contains("the policy has a `profile`"));
    }

    #[test]
    fn includes_stay_inside_and_end() {
        for (text, says) in [
            ("include \"../x.kdl\"", "is not below `/p`"),
            ("include \"/etc/passwd\"", "is not below"),
            ("include \"a/../../x.kdl\"", "is not below"),
            ("include \"~/x.kdl\"", "is not below"),
            ("include \".\"", "is not below"),
            ("include \"none.kdl\"", "there is no file `/p/none.kdl`"),
            ("include \"broken.kdl\"", "cannot read `/p/broken.kdl`"),
            ("include \"pier.kdl\"", "includes itself: /p/pier.kdl -> /p/pier.kdl"),
            ("include \"loop.kdl\"", "/p/pier.kdl -> /p/loop.kdl -> /p/pier.kdl"),
        ] {
            let files = [("/p/pier.kdl", text), ("/p/loop.kdl", "include \"./pier.kdl\"")];
            let report = loaded(&files, |_| ()).unwrap_err();
            assert_eq!(report.problems.len(), 1, "{text}");
            assert!(report.problems[0].message.contains(says), "{text}: {:?}", report.problems);
        }
        for (count, fits) in [(MAX_INCLUDES, true), (MAX_INCLUDES + 1, false)] {
            let names: Vec<String> = (0..count).map(|index| format!("/p/{index}.kdl")).collect();
            let text: String =
                (0..count).map(|index| format!("include \"{index}.kdl\"\n")).collect::<Vec<_>>().concat();
            let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
            files.push(("/p/pier.kdl", &text));
            assert_eq!(loaded(&files, |_| ()).is_ok(), fits);
        }
    }

    #[test]
    fn settings_that_come_later_are_listed() {
        let files = [(
            "/p/pier.kdl",
            "workspace { clone #false }\nbudget { cost 1 }\nprofile x { budget { cost 1 } }",
        )];
        let found = loaded(&files, |_| ()).unwrap().unavailable;
        assert_eq!(found.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["budget"]);
    }

    const WHOLE: &str = r#"
project "evm" key="EVM"
runtime host { path "/opt/tools/bin" }
workspace at="/workspace" {
    root "git"
    git shadow merge="auto"
    clone #false
    readonly "pier.kdl" "flake.nix" ".envrc"
    hide ".env" "secrets/**"
    gate report
}
home ephemeral { state "/var/x"; import git-config sync="always" from="~/.gitconfig" }
mounts {
    ro "~/.cargo/registry" at="/home/pier/.cargo/registry"
    rw "./cache" at="/cache"
    tmpfs "/scratch" size="2GiB"
}
env {
    pass "LANG" "TZ"
    set RUST_LOG="info"
    file ".env.agent"
    secret "ANTHROPIC_API_KEY" host="api.anthropic.com" from="env:ANTHROPIC_API_KEY" header="x-api-key"
}
network allowlist {
    allow "api.anthropic.com" "*.example.org"
    allow "git.example.com" port=22
    allow "api.example.com" methods="GET" paths="/v1/*"
    allow "10.0.0.0/8" private=#true
    deny "telemetry.example.com"
    upstream "http://proxy.example.com:3128"
    bytes "api.example.com" up="100MiB"
}
port "127.0.0.1:8888" to=8888
limits { memory "8GiB" required=#true; cpus 4; pids 2048; wall "2h"; minimum-tier 2 }
budget { cost 5.00; tokens 2000000 }
agent claude-code default=#true {
    version "2.1.329"
    model "anthropic/claude-opus-4-7"
    tools read bash edit
    args "--permission-mode" "acceptEdits"
    import auth settings skills sessions extensions prompts roles sync="always" from="~/.claude"
    mcp "files" command="npx" { args "-y" "server-files" }
    skills "./skills"
}
agent mine { run "mine-agent" "--task"; logs "~/.mine/*.jsonl"; hosts "api.mine.example" }
role reviewer { tools read grep find ls bash; thinking high; file "roles/reviewer.md" }
coordination { remote "git@example.com:org/evm-coordination.git"; dir ".pi-env/coordination" }
profile ci { runtime nix; network none; agent claude-code { args "--print" } }
"#;

    #[test]
    fn the_whole_vocabulary_loads() {
        let Loaded { config, unavailable, .. } =
            loaded(&[("/p/pier.kdl", WHOLE)], |inputs| inputs.profile = Some("ci".into())).unwrap();
        assert_eq!(config.network.rules.len(), 5);
        assert_eq!(config.network.mode.value, NetworkMode::None);
        assert_eq!(config.agents.len(), 2);
        assert_eq!(config.agents[0].args.as_ref().unwrap().value.len(), 3);
        assert_eq!(config.agents[0].imports[0].value.what.len(), 7);
        assert_eq!(config.agents[0].mcp[0].value.args, ["-y", "server-files"]);
        assert!(config.agents[1].run.is_some() && config.agents[1].logs.len() == 1);
        assert_eq!(config.home.imports.len(), 1);
        assert_eq!(config.mounts.len(), 3);
        assert_eq!(config.ports[0].value.to, 8888);
        assert_eq!(config.env.secrets[0].value.header.as_deref(), Some("x-api-key"));
        assert_eq!(config.budget.cost.unwrap().value.to_bits(), 5.0_f64.to_bits());
        assert_eq!(config.coordination.dir.unwrap().value.as_str(), ".pi-env/coordination");
        let paths: Vec<&str> = unavailable.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["budget"]);
    }

    fn load_bytes(bytes: &[u8]) {
        let read = |path: &Utf8Path| Ok((path == "/p/pier.kdl").then(|| bytes.to_vec()));
        let inputs = Inputs { project: Some("/p/pier.kdl".into()), ..Inputs::default() };
        if let Err(report) = load(&inputs, &read) {
            let style = crate::diag::render::Style {
                glyphs: crate::diag::render::Glyphs::Unicode,
                color: crate::diag::render::Color::Never,
                width: 80,
            };
            let text = crate::diag::render::human(&report, style);
            assert!(!text.contains('\u{1b}'));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_the_loader(
            bytes: Vec<u8>,
            edits in proptest::collection::vec((0_usize..WHOLE.len(), 0_usize..8, "[ -~\n\u{1b}é]{0,4}"), 1..6),
        ) {
            load_bytes(&bytes);
            let mut text = WHOLE.as_bytes().to_vec();
            for (at, drop, insert) in edits {
                let start = at.min(text.len());
                let end = (start + drop).min(text.len());
                text.splice(start..end, insert.bytes());
            }
            load_bytes(&text);
        }
    }
}
