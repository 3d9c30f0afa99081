//! What may become of an item, and what that writes.

use jiff::Timestamp;

use super::history::{self, Actor, New, Reference};
use super::id::time;
use super::item::{Head, Item};
use super::kind::{Kind, Shape};
use super::scalar;

/// What is to be done with an item.
#[derive(Clone, Debug)]
pub enum Action {
    /// Until when it is the agent's; for ever where nobody says.
    Claim {
        until: Option<Timestamp>,
        force: bool,
    },
    /// The claim goes on.
    Renew {
        until: Timestamp,
    },
    Unclaim {
        force: bool,
    },
    Done {
        references: Vec<Reference>,
        force: bool,
    },
    Review {
        passed: bool,
        force: bool,
    },
    Verify {
        passed: bool,
        force: bool,
    },
    Close {
        references: Vec<Reference>,
        force: bool,
    },
    Block,
    Unblock,
    Reopen,
    Comment,
    Priority(String),
    Link(String),
}

/// Who does it, when, and what is said to it.
#[derive(Clone, Debug)]
pub struct By<'a> {
    pub actor: &'a Actor,
    pub at: Timestamp,
    /// Where nothing is said, each action has words of its own.
    pub message: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub text: String,
    /// The state, and with it the directory, that it is in now, if that is another one.
    pub state: Option<&'static str>,
}

/// Why it cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("`{id}` is a {kind}, and only issues are {what}")]
    NoIssue { id: String, kind: String, what: &'static str },
    #[error("`{id}` has no history: {why}")]
    NoHistory { id: String, why: String },
    #[error("`{id}` is {status}")]
    Status { id: String, status: String, help: &'static str },
    #[error("`{id}` is {owner}'s{until}")]
    Owned { id: String, owner: String, until: String },
    #[error("`{id}` is not yours: {owner} has it")]
    NotYours { id: String, owner: String },
    #[error(
        "`{id}` is the work of {actor}, who cannot judge it: somebody else does, or another role, or `--force`"
    )]
    Own { id: String, actor: String },
    #[error("`{id}`: a session of the role {role} does not {what}")]
    NotForRole { id: String, role: String, what: &'static str, who: &'static str },
    #[error("`{id}` is not {missing}")]
    NotReady { id: String, missing: &'static str },
}

impl Action {
    /// The words of its commit.
    pub fn subject(&self, id: &str) -> String {
        match self {
            Action::Claim { .. } => format!("Claim {id}"),
            Action::Renew { .. } => format!("Renew {id}"),
            Action::Unclaim { .. } => format!("Release {id}"),
            Action::Done { .. } => format!("Mark {id} done"),
            Action::Review { passed: true, .. } => format!("Review {id}"),
            Action::Review { .. } => format!("Reject review {id}"),
            Action::Verify { passed: true, .. } => format!("Verify {id}"),
            Action::Verify { .. } => format!("Reject verification {id}"),
            Action::Close { .. } => format!("Close {id}"),
            Action::Block => format!("Block {id}"),
            Action::Unblock => format!("Unblock {id}"),
            Action::Reopen => format!("Reopen {id}"),
            Action::Comment => format!("Comment on {id}"),
            Action::Priority(_) => format!("Prioritise {id}"),
            Action::Link(_) => format!("Link {id}"),
        }
    }

