//! From events to the log: routing, enrichment, appending, in the order in which the source gave them.
//!
//! Each source calls [`Pipeline::ingest`] from its own task, so a slow enrichment query delays that source and no other.

mod enrich;
pub mod decrypt;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use pregon_capture::query::Pool;
use pregon_wire::words::GapReason;

use crate::event::{Event, Publication};
use crate::log::{Append, Body, Gap, Log, LogError, Position, Receipt, Taken, Volatile};
use crate::metrics::{Metrics, Reason, RouteLabel, SourceLabel};
use crate::route::grant::Rights;
use crate::route::rule::Router;
use crate::route::template::Pattern;

/// The catalogue, because `to_regprocedure` fails without USAGE on the schema.
const PUBLISH_INSTALLED: &str = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n \
     ON n.oid = p.pronamespace WHERE n.nspname = 'pregon' AND p.proname = 'publish') AS installed";

/// See the module.
pub struct Pipeline {
    router: Arc<ArcSwap<Router>>,
    rights: Arc<ArcSwap<Rights>>,
    log: Arc<dyn Log>,
    volatile: Arc<Volatile>,
    pool: Option<Arc<Pool>>,
    metrics: Arc<Metrics>,
}

impl Pipeline {
    pub fn new(
        router: Arc<ArcSwap<Router>>,
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
        })
    }

    /// Routes and appends events of one source, in order. The receipt resolves when the log has all of them.
    pub async fn ingest(&self, events: Vec<Event>) -> Receipt {
        self.ingest_upto(events, None).await
    }

    /// As [`Pipeline::ingest`]; the log keeps with them how far their source was taken, also where no route names them.
    pub async fn ingest_upto(&self, events: Vec<Event>, taken: Option<Taken>) -> Receipt {
        for event in &events {
            self.count(event);
        }
        let router = self.router.load_full();
        let batch = enrich::publications(&router, &events, self.pool.as_deref(), &self.metrics).await;
        self.append_upto(batch, taken)
    }

    /// Whether a route of this source asks the database about its events.
    pub fn asks(&self, source: &str) -> bool {
        self.router.load().asks(source)
    }

    /// How far the log has taken `source`.
    pub fn taken(&self, source: &str) -> Option<Taken> {
        self.log.taken(source)
    }

    /// The publications of one event, as routes make them; nothing is appended.
    pub async fn route(&self, event: Event) -> Vec<Append> {
        self.count(&event);
        let router = self.router.load_full();
        enrich::publications(&router, &[event], self.pool.as_deref(), &self.metrics).await
    }

    /// Appends what is addressed already, and passes on what is not kept; that has the position of what came before it.
    pub fn append(&self, batch: Vec<Append>) -> Receipt {
        self.append_upto(batch, None)
    }

    fn append_upto(&self, batch: Vec<Append>, taken: Option<Taken>) -> Receipt {
        self.metrics.publications.inc_by(batch.len() as u64);
        let rights = self.rights.load();
        if rights.keeps_everything() {
            return self.log.append(batch, taken);
        }
        let at = self.position();
        let mut kept = Vec::with_capacity(batch.len());
        let mut passed = Vec::new();
        for (place, item) in batch.into_iter().enumerate() {
            match item {
                Append::Publication(publication) if !is_kept(&rights, &publication) => {
                    passed.push((place, at));
                    let at = publication.at;
                    self.volatile.push(Body::from(publication), at);
                }
                item => kept.push(item),
            }
        }
        let receipt = if kept.is_empty() && taken.is_none() {
            Receipt::ready(Ok(Vec::new()))
        } else {
            self.log.append(kept, taken)
        };
        receipt.with(passed)
    }

    /// The newest position; what a later gap counts from.
    pub fn position(&self) -> Position {
        let window = self.log.window();
        window.position(window.head())
    }

    /// Notes that sources may have lost something since `from`, for every channel that their routes can render;
    /// `everything` if something that names its own channels may be lost too.
    pub async fn gap(&self, sources: &[Arc<str>], everything: bool, from: Position) -> Result<(), LogError> {
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
        let receipt = self.log.append(vec![Append::Gap(gap)], None);
        receipt.wait().await.map(drop)
    }

    /// Whether `pregon.publish` is installed, so that anybody's publish may have been lost. Unknown counts as yes.
    pub async fn sql_may_publish(&self) -> bool {
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

/// Counts and says that a rule could not be applied.
fn rule_failed(metrics: &Metrics, route: &str, error: &dyn std::fmt::Display) {
    metrics.dropped(Reason::Rule);
    tracing::warn!(route, %error, "a route could not be applied to an event");
}
