//! How much the log may take: a place in the code writes so many lines a minute; what it would write beyond is counted, and told as one line
//! with `suppressed` when the minute is over or the process ends.
//!
//! It stands before the writer of the log (`cli/logging.rs`) and is the one place that decides this; nobody else counts lines or times. Lines of
//! `debug` and `trace` are never limited: they are written only for somebody who asked for them. A thread exists only while there is
//! something to tell.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The name of lines that are the record of what was done: each is written, however many there are.
pub(crate) const RECORD: &str = "pregon.record";
/// The name of lines that every single event can cause: one of them says it.
pub(crate) const EACH_EVENT: &str = "pregon.each_event";

/// Lines a minute by the name of a line; all others have `[limits] log_lines`. Zero means no limit.
const POLICY: [(&str, u32); 2] = [(RECORD, 0), (EACH_EVENT, 1)];

/// `[limits] log_lines` by default, and until the configuration is read.
pub(crate) const DEFAULT: u32 = 20;

/// Fields that name a section of the configuration: one that fails all the time must not hide another. Nothing that strangers choose may be
/// among them, or they would have lines of their own.
const SECTIONS: [&str; 5] = ["route", "watch", "webhook", "decrypt", "rule"];

const MINUTE: Duration = Duration::from_secs(60);
/// Places that are remembered; beyond them sections share the place in the code.
const MOST: usize = 4096;
/// Bytes of a line's text that are repeated where it is told how many were left out.
const TEXT: usize = 200;

/// See the module.
#[derive(Debug)]
pub struct Lines {
    most: AtomicU32,
    state: Mutex<State>,
    /// There is something to tell at once, or another deadline.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, Place>,
    /// What minutes that are over have left out, until it is told.
    over: Vec<Suppressed>,
    /// All that was left out, and where it is counted.
    suppressed: u64,
    counters: Vec<Counter>,
    /// There is a thread that tells.
    telling: bool,
}

/// A place in the code, and the section that its line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    callsite: Identifier,
    section: u64,
}

/// What a place has written since its minute began.
#[derive(Debug)]
struct Place {
    since: Instant,
    written: u32,
    left_out: Option<Suppressed>,
}

/// Lines that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suppressed {
    level: Level,
    line: String,
    section: String,
    count: u64,
}

impl Lines {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            most: AtomicU32::new(DEFAULT),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Takes over `[limits] log_lines`.
    pub fn limit(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Counts what is left out, and what was until now.
    pub fn count_in(&self, counter: &Counter) {
        let mut state = self.state.lock();
        counter.inc_by(state.suppressed);
        state.counters.push(counter.clone());
    }

    /// Tells what was left out and was not told yet. For the end of the process.
    pub fn finish(&self) {
        let all = self.state.lock().take_all();
        all.iter().for_each(Suppressed::tell);
    }

    /// The filter of the layer that writes.
    pub fn filter(self: &Arc<Self>) -> Limit {
        Limit(Arc::clone(self))
    }

    /// Lines a minute for what has this name; zero means no limit.
    fn budget(&self, name: &str) -> u32 {
        let own = POLICY.iter().find(|(named, _)| *named == name);
        own.map_or_else(|| self.most.load(Ordering::Relaxed), |(_, lines)| *lines)
    }

    /// Whether an event is written now.
    fn takes(self: &Arc<Self>, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        let budget = self.budget(metadata.name());
        if *metadata.level() > Level::INFO || budget == 0 {
            return true;
        }
        let section = Section::of(event);
        let key = Key {
            callsite: metadata.callsite(),
            section: section.hash(),
        };
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.takes(key, budget, now, || Suppressed::of(event, section)) {
            return true;
        }
        if !state.telling {
            state.telling = self.tell_later();
        }
        false
    }

    /// Starts the thread that tells; false if there can be none, so that the next line tries again.
    fn tell_later(self: &Arc<Self>) -> bool {
        let lines = Arc::clone(self);
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn(move || lines.tell()).is_ok()
    }

    /// Tells each minute's rest when it is over, until nothing is left out any more.
    fn tell(&self) {
        let mut state = self.state.lock();
        loop {
            let over = state.take_over(Instant::now());
            if !over.is_empty() {
                // The line comes here again through the filter.
                drop(state);
                over.iter().for_each(Suppressed::tell);
                state = self.state.lock();
                continue;
            }
            let Some(next) = state.next() else {
                state.telling = false;
                return;
            };
            self.changed.wait_until(&mut state, next);
        }
    }
}

impl State {
    /// Whether a place may write now; what it may not is counted.
    fn takes(&mut self, key: Key, budget: u32, now: Instant, left_out: impl FnOnce() -> Suppressed) -> bool {
        if self.places.len() >= MOST && !self.places.contains_key(&key) {
            self.places
                .retain(|_, place| place.left_out.is_some() || place.is_current(now));
        }
        let key = if self.places.len() < MOST || self.places.contains_key(&key) {
            key
        } else {
            Key { section: 0, ..key }
        };
        let place = self.places.entry(key).or_insert(Place {
            since: now,
            written: 0,
            left_out: None,
        });
        if !place.is_current(now) {
            self.over.extend(place.left_out.take());
            (place.since, place.written) = (now, 0);
        }
        if place.written < budget {
            place.written += 1;
            return true;
        }
        place.left_out.get_or_insert_with(left_out).count += 1;
        self.suppressed += 1;
        for counter in &self.counters {
            counter.inc();
        }
        false
    }

