//! At a gateway: the full protocol over a WebSocket, resumed by position after each reconnect; or a bare endpoint.
//!
//! One task reads and delivers. The position is taken after an event was delivered, so that nothing is skipped when the
//! connection, this process or the command dies in between. While a command runs long the gateway may close us as slow; then we
//! come back and resume.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivered, Delivery};
use super::event::Heard;
use super::frame::{self, Frame};
use super::retry::Retry;
use super::state::Place;
use crate::cli::Usage;

/// A gateway pings every 25 s; one that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(75);

/// Longer than any handshake that is still worth having.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A gateway that restarts is back within seconds, and its clients should be too.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What to follow.
pub(super) struct Options {
    uri: Uri,
    token: Option<HeaderValue>,
    channels: Vec<String>,
    place: Place,
}

impl Options {
    pub(super) fn new(
        url: &str,
        token: Option<String>,
        channels: Vec<String>,
        state: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        if channels.is_empty() && state.is_some() {
            return Err(Usage::error(
                "--state needs a channel: a bare endpoint tells no positions",
            ));
        }
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}")));
        let mut token = token
            .transpose()
            .map_err(|_| Usage::error("the token has characters that no token has"))?;
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        Ok(Self {
            uri: address(url)?,
            token,
            channels,
            place: Place::open(state)?,
        })
    }
}

