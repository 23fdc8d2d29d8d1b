//! One client of any transport: follows channels, and says what it has heard.

use pregon_testkit::{Node, SseClient, WsClient, http};
use serde_json::{Value, json};

use crate::support::{SOON, connect, publish, token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Full,
    Bare,
    Sse,
    SocketIo,
    Polling,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Full, Self::Bare, Self::Sse, Self::SocketIo, Self::Polling];
}

#[allow(clippy::large_enum_variant)] // A handful of them lives in a test.
enum Link {
    Socket(WsClient),
    Sse(Option<SseClient>),
    Polling { url: String, packets: Vec<String> },
    Closed,
}

/// See the module.
pub(crate) struct Anyone {
    kind: Kind,
    sub: String,
    link: Link,
    /// Channels of a stream of events: it has them for as long as it lives.
    channels: Vec<String>,
    /// Events that came before they were asked for.
    events: Vec<Value>,
    barriers: u64,
}

impl Anyone {
    pub(crate) async fn open(node: &Node, kind: Kind, sub: &str) -> Self {
        let token = token(&json!({"sub": sub}));
        let link = match kind {
            Kind::Full => {
                let mut client = connect(node, &json!({"sub": sub})).await;
                client.subscribe("barrier").await.unwrap();
                Link::Socket(client)
            }
            Kind::Bare => {
                let url = node.ws_url(&format!("/rooms?token={token}"));
                Link::Socket(WsClient::connect(&url, &[]).await.unwrap())
            }
            Kind::Sse => Link::Sse(None),
            Kind::SocketIo => {
                let url = node.ws_url("/socket.io/?EIO=4&transport=websocket");
                Link::Socket(WsClient::connect(&url, &[]).await.unwrap())
            }
            Kind::Polling => {
                let url = node.url("/socket.io/?EIO=4&transport=polling");
                let open = http::get(&url).await.unwrap().body;
                let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
                Link::Polling {
                    url: format!("{url}&sid={}", open["sid"].as_str().unwrap()),
                    packets: Vec::new(),
                }
            }
        };
        let mut anyone = Self {
            kind,
            sub: sub.to_owned(),
            link,
            channels: Vec::new(),
            events: Vec::new(),
            barriers: 0,
        };
        if matches!(kind, Kind::SocketIo | Kind::Polling) {
            anyone.say(&format!("40{}", json!({"token": token}))).await;
            anyone.packet("40").await.unwrap();
            assert!(anyone.follow(node, "barrier").await);
        }
        anyone
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Asks for a channel; whether it was granted.
    pub(crate) async fn follow(&mut self, node: &Node, channel: &str) -> bool {
        self.begin_follow(node, channel).await;
        self.followed(channel).await
    }

    pub(crate) async fn begin_follow(&mut self, node: &Node, channel: &str) {
        match self.kind {
            Kind::Full => {
                let command = json!({"type": "subscribe", "id": 1, "channel": channel});
                self.say(&command.to_string()).await;
            }
            Kind::Bare => {
                let join = json!({"type": "join", "room": channel});
                self.say(&join.to_string()).await;
            }
            Kind::Sse => {
                let mut channels = self.channels.clone();
                channels.push(channel.to_owned());
                let query: String = channels.iter().map(|name| format!("&channel={name}")).collect();
                let token = token(&json!({"sub": self.sub}));
                let url = node.url(&format!("/sse?channel=barrier{query}&token={token}"));
                let stream = SseClient::connect(&url, &[]).await.unwrap();
                if stream.status() == 200 {
                    self.channels = channels;
                    self.link = Link::Sse(Some(stream));
                }
            }
            Kind::SocketIo => {
                self.say(&format!("420{}", json!(["subscribe", channel]))).await;
            }
            Kind::Polling => {
                let Link::Polling { url, .. } = &self.link else {
                    return;
                };
                // A post is answered when its commands have been: nobody waits for that here.
                let (url, packet) = (url.clone(), format!("420{}", json!(["subscribe", channel])));
                tokio::spawn(async move { http::request("POST", &url, &[], packet.as_bytes()).await });
            }
        }
    }

    /// Sends a fresh token, and waits until it has taken effect.
    pub(crate) async fn refresh(&mut self, token: &str) {
        let auth = json!({"type": "auth", "id": 1, "token": token});
        self.say(&auth.to_string()).await;
        assert!(self.followed("").await);
    }

    /// The answer to the last request for a channel.
    pub(crate) async fn followed(&mut self, channel: &str) -> bool {
        match self.kind {
            Kind::Full => {
                let Link::Socket(client) = &mut self.link else {
                    return false;
                };
                loop {
                    let frame = client.next_json(SOON).await.unwrap();
                    match frame["type"].as_str() {
                        Some("event") => self.events.push(frame),
                        Some("ok" | "error") if frame["id"] == 1 => return frame["type"] == "ok",
                        _ => {}
                    }
                }
            }
            Kind::Bare => {
                let Link::Socket(client) = &mut self.link else {
                    return false;
                };
                // A pong comes behind what was asked before it; a refusal ends the connection.
                let heard = match client.expect_bare_silence().await {
                    Ok(()) => true,
                    // Events that came before the pong are still there to be heard.
                    Err(error) => error.to_string().starts_with("silence was broken"),
                };
                if !heard {
                    self.link = Link::Closed;
                }
                heard
            }
            Kind::Sse => self.channels.iter().any(|name| name == channel),
            Kind::SocketIo | Kind::Polling => match self.packet("430").await {
                Some(ack) => ack.contains("\"ok\":true"),
                None => false,
            },
        }
    }

    /// What was published on its channels since it was asked last.
    pub(crate) async fn heard(&mut self, node: &Node) -> Vec<Value> {
        self.barriers += 1;
        let barrier = json!(format!("barrier-{}-{:p}", self.barriers, self));
        publish(node, "barrier", "x", barrier.clone()).await;
        let mut heard: Vec<Value> = self.events.drain(..).map(|event| event["data"].clone()).collect();
        while let Some(data) = self.next_data().await {
            if data == barrier {
                break;
            }
            heard.push(data);
        }
        heard.retain(|data| !data.as_str().is_some_and(|text| text.starts_with("barrier-")));
        heard
    }

    /// The data of the next event; nothing if the connection has ended.
    async fn next_data(&mut self) -> Option<Value> {
        let data = match (self.kind, &mut self.link) {
            (Kind::Full, Link::Socket(client)) => {
                let event = client.next_of_type("event", SOON).await.unwrap();
                Some(event["data"].clone())
            }
            (Kind::Bare, Link::Socket(client)) => client.next_json(SOON).await.ok(),
            (Kind::Sse, Link::Sse(Some(stream))) => loop {
                let Ok(event) = stream.next_event(SOON).await else {
                    break None;
                };
                // Members that come and go are events of another name.
                if event.event.as_deref() == Some("x") {
                    break event.json().ok();
                }
            },
            (Kind::SocketIo | Kind::Polling, _) => loop {
                let packet = self.packet("42").await?;
                let event: Value = serde_json::from_str(&packet[2..]).unwrap();
                if event[0] == "x" {
                    break Some(event[1].clone());
                }
            },
            _ => None,
        };
        if data.is_none() {
            self.link = Link::Closed;
        }
        data
    }

    async fn say(&mut self, text: &str) {
        match &mut self.link {
            Link::Socket(client) => client.send_text(text).await.unwrap(),
            Link::Polling { url, .. } => {
                let answer = http::request("POST", url, &[], text.as_bytes()).await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.body);
            }
            Link::Sse(_) | Link::Closed => {}
        }
    }

    /// The next packet of Engine.IO that begins so. Events that come before it are kept.
    async fn packet(&mut self, begins: &str) -> Option<String> {
        loop {
            let text = match &mut self.link {
                Link::Socket(client) => client.next_text(SOON).await.ok()?,
                Link::Polling { url, packets } => {
                    if packets.is_empty() {
                        let answer = http::get(url).await.unwrap();
                        packets.extend(answer.body.split('\u{1e}').map(str::to_owned));
                    }
                    packets.remove(0)
                }
                Link::Sse(_) | Link::Closed => return None,
            };
            if text == "2" {
                self.pong().await;
            } else if text.starts_with(begins) {
                return Some(text);
            } else if let Some(event) = text.strip_prefix("42") {
                let event: Value = serde_json::from_str(event).unwrap();
                if event[0] == "x" {
                    self.events.push(json!({"data": event[1]}));
                }
            }
        }
    }

    async fn pong(&mut self) {
        match &mut self.link {
            Link::Socket(client) => client.send_text("3").await.unwrap(),
            Link::Polling { url, .. } => drop(http::request("POST", url, &[], b"3").await.unwrap()),
            Link::Sse(_) | Link::Closed => {}
        }
    }
}