    /// What is to be told now.
    fn take_over(&mut self, now: Instant) -> Vec<Suppressed> {
        let mut over = std::mem::take(&mut self.over);
        for place in self.places.values_mut().filter(|place| !place.is_current(now)) {
            over.extend(place.left_out.take());
        }
        over
    }

    fn take_all(&mut self) -> Vec<Suppressed> {
        let mut all = std::mem::take(&mut self.over);
        all.extend(self.places.values_mut().filter_map(|place| place.left_out.take()));
        all
    }

    /// When the next minute that has left something out is over.
    fn next(&self) -> Option<Instant> {
        let waiting = self.places.values().filter(|place| place.left_out.is_some());
        waiting.map(|place| place.since + MINUTE).min()
    }
}

impl Place {
    fn is_current(&self, now: Instant) -> bool {
        now.duration_since(self.since) < MINUTE
    }
}

impl Suppressed {
    /// The first of them, not counted yet.
    fn of(event: &Event<'_>, section: Section) -> Self {
        let mut text = Text::default();
        event.record(&mut text);
        Self {
            level: *event.metadata().level(),
            line: text.0,
            section: section.text,
            count: 0,
        }
    }

    fn tell(&self) {
        let (line, suppressed) = (self.line.as_str(), self.count);
        let section = (!self.section.is_empty()).then_some(self.section.as_str());
        match self.level {
            Level::ERROR => {
                tracing::error!(name: RECORD, line, section, suppressed, "lines were left out of the log");
            }
            Level::WARN => {
                tracing::warn!(name: RECORD, line, section, suppressed, "lines were left out of the log");
            }
            _ => tracing::info!(name: RECORD, line, section, suppressed, "lines were left out of the log"),
        }
    }
}

/// The section that an event is about.
#[derive(Debug, Default)]
struct Section {
    text: String,
}

impl Section {
    fn of(event: &Event<'_>) -> Self {
        let mut section = Self::default();
        event.record(&mut section);
        section
    }

    /// Zero for none.
    fn hash(&self) -> u64 {
        if self.text.is_empty() {
            return 0;
        }
        foldhash::fast::FixedState::default().hash_one(&self.text)
    }
}

impl Visit for Section {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if SECTIONS.contains(&field.name()) {
            write_bounded(&mut self.text, value);
        }
    }
}

/// The fixed text of a line.
#[derive(Debug, Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write_bounded(&mut self.0, value);
        }
    }
}

