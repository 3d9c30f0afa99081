//! The parts of a document, as readers of logs make them.

use serde::Serialize;

use super::raw::{Extra, Json};

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    System,
    User,
    #[default]
    Agent,
}

/// One turn: a prompt, a word of the agent's own program, or all that came of one call of the model.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the format calls it so")]
pub struct Step {
    /// From 1; the draft sets it.
    pub step_id: usize,
    /// ISO 8601, as the log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    pub message: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_copied_context: bool,
    /// 1 for a call of the model, 0 for what an agent's program says in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_call_count: Option<u32>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
    /// What [`Step::metrics`] are made of when the step is done.
    #[serde(skip)]
    pub usage: Option<Usage>,
}

impl Step {
    fn new(source: Source, timestamp: Option<&str>, message: impl Into<Content>) -> Self {
        Step { source, timestamp: timestamp.map(str::to_owned), message: message.into(), ..Step::default() }
    }

    pub fn user(timestamp: Option<&str>, message: impl Into<Content>) -> Self {
        Step::new(Source::User, timestamp, message)
    }

    pub fn system(timestamp: Option<&str>, message: impl Into<Content>) -> Self {
        Step::new(Source::System, timestamp, message)
    }

    /// One call of the model, of which nothing is known yet.
    pub fn agent(timestamp: Option<&str>) -> Self {
        Step { llm_call_count: Some(1), ..Step::new(Source::Agent, timestamp, "") }
    }

    /// What an agent's program says in the place of a model that did not answer.
    pub fn failure(timestamp: Option<&str>, message: impl Into<Content>) -> Self {
        let mut step = Step { llm_call_count: Some(0), ..Step::new(Source::Agent, timestamp, message) };
        step.extra.put("api_error", true);
        step
    }

    /// Adds what the model thought, a paragraph for each piece.
    pub fn think(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match &mut self.reasoning_content {
            Some(known) => {
                known.push_str("\n\n");
                known.push_str(text);
            }
            None => self.reasoning_content = Some(text.to_owned()),
        }
    }

    /// Adds what the model thought, where it goes on in the middle of a piece.
    pub fn think_on(&mut self, text: &str) {
        if !text.is_empty() {
            self.reasoning_content.get_or_insert_default().push_str(text);
        }
    }

    /// Adds an answer of a tool to those that are there.
    pub fn observe(&mut self, result: ObservationResult) {
        self.observation.get_or_insert_default().results.push(result);
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let calls = self.tool_calls.iter().map(|call| call.arguments.get().len() + 128);
        let results = self.observation.iter().flat_map(|observation| &observation.results);
        256 + self.message.size()
            + self.reasoning_content.as_ref().map_or(0, String::len)
            + calls.sum::<usize>()
            + results.map(ObservationResult::size).sum::<usize>()
    }
}

/// A text, or texts and pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    Text { text: String },
    Image { source: ImageSource },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    pub media_type: &'static str,
    /// Relative to the directory of the document.
    pub path: String,
}

impl Default for Content {
    fn default() -> Self {
        Content::Text(String::new())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

impl From<Vec<Part>> for Content {
    /// One text is a text, and none is an empty one.
    fn from(mut parts: Vec<Part>) -> Self {
        match parts.as_mut_slice() {
            [] => Content::default(),
            [Part::Text { text }] => Content::Text(std::mem::take(text)),
            _ => Content::Parts(parts),
        }
    }
}

impl Content {
    pub fn is_empty(&self) -> bool {
        match self {
            Content::Text(text) => text.is_empty(),
            Content::Parts(parts) => parts.is_empty(),
        }
    }

    /// Adds a text as a part of its own: no word of a model is glued to another one.
    pub fn add(&mut self, text: &str) {
        if !text.is_empty() {
            self.add_part(Part::Text { text: text.to_owned() });
        }
    }

    /// Adds a text that goes on where the last one ended.
    pub fn go_on(&mut self, text: &str) {
        match self {
            Content::Text(known) => known.push_str(text),
            Content::Parts(parts) => match parts.last_mut() {
                Some(Part::Text { text: known }) => known.push_str(text),
                _ => self.add(text),
            },
        }
    }

    pub fn add_part(&mut self, part: Part) {
        let mut parts = match std::mem::take(self) {
            Content::Text(text) if text.is_empty() => Vec::new(),
            Content::Text(text) => vec![Part::Text { text }],
            Content::Parts(parts) => parts,
        };
        parts.push(part);
        *self = parts.into();
    }

    /// Adds all of another one.
    pub fn append(&mut self, other: Content) {
        match other {
            Content::Text(text) => self.add(&text),
            Content::Parts(parts) => parts.into_iter().for_each(|part| self.add_part(part)),
        }
    }

    pub fn size(&self) -> usize {
        match self {
            Content::Text(text) => text.len(),
            Content::Parts(parts) => parts.iter().map(Part::size).sum(),
        }
    }
}

impl Part {
    fn size(&self) -> usize {
        match self {
            Part::Text { text } => text.len(),
            Part::Image { source } => source.path.len(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the format calls it so")]
pub struct ToolCall {
    pub tool_call_id: String,
    pub function_name: String,
    /// An object.
    pub arguments: Json,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl ToolCall {
    pub fn new(id: &str, name: &str, arguments: Json) -> Self {
        let (tool_call_id, function_name) = (id.to_owned(), name.to_owned());
        ToolCall { tool_call_id, function_name, arguments, extra: Extra::default() }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Observation {
    pub results: Vec<ObservationResult>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct ObservationResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subagent_trajectory_ref: Vec<SubagentRef>,
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

impl ObservationResult {
    pub fn new(content: impl Into<Content>) -> Self {
        ObservationResult { content: Some(content.into()), ..ObservationResult::default() }
    }

    /// The tool says that it failed.
    pub fn failed(mut self) -> Self {
        self.extra.put("is_error", true);
        self
    }

    fn size(&self) -> usize {
        128 + self.content.as_ref().map_or(0, Content::size)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SubagentRef {
    pub trajectory_id: String,
}

/// The tokens of one call of a model, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Read by the model, and neither from its cache nor for it.
    pub input: u64,
    pub cache_read: u64,
    /// Written into the cache, of those that the model read.
    pub cache_write: u64,
    /// With those of reasoning.
    pub output: u64,
    /// What the agent itself says that it cost, in US dollars.
    pub cost: Option<f64>,
    /// A number of the log that is none, which counts as 0.
    pub odd: Option<&'static str>,
}

impl Usage {
    /// All that the model read.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Metrics {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What else the agent counts, by its own names.
    #[serde(skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}
