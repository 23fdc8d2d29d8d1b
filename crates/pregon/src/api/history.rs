//! `GET /api/history?channel=c&since=&last=`: what a channel had, for those who may follow it. A name that stands for several channels
//! (`[[channel]] follow`) gives what those had that the claims lead to. An answer holds a bounded piece and says where the next begins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{Api, Granted, asked_channel, refuse};
use crate::limits::Permit;
use crate::log::window::{Follow, Merged, Most, Start};
use crate::log::{Past, Since};
use crate::session::shown;
use crate::transport::head::Head;
use crate::transport::refused::Refused;

/// Entries of an answer where the request says nothing.
const DEFAULT: usize = 100;

/// Bytes of entries in one answer, beside one that is larger: whoever asks and does not read makes us keep this much.
const ANSWER: usize = 256 * 1024;

/// What is looked at in one step to find the newest ones.
const STEP: Most = Most {
    entries: 1024,
    bytes: 1024 * 1024,
};

/// What a millisecond of reading counts, in commands: one address has a fifth of a core by default.
const MILLISECOND: u64 = 25;

/// How long reading may take: what is found until then is answered.
const READING: Duration = Duration::from_secs(5);

pub(super) async fn history(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    let head = Head::of(&request);
    match read(&api, &head, request.extensions().get::<Permit>()).await {
        Ok(body) => ([(http::header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(refused) => refuse(refused),
    }
}

async fn read(api: &Api, head: &Head, sender: Option<&Permit>) -> Result<Vec<u8>, Refused> {
    loop {
        let granted = asked_channel(api, head).await?;
        let answer = read_granted(api, head, &granted, sender).await?;
        // What was read while the rights changed is not given away by the old ones.
        if granted.holds(api) {
            return Ok(answer);
        }
    }
}

async fn read_granted(
    api: &Api,
    head: &Head,
    granted: &Granted,
    sender: Option<&Permit>,
) -> Result<Vec<u8>, Refused> {
    let bad = |message: String| Refused::new(StatusCode::BAD_REQUEST, message);
    let Granted {
        claims,
        channel,
        rights,
    } = granted;
    let channels = api.admission.whole(rights.resolve(claims, channel))?;
    if !rights.history(channel) || channels.iter().any(|channel| !rights.history(channel)) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "this channel gives no history",
        ));
    }
    let since: Option<Since> = head
        .query_first("since")
        .map(|text| text.parse())
        .transpose()
        .map_err(|e| bad(format!("since: {e}")))?;
    let last: Option<usize> = head
        .query_first("last")
        .map(|n| n.parse())
        .transpose()
        .map_err(|_| bad("last must be a number".into()))?;
    let most = last.unwrap_or(DEFAULT).min(api.limits.history);
    let asked = Asked {
        channels,
        since,
        newest: last.is_some(),
        most,
    };
    if let Some(Since::Position(position)) = since {
        api.admission.desk.past().window().reach(position).await;
    }
    let read = move |past: &Past| {
        let began = Instant::now();
        (asked.render(past), began.elapsed())
    };
    let answer = api.admission.desk.read(read).await.map(|(answer, took)| {
        // What it took counts for the address, which waits before it may ask again.
        let amount = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(sender) = sender {
            sender.requests(amount.saturating_mul(MILLISECOND));
        }
        answer
    });
    let unavailable = |message: &str| Refused::new(StatusCode::SERVICE_UNAVAILABLE, message);
    match answer {
        Some(Ok(body)) => Ok(body),
        Some(Err(Late)) => Err(unavailable(
            "the newest messages were not found in time: ask for fewer, or for one channel",
        )),
        None => Err(unavailable("the node is stopping")),
    }
}

/// What a request asks for.
struct Asked {
    channels: Vec<Arc<str>>,
    since: Option<Since>,
    /// The newest ones count, not the first.
    newest: bool,
    most: usize,
}

