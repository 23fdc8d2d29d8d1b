//! Which publish has arrived at how many clients, and how long that took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Bytes of a payload.
pub(crate) const PAYLOAD: usize = 200;
/// Latencies beyond it are counted as it.
const LONGEST_MICROS: u64 = 60_000_000;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) publishes: usize,
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    /// From the publish's sending to a client's read, milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

pub(super) struct Tally {
    clients: usize,
    round: u32,
    sent: Vec<Instant>,
    /// Clients that have so many deliveries and more, by number of the delivery.
    reached: Vec<usize>,
    complete: usize,
    deliveries: u64,
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new(clients: usize) -> Self {
        let latency =
            Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds and digits are valid");
        Self {
            clients,
            round: 0,
            sent: Vec::new(),
            reached: Vec::new(),
            complete: 0,
            deliveries: 0,
            latency,
        }
    }

    /// Begins a new round: clients count from 0 again.
    pub(super) fn reset(&mut self) {
        self.round += 1;
        self.sent.clear();
        self.reached.clear();
        self.complete = 0;
        self.deliveries = 0;
        self.latency.reset();
    }

    pub(super) fn round(&self) -> u32 {
        self.round
    }

    /// JSON of exactly [`PAYLOAD`] bytes, different each time.
    pub(super) fn next_payload(&self) -> String {
        let number = self.sent.len();
        let mut text =
            format!(r#"{{"id":"{number:012}","producto":"Café de olla","cantidad":3,"total":87.25,"nota":""#);
        let fill = PAYLOAD.saturating_sub(text.len() + 2);
        text.extend(std::iter::repeat_n('x', fill));
        text.push_str("\"}");
        text
    }

    pub(super) fn sent(&mut self) {
        self.sent.push(Instant::now());
        self.reached.push(0);
    }

    /// A client that had `before` deliveries has `count` more.
    pub(super) fn arrived(&mut self, before: usize, count: usize) {
        let now = Instant::now();
        self.deliveries += count as u64;
        let sent = self.sent.iter().skip(before).take(count);
        let reached = self.reached.iter_mut().skip(before).take(count);
        for (sent, reached) in sent.zip(reached) {
            *reached += 1;
            let micros = u64::try_from((now - *sent).as_micros()).unwrap_or(LONGEST_MICROS);
            self.latency.saturating_record(micros);
        }
        while self.reached.get(self.complete) == Some(&self.clients) {
            self.complete += 1;
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.sent.len() - self.complete
    }

    pub(super) fn all_arrived(&self) -> bool {
        self.in_flight() == 0
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.deliveries
    }

    pub(super) fn missing(&self) -> String {
        format!(
            "{} publishes to {} clients gave {} deliveries",
            self.sent.len(),
            self.clients,
            self.deliveries
        )
    }

    pub(super) fn measured(&self, time: Duration) -> Measured {
        Measured {
            publishes: self.sent.len(),
            deliveries: self.deliveries,
            seconds: time.as_secs_f64(),
            p50: self.latency.value_at_quantile(0.5) as f64 / 1000.0,
            p99: self.latency.value_at_quantile(0.99) as f64 / 1000.0,
        }
    }
}
