//! From events to the log: routing, enrichment, appending, in the order in which the source gave them.
//!
//! Each source calls [`Pipeline::ingest`] from its own task, so a slow enrichment query delays that source and no other.

mod enrich;
mod failures;
pub(crate) mod decrypt;
pub(crate) mod unrouted;

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use pregon_capture::query::Pool;
use pregon_wire::words::GapReason;

use crate::event::{Event, Publication};
use crate::log::{Append, Gap, Log, LogError, Position, Receipt, Taken, Volatile};
use crate::metrics::{Metrics, RouteLabel, SourceLabel};
use crate::route::grant::Rights;
use crate::route::rule::Routes;
use crate::route::template::Pattern;
use unrouted::UnroutedRing;

/// The catalogue, because `to_regprocedure` fails without USAGE on the schema.
const PUBLISH_INSTALLED: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n \
     ON n.oid = p.pronamespace WHERE n.nspname = 'pregon' AND p.proname = 'publish') AS installed";

/// Pause before a log that could not be written is asked again.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(200);

/// See the module.
pub(crate) struct Pipeline {
    router: Arc<ArcSwap<Routes>>,
    rights: Arc<ArcSwap<Rights>>,
    log: Arc<dyn Log>,
    volatile: Arc<Volatile>,
    pool: Option<Arc<Pool>>,
    metrics: Arc<Metrics>,
    unrouted: OnceLock<Arc<UnroutedRing>>,
}

