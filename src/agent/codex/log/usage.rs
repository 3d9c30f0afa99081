//! Which numbers are those of which call of the model.
//!
//! A newer Codex writes a record of each call, behind what the model said. An older one counts in events: behind the words of a call,
//! behind the answers of its tools, or, where words were written only when all of them were there, before them.

use std::io;

use crate::atif::draft::{At, Draft, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::Extra;
use crate::atif::step::{Step, Usage};

/// The numbers of one call.
pub struct Numbers {
    usage: Usage,
    extra: Extra,
}

impl Numbers {
    /// Reads them; `None` where nothing was counted.
    fn of(usage: &Fields<'_>) -> Option<Self> {
        let odd = Odd::default();
        let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
        let (input, read) = (count("input_tokens"), count("cached_input_tokens"));
        let (write, output) = (count("cache_write_input_tokens"), count("output_tokens"));
        if input == 0 && output == 0 && odd.name().is_none() {
            return None;
        }
        // The cached ones are among those that the model read, and so are those of reasoning among those that it wrote.
        let usage_of = Usage {
            input: input.saturating_sub(read).saturating_sub(write),
            cache_read: read,
            cache_write: write,
            output,
            cost: None,
            odd: odd.name(),
        };
        let mut extra = Extra::default();
        let known = ["input_tokens", "cached_input_tokens", "output_tokens"];
        for (key, value) in usage.iter().filter(|(key, _)| !known.contains(key)) {
            extra.take(key, Some(value));
        }
        Some(Numbers { usage: usage_of, extra })
    }

    fn give(self, step: &mut Step) {
        step.usage = Some(self.usage);
        step.metrics.get_or_insert_default().extra.append(self.extra);
    }
}

/// Where the events of a log stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Before,
    After,
}

#[derive(Default)]
pub struct Counter {
    /// There are records of calls: events say the same once more.
    has_records: bool,
    order: Option<Order>,
    /// Of a call whose words are still to come.
    pending: Option<Numbers>,
    last_total: Option<String>,
    /// The last step of the model that has no numbers.
    unmeasured: Option<At>,
}

impl Counter {
    /// Takes note of a new step of the model.
    pub fn begin(&mut self, at: At, draft: &mut Draft<'_>) {
        self.unmeasured = Some(at);
        if let Some(numbers) = self.pending.take()
            && let Some(step) = draft.step(at)
        {
            numbers.give(step);
            self.unmeasured = None;
        }
    }

    /// Says whether words that come behind answers of tools are of another call of the model.
    pub fn answers_end(&self) -> bool {
        self.order != Some(Order::Before)
    }

    /// Reads a record of one call.
    pub fn record(
        &mut self,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        time: Option<&str>,
    ) -> io::Result<()> {
        self.has_records = true;
        let Some(mut numbers) = payload.object("usage").as_ref().and_then(Numbers::of) else { return Ok(()) };
        numbers.extra.take("response_id", payload.get("response_id"));
        self.put(numbers, draft, track, time)
    }

    /// Reads an event that counts. Returns whether it ends a call of the model.
    pub fn event(
        &mut self,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        track: Track,
        time: Option<&str>,
    ) -> io::Result<bool> {
        let Some(info) = payload.object("info") else { return Ok(false) };
        draft.cost = info.float("total_cost").or_else(|| info.float("cost_usd")).or(draft.cost);
        if self.has_records {
            return Ok(false);
        }
        // An event comes again whenever something else of it changes.
        let total = info.get("total_token_usage").or_else(|| info.get("last_token_usage"));
        let total = total.map(|total| total.get().to_owned());
        if total == self.last_total {
            return Ok(false);
        }
        self.last_total = total;
        let Some(numbers) = info.object("last_token_usage").as_ref().and_then(Numbers::of) else {
            return Ok(false);
        };
        let spoken = self.unmeasured.is_some();
        let order = *self.order.get_or_insert(if spoken { Order::After } else { Order::Before });
        match order {
            Order::Before => self.pending = Some(numbers),
            Order::After => self.put(numbers, draft, track, time)?,
        }
        Ok(true)
    }

    fn put(
        &mut self,
        numbers: Numbers,
        draft: &mut Draft<'_>,
        track: Track,
        time: Option<&str>,
    ) -> io::Result<()> {
        let at = self.unmeasured.take();
        if let Some(step) = at.and_then(|at| draft.step(at)) {
            numbers.give(step);
            return Ok(());
        }
        // A call of which the log has nothing else, such as the one that makes a conversation shorter.
        let mut step = Step::agent(time);
        step.extra.put("usage_only", true);
        numbers.give(&mut step);
        draft.push(track, step).map(|_| ())
    }
}
