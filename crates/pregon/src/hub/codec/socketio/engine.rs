//! What a connection of Engine.IO has beside its link: its id, the packets that wait for attachments, and a WebSocket that wants
//! to take over.

use pregon_wire::engineio::Refusal;
use pregon_wire::socketio::Assembler;
use tokio::sync::oneshot;

use super::sid::Sid;
use crate::auth::Claims;
use crate::event::Data;
use crate::hub::Key;

/// See the module.
pub(crate) struct Engine {
    pub sid: Sid,
    /// Who speaks: Socket.IO, or a suite that wants its messages back.
    pub app: App,
    pub assembler: Assembler,
    /// What the request's own token says, for clients that send none when they connect.
    pub handshake: Result<Claims, String>,
    /// A POST is under way; there may be one at a time.
    pub posting: bool,
    /// Its place for an answer, once its body is here and while its messages are not all taken.
    pub post: Option<oneshot::Sender<Result<(), Refusal>>>,
    /// The WebSocket that wants to take over from polling.
    pub probe: Option<Key>,
    /// It has answered the probe: polls are ended with nothing, so that the client can leave them.
    pub upgrading: bool,
    /// Connects that were refused: somebody who only tries is sent away.
    pub refused: u8,
    /// What conformance suites are still to be told, by namespace.
    pub greetings: Vec<(u8, Data)>,
}

/// What stands above Engine.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum App {
    SocketIo,
    /// For conformance suites.
    Echo,
}