impl Pipeline {
    pub(crate) fn new(
        router: Arc<ArcSwap<Routes>>,
        rights: Arc<ArcSwap<Rights>>,
        log: Arc<dyn Log>,
        volatile: Arc<Volatile>,
        pool: Option<Arc<Pool>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            router,
            rights,
            log,
            volatile,
            pool,
            metrics,
            unrouted: OnceLock::new(),
        })
    }

    /// From now on events that no rule publishes are remembered there.
    pub(crate) fn remember_unrouted(&self, ring: Arc<UnroutedRing>) {
        // A second ring would have nobody who looks at it.
        let _ = self.unrouted.set(ring);
    }

    /// Routes and appends events of one source, in order. The receipt resolves when the log has all of them.
    pub(crate) async fn ingest(&self, events: Vec<Event>) -> Receipt {
        self.ingest_upto(events, None).await
    }

    /// As [`Pipeline::append_surely`], after routing.
    pub(crate) async fn ingest_surely(&self, events: Vec<Event>) -> Result<(), LogError> {
        let batch = self.publications(&events).await;
        self.append_surely(batch).await
    }

    /// As [`Pipeline::ingest`]; the log keeps with them how far their source was taken, also where no route names them.
    pub(crate) async fn ingest_upto(&self, events: Vec<Event>, taken: Option<Taken>) -> Receipt {
        let batch = self.publications(&events).await;
        self.append_upto(batch, taken)
    }

    /// The routes of now.
    pub(crate) fn router(&self) -> &Arc<ArcSwap<Routes>> {
        &self.router
    }

    /// Where it appends.
    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// How far the log has taken `source`, which is read here from now on.
    pub(crate) async fn lead(&self, source: &str) -> Result<Option<Taken>, LogError> {
        self.log.lead(source).await
    }

    /// The publications of one event, as routes make them; nothing is appended.
    pub(crate) async fn route(&self, event: Event) -> Vec<Append> {
        self.publications(&[event]).await
    }

    async fn publications(&self, events: &[Event]) -> Vec<Append> {
        events.iter().for_each(|event| self.count(event));
        let router = self.router.load_full();
        let aside = enrich::Aside {
            metrics: &self.metrics,
            unrouted: self.unrouted.get().map(Arc::as_ref),
        };
        enrich::publications(&router, events, self.pool.as_deref(), &aside).await
    }

    /// Appends what is addressed already, and passes on what is not kept; that has the position of what came before it.
    pub(crate) fn append(&self, batch: Vec<Append>) -> Receipt {
        self.append_upto(batch, None)
    }

    /// Appends for a source that cannot repeat it: waits for as long as the log cannot be written; returns when it is on its way.
    pub(crate) async fn append_surely(&self, batch: Vec<Append>) -> Result<(), LogError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (kept, _) = self.pass_on(batch);
        loop {
            match self.log.append(kept.clone(), None).written().await {
                Err(error) if error.is_transient() => tokio::time::sleep(AGAIN).await,
                outcome => return outcome.map(drop),
            }
        }
    }

    fn append_upto(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        let (kept, passed) = self.pass_on(batch);
        self.log.append(kept, taken).with(passed)
    }

    /// Passes on what is not kept: the rest, and the places and positions of what went.
    fn pass_on(&self, batch: Vec<Append>) -> (Vec<Append>, Vec<(usize, Position)>) {
        self.metrics.publications.inc_by(batch.len() as u64);
        let rights = self.rights.load();
        if rights.keeps_everything() {
            return (batch, Vec::new());
        }
        let at = self.position();
        let mut kept = Vec::with_capacity(batch.len());
        let mut passed = Vec::new();
        for (place, item) in batch.into_iter().enumerate() {
            match item {
                Append::Publication(publication) if !is_kept(&rights, &publication) => {
                    passed.push((place, at));
                    self.pass(publication);
                }
                item => kept.push(item),
            }
        }
        (kept, passed)
    }

    /// Passes a publication on to those who are connected; nobody may ask for it again.
    pub(crate) fn pass(&self, publication: Publication) {
        self.volatile.pass(publication);
    }

    /// The newest position; what a later gap counts from.
    pub(crate) fn position(&self) -> Position {
        let window = self.log.window();
        window.position(window.head())
    }

    /// Notes that sources may have lost something since `from`, for every channel that their routes can render;
    /// `everything` if something that names its own channels may be lost too.
    pub(crate) async fn gap(
        &self,
        sources: &[Arc<str>],
        everything: bool,
        from: Position,
    ) -> Result<(), LogError> {
        let router = self.router.load_full();
        let patterns: Vec<Pattern> = sources
            .iter()
            .flat_map(|source| router.channels_of(source))
            .collect();
        for source in sources {
            self.metrics
                .source_gaps
                .get_or_create(&SourceLabel {
                    source: source.to_string(),
                })
                .inc();
        }
        if patterns.is_empty() && !everything {
            return Ok(());
        }
        let gap = Gap {
            from,
            reason: GapReason::Source,
            patterns: patterns.into(),
            everything,
        };
        self.append_surely(vec![Append::Gap(gap)]).await
    }

    /// Whether `pregon.publish` is installed, so that anybody's publish may have been lost. Unknown counts as yes.
    pub(crate) async fn sql_may_publish(&self) -> bool {
        let Some(pool) = &self.pool else { return false };
        match pool.query_json(PUBLISH_INSTALLED, &[]).await {
            Ok(rows) => rows.first().and_then(|row| row.get("installed")?.as_bool()) != Some(false),
            Err(_) => true,
        }
    }

    fn count(&self, event: &Event) {
        self.metrics
            .events
            .get_or_create(&SourceLabel {
                source: event.source.to_string(),
            })
            .inc();
        if let Ok(lag) = SystemTime::now().duration_since(event.at) {
            self.metrics.capture_lag.observe(lag.as_secs_f64());
        }
    }
}

/// A publication is kept if one of its channels keeps it, and where the log has to decrypt it.
fn is_kept(rights: &Rights, publication: &Publication) -> bool {
    let mut channels = publication.channels.iter();
    !publication.sealed.is_empty() || channels.any(|channel| rights.keeps(channel, &publication.event))
}

/// Counts what a rule did.
fn count_route(metrics: &Metrics, route: &str) {
    metrics
        .routes
        .get_or_create(&RouteLabel {
            route: route.to_owned(),
        })
        .inc();
}
