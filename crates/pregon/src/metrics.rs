//! Every metric as a field of one struct, with name, help and labels beside it. Label values come from enums and the
//! configuration, never from users; the few addresses to which most was refused are the exception.
//!
//! Shards count in plain integers while they work and add the sums here once per batch.

mod process;
mod returning;

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;
use pregon_capture::outbox::Report;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Config;
use crate::limits::Connections;
pub use crate::reason::Reason;

/// Addresses that the text names.
const ADDRESSES: usize = 10;

/// How a session is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    WebSocket,
    Sse,
    /// Socket.IO over a WebSocket.
    SocketIo,
    /// Socket.IO over polls.
    Polling,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::SocketIo, Self::Polling];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::SocketIo => "socketio",
            Self::Polling => "polling",
        }
    }
}

impl EncodeLabelValue for Transport {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TransportLabel {
    pub transport: Transport,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: Reason,
}

/// One of the addresses to which most was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AddressLabel {
    pub address: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    pub source: String,
}

/// A `[[watch]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchLabel {
    pub watch: String,
}

/// A `[[decrypt]]` section.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecryptLabel {
    pub decrypt: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    pub route: String,
}

/// All metrics of one node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub events: Family<SourceLabel, Counter>,
    pub source_up: Family<SourceLabel, Gauge>,
    pub standby: Gauge,
    pub cluster_nodes: Gauge,
    pub cluster_leader: Family<SourceLabel, Gauge>,
    pub watch_failing: Family<WatchLabel, Gauge>,
    pub source_gaps: Family<SourceLabel, Counter>,
    pub malformed: Family<SourceLabel, Counter>,
    pub unreadable: Family<SourceLabel, Counter>,
    pub capture_lag: Histogram,
    pub outbox_rows: Gauge,
    pub outbox_bytes: Gauge,
    pub outbox_lag: Gauge<f64, AtomicU64>,
    pub outbox_stalled: Gauge<f64, AtomicU64>,
    pub slot_retained: Gauge,
    pub slot_alarm: Gauge,
    pub slot_standbys: Gauge,
    pub wal_invisible: Counter,
    pub routes: Family<RouteLabel, Counter>,
    pub publications: Counter,
    pub decrypt_failures: Family<DecryptLabel, Counter>,
    pub deliveries: Counter,
    pub delivered_bytes: Counter,
    pub delivery: Histogram,
    pub sessions: Family<TransportLabel, Gauge>,
    pub sessions_opened: Family<TransportLabel, Counter>,
    pub drops: Family<ReasonLabel, Counter>,
    /// Filled when the text is written, from what the connections know.
    refused: Family<AddressLabel, Gauge>,
    connections: OnceLock<Arc<Connections>>,
    rendering: Mutex<()>,
    pub replayed: Counter,
    pub gaps: Counter,
    pub window_bytes: Gauge,
    pub window_entries: Gauge,
    pub log_bytes: Gauge,
    pub log_segments: Gauge,
    pub log_oldest: Gauge,
    pub log_newest: Gauge,
    pub log_sync: Histogram,
    pub log_failures: Counter,
    pub log_reads: Counter,
    pub recovery_unsaved: Gauge,
    /// 1 if the last configuration was taken over, at the start or by a reload.
    config_reload_successful: Gauge,
    /// When one was taken over last, seconds since 1970.
    config_reloaded: Gauge,
    pub resume_unsaved: Gauge,
    pub resumed: Counter,
    /// Lines of the process's own log, not of the log of publications.
    pub log_suppressed: Counter,
}

