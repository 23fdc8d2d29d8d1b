//! What Socket.IO clients hear: entries as events, replies as acks.
//!
//! The namespace stands in the channel's name (`/admin#room`), so that an entry is encoded once for all of its followers there.

use bytes::Bytes;
use pregon_wire::GapReason;
use pregon_wire::engineio;
use pregon_wire::plain;
use pregon_wire::socketio::{self, Head, command, room};
use pregon_wire::ws::frame::{self, Opcode};

use crate::event::Data;
use crate::hub::codec::{Encoder, Framing, Variant};
use crate::log::{Body, Entry};
use crate::session::command::{Asked, Reply};

impl Encoder {
    pub(in crate::hub::codec) fn socketio(
        &mut self,
        variant: Variant,
        channel: &str,
        entry: &Entry,
        out: &mut Vec<u8>,
    ) {
        let (namespace, room) = room::split(channel);
        let offset = self.offsets.then_some(&*entry.position);
        match &entry.body {
            // The client's parser would end the connection, and after a recovery again and again.
            Body::Publication { event, .. } if socketio::is_reserved(event) => self.refuse_reserved(event),
            Body::Publication { event, data, .. } => {
                self.event(variant, namespace, event, data, offset, out);
            }
            Body::Gap(gap) => {
                let from = gap.from.to_string();
                self.socketio_gap(variant, channel, Some(&from), &entry.position, gap.reason, out);
            }
            Body::Member { client, joined, .. } => {
                let mut json = Vec::new();
                plain::member(room, client, &mut json);
                let name = if *joined { "join" } else { "leave" };
                self.event(variant, namespace, name, &Data::Json(json.into()), offset, out);
            }
        }
    }

    fn refuse_reserved(&mut self, event: &str) {
        if !std::mem::replace(&mut self.reserved_said, true) {
            tracing::warn!(
                event,
                "an event has a name that Socket.IO keeps for itself: its clients do not get it, rename it in the route or the publish"
            );
        }
    }

    /// An event with its arguments, and with attachments the binary messages behind it.
    pub(crate) fn event(
        &mut self,
        variant: Variant,
        namespace: &str,
        event: &str,
        data: &Data,
        offset: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        let mut attachments: &[Bytes] = &[];
        match data {
            Data::Args(args) => {
                attachments = args.attachments();
                let head = Head {
                    attachments: attachments.len(),
                    ..Head::new(namespace)
                };
                let list = args.list();
                let list = (!list.is_empty()).then_some(list);
                socketio::encode_event_args(&head, event, list, offset, &mut packet);
            }
            Data::Json(_) | Data::Text(_) => {
                socketio::encode_event(namespace, event, &data.json(), offset, &mut packet);
            }
        }
        self.text(variant, &packet, out);
        self.scratch = packet;
        for attachment in attachments {
            self.attachment(variant, attachment, out);
        }
    }

    pub(in crate::hub::codec) fn attachment(&mut self, variant: Variant, bytes: &[u8], out: &mut Vec<u8>) {
        if variant.framing == Framing::Polling {
            engineio::encode(&engineio::Packet::Binary(bytes.into()), out);
            out.push(crate::hub::link::SEPARATOR);
        } else {
            frame::frame(Opcode::Binary, bytes, out);
        }
    }

    pub(in crate::hub::codec) fn socketio_gap(
        &mut self,
        variant: Variant,
        channel: &str,
        from: Option<&str>,
        to: &str,
        reason: GapReason,
        out: &mut Vec<u8>,
    ) {
        let (namespace, room) = room::split(channel);
        let mut json = Vec::new();
        plain::gap_object(Some(room), from, to, reason, &mut json);
        let offset = self.offsets.then_some(to);
        self.event(variant, namespace, "gap", &Data::Json(json.into()), offset, out);
    }

    pub(in crate::hub::codec) fn socketio_reply(
        &mut self,
        variant: Variant,
        asked: Asked,
        reply: &Reply,
        out: &mut Vec<u8>,
    ) {
        let Some(id) = asked.id else { return };
        let mut json = Vec::new();
        match reply {
            Reply::Done => command::ok(&mut json),
            Reply::Subscribed {
                position,
                recovered,
                history,
                ..
            } => command::ok_subscribed(&position.to_string(), *recovered, history.as_deref(), &mut json),
            Reply::Published(position) => command::ok_published(&position.to_string(), &mut json),
            Reply::Members(page) => {
                let clients = page.clients.iter().map(|client| &**client);
                command::ok_presence(clients, page.next(), &mut json);
            }
            Reply::Refused { code, message } => command::error(code, message, &mut json),
        }
        self.ack(variant, asked, id, &[&json], &[], out);
    }

    /// The answer to a client's event.
    pub(crate) fn ack(
        &mut self,
        variant: Variant,
        asked: Asked,
        id: u64,
        args: &[&[u8]],
        attachments: &[Bytes],
        out: &mut Vec<u8>,
    ) {
        let mut packet = Vec::new();
        let head = Head {
            ack: Some(id),
            attachments: attachments.len(),
            ..Head::new(self.namespace(asked.namespace))
        };
        socketio::encode_ack(&head, args.iter().copied(), &mut packet);
        self.text(variant, &packet, out);
        for attachment in attachments {
            self.attachment(variant, attachment, out);
        }
    }

    /// The name of a namespace by its number.
    pub(crate) fn namespace(&self, number: u8) -> &str {
        self.namespaces
            .get(usize::from(number))
            .map_or(socketio::ROOT, String::as_str)
    }
}