/// Writes as much as is repeated.
fn write_bounded(text: &mut String, value: &dyn fmt::Debug) {
    struct Bounded<'a>(&'a mut String);

    impl fmt::Write for Bounded<'_> {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            let room = TEXT.saturating_sub(self.0.len());
            let end = (0..=room.min(piece.len()))
                .rev()
                .find(|at| piece.is_char_boundary(*at))
                .unwrap_or(0);
            self.0.push_str(piece.get(..end).unwrap_or_default());
            // What does not fit ends it.
            if end < piece.len() {
                Err(fmt::Error)
            } else {
                Ok(())
            }
        }
    }

    let _ = fmt::write(&mut Bounded(text), format_args!("{value:?}"));
}

/// Lets a layer write what there is room for.
#[derive(Debug, Clone)]
pub struct Limit(Arc<Lines>);

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>, _context: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _context: &Context<'_, S>) -> bool {
        self.0.takes(event)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    /// Runs with a log of our own and gives the texts that were written.
    fn written(lines: &Arc<Lines>, run: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<String>>>);

        impl<S: Subscriber> Layer<S> for Written {
            fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
                let mut text = Text::default();
                event.record(&mut text);
                self.0.lock().push(text.0);
            }
        }

        let log = Written::default();
        let subscriber = Registry::default().with(log.clone().with_filter(lines.filter()));
        tracing::subscriber::with_default(subscriber, run);
        std::mem::take(&mut *log.0.lock())
    }

    /// Ends the minute of every place.
    fn pass_a_minute(lines: &Lines) {
        for place in lines.state.lock().places.values_mut() {
            place.since = place.since.checked_sub(MINUTE).unwrap();
        }
    }

    fn warn(route: &str) {
        tracing::warn!(route, "a route fails");
    }

    #[test]
    fn a_place_writes_so_many_lines_a_minute_and_the_others_are_counted() {
        let lines = Lines::new();
        lines.limit(3);
        let counter = Counter::default();
        let told = written(&lines, || {
            (0..5).for_each(|_| warn("a"));
            lines.count_in(&counter);
            (0..5).for_each(|_| warn("a"));
            warn("b");
            pass_a_minute(&lines);
            warn("a");
        });
        assert_eq!(
            told, ["a route fails"; 5],
            "three of a, one of b, one of the next minute"
        );
        assert_eq!(counter.get(), 7);
        let mut state = lines.state.lock();
        let over = state.take_over(Instant::now());
        assert_eq!(
            over,
            [Suppressed {
                level: Level::WARN,
                line: "a route fails".into(),
                section: "a".into(),
                count: 7
            }]
        );
        assert!(state.take_all().is_empty());
    }

    #[test]
    fn records_and_lines_of_debug_are_all_written_and_an_event_is_told_once() {
        let lines = Lines::new();
        lines.limit(2);
        let told = written(&lines, || {
            for _ in 0..10 {
                tracing::info!(name: RECORD, "record");
                tracing::debug!("debug");
                tracing::warn!(name: EACH_EVENT, route = "a", "event");
                tracing::error!("error");
            }
        });
        let count = |text: &str| told.iter().filter(|line| *line == text).count();
        assert_eq!(
            (count("record"), count("debug"), count("event"), count("error")),
            (10, 10, 1, 2)
        );
    }

    #[test]
    fn what_is_left_out_is_told_at_the_end() {
        let lines = Lines::new();
        lines.limit(1);
        let told = written(&lines, || {
            (0..9).for_each(|_| warn("a"));
            lines.finish();
            lines.finish();
        });
        assert_eq!(told, ["a route fails", "lines were left out of the log"]);
    }

    #[test]
    fn no_limit_limits_nothing() {
        let lines = Lines::new();
        lines.limit(0);
        assert_eq!(written(&lines, || (0..500).for_each(|_| warn("a"))).len(), 500);
    }

    #[test]
    fn places_and_texts_are_bounded() {
        let lines = Lines::new();
        lines.limit(1);
        let long = "ñ".repeat(5000);
        written(&lines, || {
            (0..2 * MOST).for_each(|n| warn(&n.to_string()));
            (0..3).for_each(|_| warn(&long));
        });
        let state = lines.state.lock();
        assert!(state.places.len() <= MOST + 1, "{}", state.places.len());
        let longest = state.places.values().filter_map(|place| place.left_out.as_ref());
        assert!(longest.map(|left_out| left_out.section.len()).max().unwrap() <= TEXT);
    }
}
