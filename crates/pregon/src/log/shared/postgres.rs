//! The engine PostgreSQL: tables in the database that every node has anyway.
//!
//! One connection appends for the whole node, because appends take turns at the row of the log; it is made anew when it was lost.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use pregon_capture::frames::{self, Frames, FramesError, Link};
use tokio::sync::Mutex;

use super::engine::{Answer, Appended, Bounds, Engine, EngineError, Fresh, Last, Reader, Seq, Stored};
use crate::log::position::Epoch;

/// See the module.
pub struct PostgresEngine {
    frames: Frames,
    link: Mutex<Option<Arc<Link>>>,
}

impl From<FramesError> for EngineError {
    fn from(error: FramesError) -> Self {
        match error {
            FramesError::Fenced => Self::Fenced,
            FramesError::History => Self::History,
            error if error.is_permanent() => Self::Refused(error.to_string()),
            error => Self::Away(error.to_string()),
        }
    }
}

impl PostgresEngine {
    pub fn new(frames: Frames) -> Self {
        Self {
            frames,
            link: Mutex::default(),
        }
    }

    async fn link(&self) -> Result<Arc<Link>, EngineError> {
        let mut known = self.link.lock().await;
        if let Some(link) = known.as_ref().filter(|link| !link.is_closed()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(self.frames.open().await?);
        *known = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Gives an answer on; what has failed for want of a connection gets another one next time.
    async fn told<T>(&self, link: &Arc<Link>, answer: Result<T, FramesError>) -> Result<T, EngineError> {
        if let Err(FramesError::Lost(_) | FramesError::Silent(_)) = &answer {
            let mut known = self.link.lock().await;
            if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, link)) {
                *known = None;
            }
        }
        Ok(answer?)
    }
}

impl Engine for PostgresEngine {
    fn reader(&self) -> Answer<'_, Box<dyn Reader>> {
        Box::pin(async {
            let link = self.frames.open().await?;
            link.listen().await?;
            Ok(Box::new(PostgresReader(link)) as Box<dyn Reader>)
        })
    }

    fn append<'a>(&'a self, epoch: Epoch, fresh: &'a Fresh) -> Answer<'a, Appended> {
        Box::pin(async move {
            let link = self.link().await?;
            let lane = fresh.lane.as_ref().map(|lane| frames::Lane {
                source: &lane.source,
                behind: lane.behind,
                place: &lane.place,
            });
            let frame = frames::Fresh {
                id: &fresh.id,
                body: &fresh.body,
                lane,
            };
            let answer = link.append(epoch.0, frame).await;
            let (seq, before) = self.told(&link, answer).await?;
            Ok(if before {
                Appended::Before(seq)
            } else {
                Appended::Now(seq)
            })
        })
    }

    fn last_of<'a>(&'a self, source: &'a str) -> Answer<'a, Option<Last>> {
        Box::pin(async move {
            let link = self.link().await?;
            let answer = link.last_of(source).await;
            let last = self.told(&link, answer).await?;
            Ok(last.map(|(seq, place)| Last { seq, place }))
        })
    }

    fn renew(&self, epoch: Epoch, given: Seq) -> Answer<'_, ()> {
        Box::pin(async move {
            let link = self.link().await?;
            let answer = link.renew(epoch.0, given).await;
            self.told(&link, answer).await
        })
    }

    fn prune(&self, older: SystemTime, most: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let link = self.link().await?;
            loop {
                let answer = link.prune(older, most).await;
                if self.told(&link, answer).await? == 0 {
                    return Ok(());
                }
            }
        })
    }
}

struct PostgresReader(Link);

impl Reader for PostgresReader {
    fn bounds(&self) -> Answer<'_, Bounds> {
        Box::pin(async {
            let bounds = self.0.bounds().await?;
            Ok(Bounds {
                epoch: Epoch(bounds.epoch),
                began: bounds.began,
                first: bounds.first,
                last: bounds.last,
            })
        })
    }

    fn recent(&self, bytes: u64) -> Answer<'_, Seq> {
        Box::pin(async move { Ok(self.0.recent(bytes).await?) })
    }

    fn read(&self, after: Seq, bytes: u64) -> Answer<'_, Vec<Stored>> {
        Box::pin(async move {
            let frames = self.0.read(after, bytes).await?;
            let stored = frames.into_iter().map(|frame| Stored {
                seq: frame.seq,
                id: frame.id,
                at: frame.at,
                body: frame.body,
            });
            Ok(stored.collect())
        })
    }

    fn id_of(&self, seq: Seq) -> Answer<'_, Option<String>> {
        Box::pin(async move { Ok(self.0.id_of(seq).await?) })
    }

    fn news(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.news())
    }
}