    /// What people call it, of an item that it is done to.
    fn participle(&self) -> &'static str {
        match self {
            Action::Claim { .. } | Action::Renew { .. } | Action::Unclaim { .. } => "claimed",
            Action::Done { .. } => "marked done",
            Action::Review { .. } => "reviewed",
            Action::Verify { .. } => "verified",
            Action::Close { .. } => "closed",
            Action::Block | Action::Unblock => "blocked",
            Action::Reopen => "reopened",
            Action::Comment => "commented on",
            Action::Priority(_) => "prioritised",
            Action::Link(_) => "linked",
        }
    }

    /// Does it to the text of an item.
    pub fn apply(&self, text: &str, by: &By<'_>) -> Result<Changed, Refusal> {
        let head = Head::read(text);
        let kind = Kind::of(&head.kind);
        let anywhere = matches!(self, Action::Comment | Action::Priority(_) | Action::Link(_));
        if !kind.is_issue() && !anywhere {
            let (id, kind, what) = (head.id, head.kind, self.participle());
            return Err(Refusal::NoIssue { id, kind, what });
        }
        let mut step = Step { head, by, item: Item::parse(text), state: None };
        step.item.set_raw("updated", &time(by.at));
        match self {
            Action::Claim { until, force } => step.claim(*until, *force)?,
            Action::Renew { until } => step.renew(*until)?,
            Action::Unclaim { force } => step.unclaim(*force)?,
            Action::Done { references, force } => step.done(references, *force)?,
            Action::Review { passed, force } => step.judge("reviewed", *passed, *force)?,
            Action::Verify { passed, force } => step.judge("verified", *passed, *force)?,
            Action::Close { references, force } => step.close(references, *force)?,
            Action::Block => step.block()?,
            Action::Unblock => step.unblock()?,
            Action::Reopen => step.reopen()?,
            Action::Comment => step.event("updated", "Commented.", None, &[])?,
            Action::Priority(value) => {
                step.item.set("priority", value);
                step.note(&kind, &format!("Priority: {value}."))?;
            }
            Action::Link(to) => {
                step.link(to);
                if kind.shape == Shape::History {
                    step.event("linked", &format!("Linked {to}."), None, &[])?;
                }
            }
        }
        Ok(Changed { text: step.item.text(), state: step.state })
    }
}

/// Says whether a claim has ended by itself.
pub fn has_ended(head: &Head, at: Timestamp) -> bool {
    head.lease.parse::<Timestamp>().is_ok_and(|until| until < at)
}

/// One change that is being made.
struct Step<'a> {
    head: Head,
    by: &'a By<'a>,
    item: Item,
    state: Option<&'static str>,
}

