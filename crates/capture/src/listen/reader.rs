//! Reads one connection until it ends. Every notification is cut up and passed on at once; nothing here waits.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use tokio_postgres::{AsyncMessage, Client, Notification, SimpleQueryMessage};

use super::Captured;
use super::heartbeat::Pulse;
use super::lane::{Work, ready};
use super::outlet::Outlet;
use crate::connect::{ConnectError, ConnectErrorKind, Connection, chain};
use crate::decode::{CHANNEL, Decoded, Watches, decode};
use crate::query::ident;

/// Foreign watch names that are remembered, so that each is logged once.
const MAX_FOREIGN: usize = 100;

/// What a listener keeps from one connection to the next.
pub(super) struct Reader {
    pub(super) channels: HashMap<String, Arc<str>>,
    pub(super) watches: Arc<Watches>,
    pub(super) own: bool,
    pub(super) heartbeat_channel: String,
    pub(super) outlet: Outlet,
    pub(super) pulse: Arc<Pulse>,
    /// Counts the notifications of the configured channels.
    pub(super) seq: u64,
    /// The backend, once LISTEN is committed.
    pub(super) pid: Option<i32>,
    /// [`Captured::Attached`] has been said for this connection.
    pub(super) attached: bool,
    foreign: HashSet<String>,
    malformed: bool,
}

impl Reader {
    pub(super) fn new(
        channels: &[Arc<str>],
        watches: Arc<Watches>,
        own: bool,
        heartbeat_channel: String,
        outlet: Outlet,
    ) -> Self {
        Self {
            channels: channels
                .iter()
                .map(|channel| (channel.to_string(), Arc::clone(channel)))
                .collect(),
            watches,
            own,
            heartbeat_channel,
            outlet,
            pulse: Arc::default(),
            seq: 0,
            pid: None,
            attached: false,
            foreign: HashSet::new(),
            malformed: false,
        }
    }

    /// Issues LISTEN for everything, in one transaction.
    pub(super) async fn listen(
        &mut self,
        client: &Client,
        connection: &mut Connection,
    ) -> Result<(), ConnectError> {
        self.pulse = Arc::default();
        self.pid = None;
        self.attached = false;
        let sql = self.listen_sql();
        let mut committed = std::pin::pin!(client.simple_query(&sql));
        // One read of the socket may bring the answer and notifications: these belong behind the news that we are attached.
        let mut early = Vec::new();
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut committed => break answer?,
                message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                    Some(message) => early.push(message?),
                    None => return Err(ConnectError::new(ConnectErrorKind::Refused, "the server closed the connection")),
                },
            }
        };
        self.pid = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten()?.parse().ok(),
            _ => None,
        });
        early.into_iter().for_each(|message| self.take(message));
        Ok(())
    }

    /// Reads until the connection ends, and says why it did.
    pub(super) async fn read(&mut self, connection: &mut Connection) -> String {
        let pulse = Arc::clone(&self.pulse);
        loop {
            tokio::select! {
                biased;
                message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                    Some(Ok(message)) => self.take(message),
                    Some(Err(error)) => return chain(&error),
                    None => return "the server closed the connection".to_owned(),
                },
                () = self.outlet.room(), if self.outlet.owes() => { self.outlet.settle(); }
                () = pulse.unproved.notified(), if !self.attached => self.attach(),
            }
        }
    }

    fn take(&mut self, message: AsyncMessage) {
        match message {
            AsyncMessage::Notification(notification) => {
                // Whatever arrives proves that LISTEN works.
                if !self.attached && self.pid.is_some() {
                    self.attach();
                }
                self.pulse.total.fetch_add(1, Ordering::Relaxed);
                self.notification(&notification);
            }
            AsyncMessage::Notice(notice) => {
                tracing::debug!(notice = notice.message(), "notice from the server")
            }
            _ => {}
        }
    }

    fn attach(&mut self) {
        self.attached = true;
        let pid = self.pid.unwrap_or_default();
        tracing::info!(
            pid,
            channels = self.channels.len() + usize::from(self.own),
            "listening"
        );
        self.outlet.announce(Captured::Attached { pid });
    }

    fn notification(&mut self, notification: &Notification) {
        let (channel, payload) = (notification.channel(), notification.payload());
        if self.own && channel == CHANNEL {
            if let Some(work) = self.work(payload) {
                self.outlet.offer(work);
            }
        } else if let Some(channel) = self.channels.get(channel) {
            self.seq += 1;
            self.outlet.offer(Work::Ready(Captured::Notification {
                channel: Arc::clone(channel),
                payload: Bytes::copy_from_slice(payload.as_bytes()),
                seq: self.seq,
                at: SystemTime::now(),
            }));
        } else if channel == self.heartbeat_channel
            && let Ok(beat) = payload.parse()
        {
            self.pulse.beat.send_replace(beat);
        }
    }

    fn work(&mut self, payload: &str) -> Option<Work> {
        match decode(payload, &self.watches) {
            Decoded::Key { change, key } => Some(Work::Key { change, key }),
            Decoded::Stored { id } => Some(Work::Stored { id }),
            Decoded::Foreign { watch } => {
                if self.foreign.len() < MAX_FOREIGN && !self.foreign.contains(&watch) {
                    tracing::info!(
                        watch,
                        "changes of a watch that is not configured here are ignored"
                    );
                    self.foreign.insert(watch);
                }
                None
            }
            Decoded::Malformed => {
                if !std::mem::replace(&mut self.malformed, true) {
                    tracing::warn!("somebody else notifies on our channel; such payloads are ignored");
                }
                None
            }
            decoded => ready(decoded).map(Work::Ready),
        }
    }

    /// The heartbeat's channel is one of them; the answer is the backend's number.
    fn listen_sql(&self) -> String {
        let own = self.own.then_some(CHANNEL);
        let names = self
            .channels
            .keys()
            .map(String::as_str)
            .chain(own)
            .chain([self.heartbeat_channel.as_str()]);
        let mut sql: String = names.map(|name| format!("LISTEN {}; ", ident(name))).collect();
        sql.push_str("SELECT pg_catalog.pg_backend_pid()");
        sql
    }
}