/// From 100 µs to 10 s: a commit reaches a screen in about a millisecond, and trouble shows in seconds.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            events: Family::default(),
            source_up: Family::default(),
            standby: Gauge::default(),
            cluster_nodes: Gauge::default(),
            cluster_leader: Family::default(),
            watch_failing: Family::default(),
            source_gaps: Family::default(),
            malformed: Family::default(),
            unreadable: Family::default(),
            capture_lag: seconds(),
            outbox_rows: Gauge::default(),
            outbox_bytes: Gauge::default(),
            outbox_lag: Gauge::default(),
            outbox_stalled: Gauge::default(),
            slot_retained: Gauge::default(),
            slot_alarm: Gauge::default(),
            slot_standbys: Gauge::default(),
            wal_invisible: Counter::default(),
            routes: Family::default(),
            publications: Counter::default(),
            decrypt_failures: Family::default(),
            deliveries: Counter::default(),
            delivered_bytes: Counter::default(),
            delivery: seconds(),
            sessions: Family::default(),
            sessions_opened: Family::default(),
            drops: Family::default(),
            refused: Family::default(),
            connections: OnceLock::new(),
            rendering: Mutex::default(),
            replayed: Counter::default(),
            gaps: Counter::default(),
            window_bytes: Gauge::default(),
            window_entries: Gauge::default(),
            log_bytes: Gauge::default(),
            log_segments: Gauge::default(),
            log_oldest: Gauge::default(),
            log_newest: Gauge::default(),
            log_sync: seconds(),
            log_failures: Counter::default(),
            log_reads: Counter::default(),
            recovery_unsaved: Gauge::default(),
            config_reload_successful: Gauge::default(),
            config_reloaded: Gauge::default(),
            resume_unsaved: Gauge::default(),
            resumed: Counter::default(),
            log_suppressed: Counter::default(),
        };
        metrics.register_sources();
        metrics.register_log();
        metrics.register_clients();
        metrics.register_process();
        Arc::new(metrics)
    }

    fn register_sources(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register("events", "Events captured from a source", self.events.clone());
        let help = "1 while the source is attached";
        r.register("source_up", help, self.source_up.clone());
        let help = "1 while another gateway reads the database and this one refuses clients";
        r.register("standby", help, self.standby.clone());
        let help = "Nodes that share the log, this one included; 0 where the log is not shared";
        r.register("cluster_nodes", help, self.cluster_nodes.clone());
        let help = "1 while this node reads the source for all nodes that share the log";
        r.register("cluster_leader", help, self.cluster_leader.clone());
        r.register(
            "watch_failing",
            "1 from the first row that a watch's trigger could not render until its next change that comes as it should",
            self.watch_failing.clone(),
        );
        let help = "Times that a source may have lost events";
        r.register("source_gaps", help, self.source_gaps.clone());
        r.register(
            "malformed",
            "Messages that look like JSON and do not parse, or that are not UTF-8; they go on as text",
            self.malformed.clone(),
        );
        r.register(
            "unreadable_values",
            "Values that a rule could not read (a number beyond all floats, half a surrogate pair, more than 128 levels); null for the rule, unchanged for clients",
            self.unreadable.clone(),
        );
        let help = "From the trigger's clock to the gateway";
        r.register_with_unit("capture_lag", help, Unit::Seconds, self.capture_lag.clone());
        self.register_outbox();
        self.register_slot();
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register(
            "route_matches",
            "Events that a route addressed",
            self.routes.clone(),
        );
        r.register(
            "publications",
            "Publications given to the log; one that repeats an idempotency key counts again",
            self.publications.clone(),
        );
        r.register(
            "decrypt_failures",
            "Fields that went out as null because they could not be decrypted",
            self.decrypt_failures.clone(),
        );
    }

    fn register_process(&mut self) {
        self.registry.register_collector(Box::new(process::Process));
        let r = self.registry.sub_registry_with_prefix("pregon");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The version that runs", build);
        let help = "1 if the last configuration was taken over, at the start or by a reload";
        let successful = self.config_reload_successful.clone();
        r.register("config_last_reload_successful", help, successful);
        r.register_with_unit(
            "config_last_reload_success_timestamp",
            "When a configuration was taken over last, since 1970",
            Unit::Seconds,
            self.config_reloaded.clone(),
        );
    }

    fn register_log(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register_with_unit(
            "window",
            "Memory that the recent log takes",
            Unit::Bytes,
            self.window_bytes.clone(),
        );
        r.register(
            "window_entries",
            "Entries of the recent log",
            self.window_entries.clone(),
        );
        let help = "Disk that the log takes, 0 without one";
        r.register_with_unit("log", help, Unit::Bytes, self.log_bytes.clone());
        r.register("log_segments", "Files of the disk log", self.log_segments.clone());
        r.register(
            "log_oldest",
            "Offset of the oldest entry that can be replayed",
            self.log_oldest.clone(),
        );
        r.register(
            "log_newest",
            "Offset of the newest entry",
            self.log_newest.clone(),
        );
        let help = "Time of one fsync of the disk log, which makes all batches durable that waited for it";
        r.register_with_unit("log_sync", help, Unit::Seconds, self.log_sync.clone());
        r.register(
            "log_failures",
            "Attempts to write or read the disk log that failed",
            self.log_failures.clone(),
        );
        r.register(
            "log_reads",
            "Pieces that were read from the disk for replays beyond the window",
            self.log_reads.clone(),
        );
        self.register_returning();
    }

    fn register_slot(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register(
            "wal_invisible",
            "Waits for changes of the WAL that no query showed yet when they arrived",
            self.wal_invisible.clone(),
        );
        r.register_with_unit(
            "slot_retained",
            "WAL that the server keeps for our slot",
            Unit::Bytes,
            self.slot_retained.clone(),
        );
        r.register(
            "slot_alarm",
            "1 while the slot has used up more than half of max_slot_wal_keep_size, beyond which it is lost",
            self.slot_alarm.clone(),
        );
        r.register(
            "slot_standbys_awaited",
            "Slots in synchronized_standby_slots that nobody reads: while there is one the server streams nothing to us",
            self.slot_standbys.clone(),
        );
    }

    fn register_outbox(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register(
            "outbox_rows",
            "Rows in the outbox, read ones that are kept for a while included",
            self.outbox_rows.clone(),
        );
        let help = "About what the rows of the outbox weigh";
        r.register_with_unit("outbox", help, Unit::Bytes, self.outbox_bytes.clone());
        let help = "Age of the oldest row that is not in the log yet";
        r.register_with_unit("outbox_lag", help, Unit::Seconds, self.outbox_lag.clone());
        let help = "For how long delivery has waited for a transaction that is still open";
        r.register_with_unit("outbox_stalled", help, Unit::Seconds, self.outbox_stalled.clone());
    }

    fn register_clients(&mut self) {
        let r = self.registry.sub_registry_with_prefix("pregon");
        r.register(
            "deliveries",
            "Entries written to sessions",
            self.deliveries.clone(),
        );
        r.register_with_unit(
            "delivered",
            "Bytes written to sessions",
            Unit::Bytes,
            self.delivered_bytes.clone(),
        );
        let help = "From the event's commit (trigger's clock) to the write to the sockets of a shard";
        r.register_with_unit("commit_to_write", help, Unit::Seconds, self.delivery.clone());
        r.register("sessions", "Connected sessions", self.sessions.clone());
        let help = "Sessions since the start";
        r.register("sessions_opened", help, self.sessions_opened.clone());
        let help = "What was not delivered or not admitted, by reason";
        r.register("drops", help, self.drops.clone());
        let help =
            "What was refused to the addresses to which most was refused in the last ten minutes, by reason";
        r.register("address_refused", help, self.refused.clone());
        let help = "Lines that the process did not log because there were too many of their kind";
        r.register("log_suppressed", help, self.log_suppressed.clone());
        r.register("replayed", "Entries sent again on request", self.replayed.clone());
        r.register("gaps", "Gaps told to sessions", self.gaps.clone());
    }

    /// Takes over what the reader of the outbox reports.
    pub fn outbox(&self, report: &Report) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.outbox_rows.set(whole(report.rows));
        self.outbox_bytes.set(whole(report.bytes));
        self.outbox_lag.set(report.lag);
        let stalled = report
            .stall
            .as_ref()
            .map_or(0.0, |stall| stall.lasts.as_secs_f64());
        self.outbox_stalled.set(stalled);
    }

    /// Series whose labels are known from the start begin at 0: an alert that compares with before would not see the first incident
    /// otherwise.
    pub fn begin(&self, config: &Config) {
        for reason in Reason::ALL {
            begin(&self.drops, &ReasonLabel { reason });
        }
        for transport in Transport::ALL {
            begin(&self.sessions, &TransportLabel { transport });
            begin(&self.sessions_opened, &TransportLabel { transport });
        }
        let watches = config.watch.iter().map(|watch| &watch.name);
        let listens = config.listen.iter().map(|listen| &listen.name);
        for source in watches.chain(listens) {
            let label = SourceLabel {
                source: source.clone(),
            };
            begin(&self.events, &label);
            begin(&self.source_gaps, &label);
            begin(&self.malformed, &label);
        }
        for section in &config.decrypt {
            let decrypt = section.name.clone();
            begin(&self.decrypt_failures, &DecryptLabel { decrypt });
        }
    }

    /// Notes whether a configuration was taken over.
    pub fn reloaded(&self, successful: bool) {
        self.config_reload_successful.set(i64::from(successful));
        if successful {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seconds = now.map_or(0, |since| since.as_secs());
            self.config_reloaded
                .set(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Counts one drop.
    pub fn dropped(&self, reason: Reason) {
        self.drops.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The connections whose addresses are told.
    pub fn tell_of(&self, connections: Arc<Connections>) {
        // Told twice, the first stays: a node has one door.
        let _ = self.connections.set(connections);
    }

    /// Takes over to whom most was refused: few, so that strangers cannot make many series.
    fn measure_addresses(&self) {
        self.refused.clear();
        let Some(connections) = self.connections.get() else {
            return;
        };
        for account in connections.worst(ADDRESSES) {
            for (reason, count) in account.reasons() {
                let address = account.address().to_string();
                let label = AddressLabel { address, reason };
                self.refused.get_or_create(&label).set(i64::from(count));
            }
        }
    }

    /// The exposition text for `/metrics`.
    pub fn render(&self) -> String {
        let _one_at_a_time = self.rendering.lock();
        self.measure_addresses();
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            let _ = write!(text, "# encoding failed\n# EOF\n");
        }
        text
    }
}

/// A series is there from now on.
fn begin<L, M>(family: &Family<L, M>, label: &L)
where
    L: Clone + Eq + std::hash::Hash,
    M: Default,
{
    drop(family.get_or_create(label));
}