impl Asked {
    /// Blocks: what is asked for may lie before the window.
    fn render(&self, past: &Past) -> Result<Vec<u8>, Late> {
        let deadline = Instant::now() + READING;
        let window = past.window();
        // Read once: what is appended meanwhile belongs to the next request.
        let head = window.head();
        let (follows, mut complete) = self.follows(past);
        let from = follows.iter().map(|follow| follow.after).min().unwrap_or(head);
        let counted = self.newest || self.since.is_none();
        let (from, most) = if counted && follows.len() == 1 {
            // One channel says itself where its newest begin.
            (from, usize::MAX)
        } else if counted {
            let begin = self.begin(past, &follows, from, head, deadline)?;
            complete &= begin.whole;
            (begin.after, usize::MAX)
        } else {
            (from, self.most)
        };
        let piece = piece(past, &follows, from, head, most, deadline);
        complete &= piece
            .as_ref()
            .is_some_and(|piece| !piece.entries.iter().any(|entry| entry.is_gap()));
        let piece = piece.unwrap_or(Merged {
            complete: true,
            reached: head,
            ..Merged::default()
        });
        let mut out = format!("{{\"complete\":{complete},\"events\":[").into_bytes();
        for entry in &piece.entries {
            if let Some(channel) = entry
                .channels()
                .iter()
                .find(|named| self.channels.contains(named))
            {
                shown::write_event(entry, channel, true, &mut out);
                out.push(b',');
            }
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        let reached = if piece.complete {
            head.max(from)
        } else {
            piece.reached
        };
        let (more, position) = (!piece.complete, window.position(reached));
        out.extend_from_slice(format!("],\"more\":{more},\"position\":\"{position}\"}}").as_bytes());
        Ok(out)
    }

    /// Where the newest ones begin. Only their offsets are kept: all of them together may be far more than an answer holds.
    fn begin(
        &self,
        past: &Past,
        follows: &[Follow<'_>],
        from: u64,
        head: u64,
        deadline: Instant,
    ) -> Result<Begin, Late> {
        let mut newest = VecDeque::new();
        let mut begin = Begin {
            after: from,
            whole: true,
        };
        let mut reached = from;
        loop {
            let Some(step) = past.read(follows, reached, head, STEP) else {
                begin.whole = false;
                return Ok(begin);
            };
            for entry in &step.entries {
                if entry.is_gap() {
                    // A gap among them must not push out the last.
                    begin.whole = false;
                    continue;
                }
                newest.push_back(entry.offset);
                if newest.len() > self.most {
                    newest.pop_front();
                    begin.after = newest.front().map_or(head, |first| first - 1);
                }
            }
            if step.complete {
                return Ok(begin);
            }
            reached = step.reached;
            if Instant::now() > deadline {
                return Err(Late);
            }
        }
    }

    /// Where each channel begins, and whether all that was asked for is still there.
    fn follows(&self, past: &Past) -> (Vec<Follow<'_>>, bool) {
        let mut complete = true;
        let follow = |channel| {
            let newest = || past.before_last(channel, self.most);
            let after = match self.since.map(|since| past.start(channel, since)) {
                Some(Start::After(after)) => after,
                Some(Start::Younger(after)) => {
                    complete = false;
                    after
                }
                Some(Start::Pruned | Start::Foreign) => {
                    complete = false;
                    past.pruned(channel)
                }
                None => newest(),
            };
            let after = if self.newest { after.max(newest()) } else { after };
            Follow { channel, after }
        };
        (
            self.channels
                .iter()
                .map(|channel| &**channel)
                .map(follow)
                .collect(),
            complete,
        )
    }
}

/// The newest ones were not found in time.
#[derive(Debug)]
struct Late;

/// Where an answer begins.
struct Begin {
    after: u64,
    /// No gap lies among what was looked at.
    whole: bool,
}

/// What one answer holds, and where the next begins; `None` if some of it is gone for good.
fn piece(
    past: &Past,
    follows: &[Follow<'_>],
    from: u64,
    head: u64,
    most: usize,
    deadline: Instant,
) -> Option<Merged> {
    let mut piece = Merged {
        reached: from,
        ..Merged::default()
    };
    let mut bytes = 0;
    while !piece.complete && piece.entries.len() < most && bytes < ANSWER {
        let left = Most {
            entries: most - piece.entries.len(),
            bytes: ANSWER - bytes,
        };
        let next = past.read(follows, piece.reached, head, left)?;
        let weight: usize = next.entries.iter().map(|entry| entry.weight()).sum();
        // A large one that is not the first begins the next answer.
        if bytes > 0 && bytes + weight > ANSWER {
            break;
        }
        bytes += weight;
        piece.entries.extend(next.entries);
        (piece.complete, piece.reached) = (next.complete, next.reached);
        if Instant::now() > deadline {
            break;
        }
    }
    Some(piece)
}
