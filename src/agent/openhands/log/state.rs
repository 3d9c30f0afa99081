//! The state of a conversation, which is written anew at each change: how it is, and what its answers cost.

use std::collections::HashMap;

use crate::atif::draft::{Draft, MAIN};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::Extra;
use crate::atif::step::{Step, Usage};

#[derive(Default)]
pub struct State {
    id: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    /// Such as `finished`.
    pub status: Option<String>,
    agent: Extra,
    /// By the id of the answer.
    answers: HashMap<String, Answer>,
    cost: f64,
    /// Whether there are tokens of a model whose price is not known.
    is_unpriced: bool,
}

struct Answer {
    usage: Usage,
    model: Option<String>,
    native: Extra,
}

impl State {
    pub fn of(record: &Fields<'_>, draft: &mut Draft<'_>) -> Self {
        draft.report.count("base_state");
        let mut state = State { id: record.owned("id"), ..State::default() };
        state.status = record.owned("execution_status").or_else(|| record.owned("agent_status"));
        let agent = record.object("agent").unwrap_or_default();
        let model = agent.object("llm").unwrap_or_default();
        state.model = model.owned("model");
        state.effort = model.owned("reasoning_effort");
        let workspace = record.object("workspace").unwrap_or_default();
        state.agent.take("cwd", workspace.get("working_dir"));
        state.agent.take("max_iterations", record.get("max_iterations"));
        state.agent.take("tools", agent.get("tools"));
        state.agent.take("tags", record.get("tags").filter(|tags| tags.get() != "{}"));
        let stats = record.object("stats").unwrap_or_default();
        let metrics = stats.object("usage_to_metrics").unwrap_or_default();
        for metrics in metrics.iter().filter_map(|(_, metrics)| Fields::of(metrics)) {
            state.metrics(&metrics);
        }
        state
    }

    /// Takes the numbers of one model.
    fn metrics(&mut self, metrics: &Fields<'_>) {
        let usages = metrics.objects("token_usages");
        let costs = metrics.objects("costs");
        let mut tokens = 0;
        for (place, native) in usages.iter().enumerate() {
            let odd = Odd::default();
            let count = |key: &'static str| native.tokens(key, &odd).unwrap_or(0);
            let (read, write) = (count("cache_read_tokens"), count("cache_write_tokens"));
            // Costs have no ids: they are told apart by their places, where each answer has one.
            let cost = costs.get(place).filter(|_| costs.len() == usages.len());
            let usage = Usage {
                input: count("prompt_tokens").saturating_sub(read).saturating_sub(write),
                cache_read: read.min(count("prompt_tokens")),
                cache_write: write.min(count("prompt_tokens").saturating_sub(read)),
                output: count("completion_tokens"),
                cost: cost.and_then(|cost| cost.float("cost")).filter(|cost| *cost > 0.0),
                odd: odd.name(),
            };
            tokens += usage.prompt() + usage.output;
            let mut kept = Extra::default();
            for (key, value) in native.iter().filter(|(key, _)| *key != "response_id") {
                kept.take(key, Some(value));
            }
            if let Some(id) = native.owned("response_id") {
                self.answers.insert(id, Answer { usage, model: native.owned("model"), native: kept });
            }
        }
        // It is 0 where the program does not know the price.
        let cost = metrics.float("accumulated_cost").unwrap_or(0.0);
        self.is_unpriced |= cost <= 0.0 && tokens > 0;
        self.cost += cost;
    }

    pub fn take_head(&self, draft: &mut Draft<'_>, place: Option<&str>) {
        let head = draft.head(MAIN);
        let session = self.id.clone().or_else(|| place.map(str::to_owned));
        head.session = head.session.take().or(session);
        head.model = head.model.take().or_else(|| self.model.clone());
        if head.agent.is_empty() {
            head.agent = self.agent.clone();
        }
    }

    /// Returns what all of it cost, where the program knows it.
    pub fn cost(&self) -> Option<f64> {
        (self.cost > 0.0 && !self.is_unpriced).then_some(self.cost)
    }

    /// Returns the numbers of an answer, by the program's own names.
    pub fn native(&self, id: &str) -> Option<&Extra> {
        Some(&self.answers.get(id)?.native)
    }

    /// Puts the numbers of an answer to its step.
    pub fn measure(&self, step: &mut Step, id: &str) {
        let Some(answer) = self.answers.get(id) else { return };
        step.usage = Some(answer.usage);
        if answer.model.is_some() {
            step.model_name.clone_from(&answer.model);
        }
        step.metrics.get_or_insert_default().extra = answer.native.clone();
    }
}
