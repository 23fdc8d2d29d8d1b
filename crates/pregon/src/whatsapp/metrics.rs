//! The router's metrics and the log line of each message: what is counted is also what is said.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use pregon_capture::fault::Fault;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::lines;
use crate::route::naming::Ambiguous;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Accepted,
    BadSignature,
    TooLarge,
    /// It could not be kept, or not be read to its end: the sender tries again.
    Unavailable,
    Verified,
    Refused,
}

impl Answer {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::BadSignature => "bad_signature",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Verified => "verified",
            Self::Refused => "refused",
        }
    }
}

impl EncodeLabelValue for Answer {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Stored,
    Duplicate,
    Status,
    Event,
    Failed,
    Dead,
}

impl Outcome {
    pub(super) fn of(word: &str) -> Self {
        match word {
            "stored" => Self::Stored,
            "duplicate" => Self::Duplicate,
            "status" => Self::Status,
            "failed" => Self::Failed,
            "dead" => Self::Dead,
            _ => Self::Event,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Status => "status",
            Self::Event => "event",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AnswerLabel {
    answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SentLabel {
    kind: &'static str,
    result: &'static str,
}

/// All metrics of one router.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<AnswerLabel, Counter>,
    answer: Histogram,
    items: Family<OutcomeLabel, Counter>,
    age: Histogram,
    pub(super) waiting: Gauge,
    pub(super) dead: Gauge,
    pub(super) held: Gauge,
    pub(super) streamed: Gauge,
    pub(super) commits: Counter,
    pub(super) unreadable: Counter,
    pub(super) queued: Gauge,
    ambiguous: Counter,
    sent: Family<SentLabel, Counter>,
    /// Lines of the process's log.
    pub(super) log_suppressed: Counter,
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// What `unreadable_values` counts.
const UNREADABLE: &str =
    "Values of deliveries that could not be read and are null in the items; whole in the delivery's body";

/// What `ambiguous` counts.
const AMBIGUOUS: &str = "Channels of rules that heard nothing, because a value would have made a name that is taken apart wrongly";

/// What `log_suppressed` counts.
const SUPPRESSED: &str = "Lines that the process did not log because there were too many of their kind";

/// What `inbox_commits` counts.
const COMMITS: &str = "Transactions that kept deliveries";

/// From 1 ms to a minute: an answer should take less than 250 ms, a repeated attempt takes seconds.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

impl Metrics {
    pub(super) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("pregon_router");
        let unreadable = counter(&mut registry, "unreadable_values", UNREADABLE);
        let log_suppressed = counter(&mut registry, "log_suppressed", SUPPRESSED);
        let requests = Family::<AnswerLabel, Counter>::default();
        let answer = Histogram::new(SECONDS);
        let items = Family::<OutcomeLabel, Counter>::default();
        let age = Histogram::new(SECONDS);
        let (waiting, dead) = (Gauge::default(), Gauge::default());
        let ambiguous = counter(&mut registry, "ambiguous", AMBIGUOUS);
        let commits = counter(&mut registry, "inbox_commits", COMMITS);
        let (queued, sent) = (Gauge::<i64>::default(), Family::<SentLabel, Counter>::default());
        let help = "1 while work is queued, 0 while it is done at once";
        registry.register("queued", help, queued.clone());
        let help = "Replies and webhooks by what became of them";
        registry.register("sent", help, sent.clone());
        registry.register("requests", "Requests to the webhook by answer", requests.clone());
        let help = "From a delivery's head to its answer";
        registry.register_with_unit("answer", help, Unit::Seconds, answer.clone());
        registry.register(
            "items",
            "Messages, statuses and the like by outcome",
            items.clone(),
        );
        let help = "From an item's arrival in the inbox to its end";
        registry.register_with_unit("item_age", help, Unit::Seconds, age.clone());
        registry.register("waiting", "Items that are not processed yet", waiting.clone());
        registry.register("dead_letters", "Items that were given up", dead.clone());
        let (held, streamed) = (Gauge::default(), Gauge::default());
        let help = "Contacts whose later items wait for one that failed";
        registry.register("held_contacts", help, held.clone());
        registry.register(
            "streamed",
            "Entries that wait in the queue in Redis",
            streamed.clone(),
        );
        Arc::new(Self {
            registry,
            requests,
            answer,
            items,
            age,
            waiting,
            dead,
            held,
            streamed,
            commits,
            unreadable,
            queued,
            ambiguous,
            sent,
            log_suppressed,
        })
    }

    pub(super) fn answered(&self, answer: Answer, took: Option<Duration>) {
        self.requests.get_or_create(&AnswerLabel { answer }).inc();
        if let Some(took) = took {
            self.answer.observe(took.as_secs_f64());
        }
    }

    /// Counts something that was to be sent.
    pub(super) fn sent(&self, kind: &'static str, result: &'static str) {
        self.sent.get_or_create(&SentLabel { kind, result }).inc();
    }

    /// Counts a name that a rule may not use, and says so.
    pub(super) fn ambiguous(&self, rule: usize, name: &Ambiguous) {
        self.ambiguous.inc();
        let rule = format!("router.rule[{rule}]");
        tracing::warn!(name: lines::EACH_EVENT, rule, error = %name, "a rule does not publish on a channel");
    }

    /// Counts an item and says so, one line each.
    pub(super) fn processed(&self, done: &super::worker::Done) {
        let outcome = Outcome::of(&done.outcome);
        self.items.get_or_create(&OutcomeLabel { outcome }).inc();
        if !matches!(outcome, Outcome::Failed) {
            self.age.observe(done.age / 1000.0);
        }
        let conversation = done.conversation.as_ref().map(ToString::to_string);
        let conversation_id = conversation.as_deref().unwrap_or_default().trim_matches('"');
        let (work, delivery, kind) = (done.work, done.delivery, done.kind.as_str());
        let (wamid, duration_ms) = (done.wamid.as_deref().unwrap_or_default(), done.took);
        match &done.error {
            None => {
                tracing::info!(
                    name: lines::RECORD,
                    event = "message_processed",
                    conversation_id,
                    duration_ms,
                    success = true,
                    kind,
                    outcome = outcome.as_str(),
                    wamid,
                    delivery,
                    age_ms = done.age,
                    "item processed"
                );
            }
            Some(error) => {
                let fault = Fault::coded(error);
                tracing::debug!(work, error = fault.whole(), "why an item was not processed");
                tracing::warn!(
                    name: lines::RECORD,
                    event = "message_processed",
                    conversation_id,
                    duration_ms,
                    success = false,
                    kind,
                    outcome = outcome.as_str(),
                    wamid,
                    delivery,
                    work,
                    attempts = done.attempts,
                    error = %fault,
                    constraint = done.constraint,
                    "{}",
                    if matches!(outcome, Outcome::Dead) {
                        "item given up, its contact goes on"
                    } else {
                        "item not processed, its contact waits for it"
                    }
                );
            }
        }
    }

    /// The exposition text for `/metrics`.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            let _ = write!(text, "# encoding failed\n# EOF\n");
        }
        text
    }
}