impl Step<'_> {
    fn refuse(&self, help: &'static str) -> Refusal {
        Refusal::Status { id: self.head.id.clone(), status: self.head.status.clone(), help }
    }

    fn me(&self) -> &str {
        &self.by.actor.id
    }

    fn status(&mut self, status: &'static str, state: &'static str) {
        self.item.set_raw("status", status);
        self.state = (self.head.status != status || status == "open").then_some(state);
    }

    fn event(
        &mut self,
        kind: &str,
        words: &str,
        owner: Option<&str>,
        references: &[Reference],
    ) -> Result<(), Refusal> {
        let message = self.by.message.filter(|message| !message.trim().is_empty()).unwrap_or(words);
        let at = time(self.by.at);
        let new = New { kind, at: &at, actor: self.by.actor, owner, references, message };
        let id = &self.head.id;
        self.item.add(&new).map_err(|why| Refusal::NoHistory { id: id.clone(), why: why.to_owned() })
    }

    /// An event where there is a history.
    fn note(&mut self, kind: &Kind, words: &str) -> Result<(), Refusal> {
        if kind.shape == Shape::History { self.event("updated", words, None, &[]) } else { Ok(()) }
    }

    fn owned(&self) -> Refusal {
        let Head { id, owner, lease, .. } = &self.head;
        let until = if lease.is_empty() { String::new() } else { format!(" until {lease}") };
        Refusal::Owned { id: id.clone(), owner: owner.clone(), until }
    }

    fn is_others(&self) -> bool {
        !self.head.owner.is_empty() && self.head.owner != self.me()
    }

    fn claim(&mut self, until: Option<Timestamp>, force: bool) -> Result<(), Refusal> {
        match self.head.status.as_str() {
            "closed" => return Err(self.refuse("`reopen` it first")),
            "done" if !force => return Err(self.refuse("review it, or `--force`")),
            "blocked" if !force => return Err(self.refuse("`unblock` it first, or `--force`")),
            _ => {}
        }
        let ended = has_ended(&self.head, self.by.at);
        if self.is_others() && !ended && !force {
            return Err(self.owned());
        }
        let was_mine = self.head.status == "claimed" && self.head.owner == self.me();
        let me = self.me().to_owned();
        self.item.set("owner", &me);
        match until {
            Some(until) => self.item.set_raw("lease", &time(until)),
            None => self.item.remove("lease"),
        }
        if was_mine && self.by.message.is_none() {
            return Ok(());
        }
        self.status("claimed", "open");
        let words = if self.is_others() && ended {
            format!("Claimed; the claim of {} had ended at {}.", self.head.owner, self.head.lease)
        } else {
            "Claimed.".to_owned()
        };
        self.event("claimed", &words, Some(&me), &[])
    }

    fn mine(&self) -> Result<(), Refusal> {
        let Head { id, owner, .. } = &self.head;
        if owner == self.me() && self.head.status == "claimed" {
            return Ok(());
        }
        let owner = if owner.is_empty() { "nobody" } else { owner }.to_owned();
        Err(Refusal::NotYours { id: id.clone(), owner })
    }

    fn renew(&mut self, until: Timestamp) -> Result<(), Refusal> {
        self.mine()?;
        self.item.set_raw("lease", &time(until));
        Ok(())
    }

    fn unclaim(&mut self, force: bool) -> Result<(), Refusal> {
        if !force {
            self.mine()?;
        } else if self.head.status != "claimed" {
            return Err(self.refuse("only what is claimed is released"));
        }
        self.item.set("owner", "");
        self.item.remove("lease");
        self.status("open", "open");
        self.event("updated", "Released.", None, &[])
    }

    fn done(&mut self, references: &[Reference], force: bool) -> Result<(), Refusal> {
        match self.head.status.as_str() {
            "closed" => return Err(self.refuse("`reopen` it first")),
            "done" if !force => return Err(self.refuse("it waits for its review")),
            "blocked" if !force => return Err(self.refuse("`unblock` it first, or `--force`")),
            _ => {}
        }
        if self.is_others() && !force {
            return Err(self.owned());
        }
        let (me, now) = (self.me().to_owned(), time(self.by.at));
        self.item.set("owner", &me);
        self.item.remove("lease");
        self.item.set_raw("done", &now);
        self.item.set_raw("closed", "null");
        self.item.set_raw("reviewed", "false");
        self.item.set_raw("verified", "false");
        self.status("done", "done");
        self.event("done", "Done.", None, references)
    }

    fn judge(&mut self, flag: &'static str, passed: bool, force: bool) -> Result<(), Refusal> {
        if self.head.status != "done" && !force {
            return Err(self.refuse("only what is done is judged; `--force` does it anyway"));
        }
        let is_review = flag == "reviewed";
        if passed {
            if !force && self.is_own_work() {
                return Err(Refusal::Own { id: self.head.id.clone(), actor: self.by.actor.name() });
            }
            self.item.set_raw(flag, "true");
            return self.event(flag, if is_review { "Reviewed." } else { "Verified." }, None, &[]);
        }
        self.back();
        if is_review {
            self.event("review_failed", "The review found work to be done.", None, &[])
        } else {
            self.event("verification_failed", "The verification found work to be done.", None, &[])
        }
    }

    /// Says whether it was done by who acts, in the same role. Somebody without a role may be all there is.
    fn is_own_work(&self) -> bool {
        let events = history::read(&self.item.text());
        let done = events.iter().rfind(|event| event.kind == "done");
        !self.by.actor.role.is_empty() && done.is_some_and(|done| done.actor == *self.by.actor)
    }

    /// Nobody's work, to be done.
    fn back(&mut self) {
        self.item.set("owner", "");
        self.item.remove("lease");
        self.item.set_raw("done", "null");
        self.item.set_raw("closed", "null");
        self.item.set_raw("reviewed", "false");
        self.item.set_raw("verified", "false");
        self.status("open", "open");
    }

    fn close(&mut self, references: &[Reference], force: bool) -> Result<(), Refusal> {
        if self.head.status == "closed" {
            return Err(self.refuse("nothing is left to do"));
        }
        let missing = [
            (self.head.status == "done", "done"),
            (Head::is_set(&self.head.reviewed), "reviewed"),
            (Head::is_set(&self.head.verified), "verified"),
        ];
        if let Some((_, missing)) = missing.into_iter().find(|(is, _)| !is && !force) {
            return Err(Refusal::NotReady { id: self.head.id.clone(), missing });
        }
        let now = time(self.by.at);
        self.item.remove("lease");
        self.item.set_raw("closed", &now);
        self.status("closed", "closed");
        self.event("closed", "Closed.", None, references)
    }

    fn block(&mut self) -> Result<(), Refusal> {
        if !matches!(self.head.status.as_str(), "open" | "claimed") {
            return Err(self.refuse("only open issues are blocked"));
        }
        if self.is_others() && !has_ended(&self.head, self.by.at) {
            return Err(self.owned());
        }
        self.item.set("owner", "");
        self.item.remove("lease");
        self.status("blocked", "blocked");
        self.event("blocked", "Blocked.", None, &[])
    }

    fn unblock(&mut self) -> Result<(), Refusal> {
        if self.head.status != "blocked" {
            return Err(self.refuse("it is not blocked"));
        }
        self.status("open", "open");
        self.event("reopened", "Unblocked.", None, &[])
    }

    fn reopen(&mut self) -> Result<(), Refusal> {
        if matches!(self.head.status.as_str(), "open" | "claimed") {
            return Err(self.refuse("it is open"));
        }
        self.back();
        self.event("reopened", "Reopened.", None, &[])
    }

    /// Adds an id to the list of related ones, in the form that the list has.
    fn link(&mut self, to: &str) {
        let known = self.item.get("related");
        let inner = known.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let list = inner.map(|inner| inner.split(',').map(str::trim).filter(|one| !one.is_empty()));
        let to_write = scalar::write(to);
        match list {
            Some(list) => {
                let mut list: Vec<String> = list.map(str::to_owned).collect();
                if !list.contains(&to_write) {
                    list.push(to_write);
                }
                self.item.set_raw("related", &format!("[{}]", list.join(", ")));
            }
            None if known.is_empty() && !self.item.has_list("related") => {
                self.item.set_raw("related", &format!("[{to_write}]"));
            }
            None => self.item.push("related", &to_write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue() -> String {
        let lines =
            ["schema: coordination-item/v1", "id: P-ISS-1", "type: issue", "category: bug", "status: open"];
        let head = ["project: p", "title: x", "owner: null", "priority: medium", "created: c", "updated: u"];
        let rest = [
            "done: null",
            "closed: null",
            "reviewed: false",
            "verified: false",
            "testable: yes",
            "related: []",
        ];
        let history = "current:\n  event: evt-0001\n  message: msg-0001\nevents:\n  - id: evt-0001\n    type: opened\nmessages:\n  - id: msg-0001\n    event: evt-0001\n    body: |-\n      b\n";
        let all: Vec<&str> = lines.into_iter().chain(head).chain(rest).collect();
        format!("{}\n{history}", all.join("\n"))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + seconds).unwrap()
    }

    fn act(text: &str, who: &str, seconds: i64, action: &Action) -> Result<Changed, Refusal> {
        let actor = Actor { id: who.into(), role: String::new() };
        action.apply(text, &By { actor: &actor, at: at(seconds), message: None })
    }

    #[test]
    fn an_issue_goes_from_open_to_closed() {
        let claim = Action::Claim { until: Some(at(100)), force: false };
        let one = act(&issue(), "a", 0, &claim).unwrap();
        let head = Head::read(&one.text);
        assert_eq!((head.status.as_str(), head.owner.as_str()), ("claimed", "a"));
        assert_eq!(one.state, Some("open"));
        // Nobody else while the claim holds, and anybody afterwards.
        assert!(matches!(act(&one.text, "b", 50, &claim), Err(Refusal::Owned { .. })));
        let other = act(&one.text, "b", 101, &Action::Claim { until: None, force: false }).unwrap();
        assert_eq!(Head::read(&other.text).owner, "b");
        assert!(history::read(&other.text)[2].message.contains("the claim of a had ended"));
        assert!(!other.text.contains("lease"));
        // The same agent goes on, without an event.
        let renewed = act(&one.text, "a", 60, &Action::Renew { until: at(200) }).unwrap();
        assert_eq!(history::read(&renewed.text).len(), 2);
        assert!(matches!(
            act(&one.text, "b", 60, &Action::Renew { until: at(200) }),
            Err(Refusal::NotYours { .. })
        ));

        let done = Action::Done { references: vec![], force: false };
        assert!(matches!(act(&one.text, "b", 50, &done), Err(Refusal::Owned { .. })));
        let done = act(&one.text, "a", 70, &done).unwrap();
        assert_eq!(done.state, Some("done"));
        assert!(!done.text.contains("lease"));
        let close = Action::Close { references: vec![], force: false };
        assert!(matches!(
            act(&done.text, "c", 80, &close),
            Err(Refusal::NotReady { missing: "reviewed", .. })
        ));
        let reviewed = act(&done.text, "r", 80, &Action::Review { passed: true, force: false }).unwrap();
        assert_eq!(reviewed.state, None);
        let failed = act(&reviewed.text, "t", 90, &Action::Verify { passed: false, force: false }).unwrap();
        let head = Head::read(&failed.text);
        assert_eq!((failed.state, head.owner.as_str(), head.reviewed.as_str()), (Some("open"), "", "false"));
        let verified = act(&reviewed.text, "t", 90, &Action::Verify { passed: true, force: false }).unwrap();
        let closed = act(&verified.text, "t", 91, &close).unwrap();
        assert_eq!((closed.state, Head::read(&closed.text).status.as_str()), (Some("closed"), "closed"));
        assert!(matches!(act(&closed.text, "a", 92, &claim), Err(Refusal::Status { .. })));
        let reopened = act(&closed.text, "a", 93, &Action::Reopen).unwrap();
        assert_eq!(reopened.state, Some("open"));
        let kinds: Vec<String> = history::read(&reopened.text).into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["opened", "claimed", "done", "reviewed", "verified", "closed", "reopened"]);
        let _valid: serde_json::Value = serde_saphyr::from_str(&reopened.text).unwrap();
    }

    #[test]
    fn what_is_no_issue_has_no_states() {
        let todo = "id: T\ntype: todo\nstatus: active\nrelated:\n  - A\nbody: |-\n  x\n";
        let refused = act(todo, "a", 0, &Action::Claim { until: None, force: true });
        assert!(matches!(refused, Err(Refusal::NoIssue { .. })));
        assert!(matches!(act(todo, "a", 0, &Action::Comment), Err(Refusal::NoHistory { .. })));
        let linked = act(todo, "a", 0, &Action::Link("B: c".into())).unwrap();
        assert!(linked.text.contains("related:\n  - A\n  - 'B: c'\n"), "{}", linked.text);
        let prioritised = act(todo, "a", 0, &Action::Priority("high".into())).unwrap();
        assert!(prioritised.text.contains("priority: high"));
    }

    #[test]
    fn blocking_linking_and_releasing() {
        let blocked = act(&issue(), "a", 0, &Action::Block).unwrap();
        assert_eq!(blocked.state, Some("blocked"));
        assert!(act(&blocked.text, "a", 1, &Action::Claim { until: None, force: false }).is_err());
        assert_eq!(act(&blocked.text, "a", 1, &Action::Unblock).unwrap().state, Some("open"));
        let linked = act(&issue(), "a", 0, &Action::Link("P-ISS-2".into())).unwrap();
        let twice = act(&linked.text, "a", 0, &Action::Link("P-ISS-2".into())).unwrap();
        assert!(twice.text.contains("related: [P-ISS-2]\n"));
        let claimed = act(&issue(), "a", 0, &Action::Claim { until: None, force: false }).unwrap();
        assert!(matches!(
            act(&claimed.text, "b", 0, &Action::Unclaim { force: false }),
            Err(Refusal::NotYours { .. })
        ));
        assert_eq!(
            Head::read(&act(&claimed.text, "b", 0, &Action::Unclaim { force: true }).unwrap().text).owner,
            ""
        );
    }
}