/// The WebSocket address; without a path it is `/ws`.
fn address(url: &str) -> anyhow::Result<Uri> {
    let wrong = || {
        Usage::error(format!(
            "--url {url}: write ws://host:port or wss://host, with a path if it is not /ws"
        ))
    };
    let url = match url.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(("ws" | "wss", _)) => url.to_owned(),
        _ => return Err(wrong()),
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.path(), "" | "/") {
        return Ok(uri);
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(format!("/ws{query}").parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

/// How a connection ended.
enum End {
    Stop,
    /// Try again; the text says why.
    Lost(String),
    /// Trying again would not help.
    Refused(String),
}

/// Follows until told to stop.
pub(super) async fn run(options: Options, delivery: Delivery, stop: CancellationToken) -> anyhow::Result<()> {
    let path: Arc<str> = options.uri.path().into();
    let mut follower = Follower {
        options,
        delivery,
        stop,
        path,
        retry: Retry::new(PAUSE.0, PAUSE.1),
        was_up: false,
        pending: 0,
        resuming: false,
    };
    loop {
        match follower.session().await? {
            End::Stop => return Ok(()),
            End::Refused(why) => anyhow::bail!("the gateway refused: {why}"),
            End::Lost(why) => tracing::warn!(why, "not connected to the gateway, trying again"),
        }
        if !follower.retry.pause(&follower.stop).await {
            return Ok(());
        }
    }
}

struct Follower {
    options: Options,
    delivery: Delivery,
    stop: CancellationToken,
    /// Stands for the channel at a bare endpoint.
    path: Arc<str>,
    retry: Retry,
    /// It worked before, so a refusal may pass: a gateway behind a proxy restarts, say.
    was_up: bool,
    /// Channels of this connection whose subscribe is not answered yet.
    pending: usize,
    /// This connection asked for what came since the last one.
    resuming: bool,
}

impl Follower {
    /// One connection, from the handshake to its end.
    async fn session(&mut self) -> anyhow::Result<End> {
        let stop = self.stop.clone();
        let connected = tokio::select! {
            () = stop.cancelled() => return Ok(End::Stop),
            connected = tokio::time::timeout(HANDSHAKE, self.connect()) => connected,
        };
        let mut socket = match connected {
            Err(_) => return Ok(End::Lost("no answer in time".into())),
            Ok(Err(error)) => return Ok(self.refusal(error)),
            Ok(Ok(socket)) => socket,
        };
        self.pending = self.options.channels.len();
        self.resuming = self.options.place.position().is_some();
        for (index, channel) in self.options.channels.iter().enumerate() {
            let command = frame::subscribe(index + 1, channel, self.options.place.position());
            if let Err(error) = socket.send(Message::text(command)).await {
                return Ok(End::Lost(error.to_string()));
            }
        }
        if self.options.channels.is_empty() {
            self.is_up(); // A bare endpoint greets nobody.
        }
        let end = self.read(&mut socket).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
        end
    }

    async fn connect(&self) -> Result<Socket, Error> {
        let mut request = (&self.options.uri).into_client_request()?;
        if let Some(token) = &self.options.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        tokio_tungstenite::connect_async(request)
            .await
            .map(|(socket, _)| socket)
    }

    fn refusal(&self, error: Error) -> End {
        let Error::Http(answer) = &error else {
            return if matches!(error, Error::Url(_)) {
                End::Refused(error.to_string())
            } else {
                End::Lost(error.to_string())
            };
        };
        let why = match answer.status() {
            StatusCode::UNAUTHORIZED => "401: a valid token is needed: give --token or PREGON_TOKEN".into(),
            StatusCode::NOT_FOUND => format!("404: there is nothing at {}", self.path),
            status => format!("it answered {status}"),
        };
        if answer.status().is_client_error()
            && answer.status() != StatusCode::TOO_MANY_REQUESTS
            && !self.was_up
        {
            End::Refused(why)
        } else {
            End::Lost(why)
        }
    }

    fn is_up(&mut self) {
        tracing::info!(again = self.was_up, "following");
        self.was_up = true;
        self.retry.reset();
    }

    async fn read(&mut self, socket: &mut Socket) -> anyhow::Result<End> {
        let stop = self.stop.clone();
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(End::Stop),
                message = tokio::time::timeout(SILENCE, socket.next()) => message,
            };
            let end = match message {
                Err(_) => Some(End::Lost("the gateway says nothing any more".into())),
                Ok(None) => Some(End::Lost("the connection ended".into())),
                Ok(Some(Err(error))) => Some(End::Lost(error.to_string())),
                Ok(Some(Ok(Message::Close(frame)))) => Some(closed(frame)),
                Ok(Some(Ok(Message::Text(text)))) => self.text(&text).await?,
                Ok(Some(Ok(Message::Binary(bytes)))) if self.options.channels.is_empty() => {
                    self.bare(bytes).await?
                }
                Ok(Some(Ok(_))) => None,
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    async fn text(&mut self, text: &str) -> anyhow::Result<Option<End>> {
        let frame = Frame::parse(text);
        if self.options.channels.is_empty() {
            let greeting = frame
                .as_ref()
                .is_some_and(|frame| frame.kind == "welcome" && frame.position.is_some());
            if greeting {
                return Ok(Some(End::Refused(
                    "this is not a bare endpoint: name the channels to follow".into(),
                )));
            }
            return self.bare(Bytes::copy_from_slice(text.as_bytes())).await;
        }
        let Some(frame) = frame else { return Ok(None) };
        match &*frame.kind {
            "event" => return self.event(&frame).await,
            "ok" => self.subscribed(&frame),
            "ping" if self.pending == 0 => self.moved(&frame),
            "gap" => {
                let (channel, reason) = (frame.channel.as_deref(), frame.reason.as_deref());
                tracing::warn!(channel, reason, "events were missed and cannot be fetched");
            }
            "error" => return Ok(self.failed(&frame)),
            _ => {}
        }
        Ok(None)
    }

    fn subscribed(&mut self, frame: &Frame<'_>) {
        self.pending = self.pending.saturating_sub(1);
        if self.pending == 0 {
            self.is_up();
        }
        if frame.recovered == Some(false) && self.resuming {
            tracing::warn!("the gateway no longer has everything since the last connection");
        }
        // Where there was a position its replay may still be on the way, so that only the first one counts.
        if self.options.place.position().is_none() {
            self.moved(frame);
        }
    }

    fn moved(&mut self, frame: &Frame<'_>) {
        if let Some(position) = &frame.position {
            self.options.place.moved(position);
        }
    }

    fn failed(&mut self, frame: &Frame<'_>) -> Option<End> {
        let code = frame.code.unwrap_or_default();
        let why = format!(
            "{} ({code})",
            frame.message.as_deref().unwrap_or("it did not say why")
        );
        if code == pregon_wire::codes::BAD_POSITION.number && self.options.place.position().is_some() {
            tracing::warn!(
                "the gateway does not know our position any more: what was published meanwhile is missed"
            );
            self.options.place.forget();
            return Some(End::Lost(why));
        }
        let retry = pregon_wire::codes::ALL
            .iter()
            .any(|known| known.number == code && known.retry);
        Some(if retry { End::Lost(why) } else { End::Refused(why) })
    }

    async fn event(&mut self, frame: &Frame<'_>) -> anyhow::Result<Option<End>> {
        let channel = frame.channel.as_deref().unwrap_or_default();
        // Channels that the token joins by itself were not asked for.
        if self.options.channels.iter().any(|asked| asked == channel) {
            let data = frame.data.map_or("null", |data| data.get());
            let heard = Heard {
                channel: channel.into(),
                name: frame.event.as_deref().unwrap_or("message").into(),
                payload: Bytes::copy_from_slice(data.as_bytes()),
                replayed: frame.replayed,
                at: SystemTime::now(),
            };
            if self.delivery.deliver(&heard).await? == Delivered::Stopped {
                return Ok(Some(End::Stop));
            }
        }
        // An event may come before a subscribe is answered, through a channel that the token joins by itself, and what the position
        // asked for comes after it. With several channels one position stands for all: it moves when the replay of each of them
        // is through, which it is when all are answered and an event comes that is no replay.
        if self.pending == 0 && (self.options.channels.len() == 1 || !frame.replayed) {
            self.moved(frame);
            self.options.place.save()?;
        }
        Ok(None)
    }

    async fn bare(&mut self, payload: Bytes) -> anyhow::Result<Option<End>> {
        let heard = Heard {
            channel: Arc::clone(&self.path),
            name: "message".into(),
            payload,
            replayed: false,
            at: SystemTime::now(),
        };
        let delivered = self.delivery.deliver(&heard).await?;
        Ok((delivered == Delivered::Stopped).then_some(End::Stop))
    }
}

/// The code's range says whether to come back.
fn closed(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else {
        return End::Lost("the gateway closed the connection".into());
    };
    let code = u16::from(frame.code);
    let why = format!("{} ({code})", frame.reason);
    if (3500..4000).contains(&code) {
        End::Refused(why)
    } else {
        End::Lost(why)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cli::listen::event::Format;

    #[test]
    fn an_address_without_a_path_means_the_full_protocol() {
        for (url, uri) in [
            ("ws://h:1", "ws://h:1/ws"),
            ("wss://h/?token=x", "wss://h/ws?token=x"),
            ("https://h/connect", "wss://h/connect"),
            ("ws://h/ws/sales?a=b", "ws://h/ws/sales?a=b"),
        ] {
            assert_eq!(address(url).unwrap().to_string(), uri);
        }
        for wrong in ["h:1", "ftp://h", "ws://", "ws://h h"] {
            assert!(address(wrong).unwrap_err().is::<Usage>(), "{wrong}");
        }
    }

    fn follower(file: PathBuf, channels: &[&str]) -> Follower {
        let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let stop = CancellationToken::new();
        Follower {
            pending: channels.len(),
            options: Options::new("ws://h", None, channels, Some(file)).unwrap(),
            delivery: Delivery::new(Format::Json, None, None, true, stop.clone()),
            stop,
            path: "/ws".into(),
            retry: Retry::new(PAUSE.0, PAUSE.1),
            was_up: false,
            resuming: true,
        }
    }

    async fn hear(follower: &mut Follower, frame: &str) {
        assert!(follower.text(frame).await.unwrap().is_none(), "{frame}");
    }

    /// A token's own channels are joined with the connection, so that a live event may come first.
    #[tokio::test]
    async fn what_comes_before_the_replay_does_not_move_the_position() {
        let folder = tempfile::tempdir().unwrap();
        let live = |offset: u32| {
            format!(r#"{{"type":"event","channel":"a","event":"e","data":1,"position":"00000001-{offset}"}}"#)
        };
        let replayed = |offset: u32| live(offset).replace("\"data\"", "\"replayed\":true,\"data\"");
        let answer = r#"{"id":1,"type":"ok","position":"00000001-9","recovered":true}"#;
        for (channels, after_replayed) in [(vec!["a"], 6), (vec!["a", "b"], 5)] {
            let file = folder.path().join(format!("{}.json", channels.len()));
            std::fs::write(&file, r#"{"position":"00000001-5"}"#).unwrap();
            let mut follower = follower(file.clone(), &channels);
            let saved = || {
                Place::open(Some(file.clone()))
                    .unwrap()
                    .position()
                    .unwrap()
                    .to_owned()
            };
            hear(&mut follower, &live(8)).await;
            assert_eq!(saved(), "00000001-5", "{channels:?}");
            for _ in &channels {
                hear(&mut follower, answer).await;
            }
            hear(&mut follower, &replayed(6)).await;
            assert_eq!(saved(), format!("00000001-{after_replayed}"), "{channels:?}");
            hear(&mut follower, &live(10)).await;
            assert_eq!(saved(), "00000001-10", "{channels:?}");
        }
    }

    #[test]
    fn the_range_of_a_close_code_says_whether_to_come_back() {
        let close = |code: u16| {
            closed(Some(CloseFrame {
                code: code.into(),
                reason: "".into(),
            }))
        };
        assert!(matches!(close(3000), End::Lost(_)));
        assert!(matches!(close(1006), End::Lost(_)));
        assert!(matches!(close(3503), End::Refused(_)));
    }
}
