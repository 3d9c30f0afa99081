//! What `opencode run --format json` prints: all of a session where nothing else is there, what went wrong otherwise.

use std::io;

use super::parts::{ended, failed, millis, reason};
use super::{Last, Reader};
use crate::agent::log;
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::Fields;
use crate::atif::step::Step;

/// Where a stream is.
#[derive(Default)]
struct Span {
    /// The call of the model that has not ended.
    open: Option<At>,
    message: Option<String>,
}

impl Reader<'_> {
    pub(super) fn stream(&mut self, index: usize, draft: &mut Draft<'_>, whole: bool) -> io::Result<()> {
        let logs = self.logs;
        let name = &logs.files()[index].path;
        let mut span = Span::default();
        log::each_printed(logs, index, draft, |draft, event, line| {
            let kind = event.text("type").unwrap_or_default();
            draft.report.count(&format!("event {kind}"));
            if kind == "error" {
                return self.error(event, draft, &mut span);
            }
            if !whole {
                return Ok(());
            }
            let head = draft.head(MAIN);
            head.session = head.session.take().or(event.owned("sessionID"));
            match (&*kind, event.object("part")) {
                ("step_start" | "text" | "reasoning" | "tool_use" | "step_finish", Some(part)) => {
                    self.event(event, &part, draft, &mut span, &format!("{name}:{line}"))
                }
                (unknown, _) => {
                    draft.report.unknown(&format!("event {unknown}"));
                    draft.unread(MAIN, event.iter());
                    Ok(())
                }
            }
        })
    }

    fn event(
        &mut self,
        event: &Fields<'_>,
        part: &Fields<'_>,
        draft: &mut Draft<'_>,
        span: &mut Span,
        source: &str,
    ) -> io::Result<()> {
        let is_start = event.is("type", "step_start");
        let message = part.owned("messageID");
        let is_same = message.is_none() || span.message.is_none() || message == span.message;
        let at = if let Some(at) = span.open.filter(|_| !is_start && is_same) {
            at
        } else {
            let mut step = Step::agent(millis(event, "timestamp").as_deref());
            step.model_name.clone_from(&draft.about.model);
            step.extra.put("src", source);
            step.extra.take("message_id", part.get("messageID"));
            draft.push(MAIN, step)?
        };
        *span = Span { open: Some(at), message };
        self.last = Last::Middle;
        if let Some(end) = self.part(part, draft, at)? {
            self.cost += end.cost;
            self.last = ended(&end.reason);
            span.open = None;
        }
        Ok(())
    }

    /// What went wrong; the session may have said it.
    fn error(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, span: &mut Span) -> io::Result<()> {
        let error = event.object("error").unwrap_or_default();
        let said = reason(&error);
        if let Some(place) = self.errors.iter().position(|known| *known == said) {
            self.errors.remove(place);
            return Ok(());
        }
        self.last = Last::Failure(said.clone());
        let time = millis(event, "timestamp");
        if span.open.take().is_some() {
            return failed(draft, MAIN, time.as_deref(), &error, None);
        }
        let mut step = Step::failure(time.as_deref(), said);
        step.extra.take("error", event.get("error"));
        draft.push(MAIN, step).map(|_| ())
    }
}
