//! Who is measured: the program, what its clients speak, and what may be missing on this machine.

use std::path::{Path, PathBuf};

use crate::load::Protocol;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Floor,
    FloorJoined,
    /// pregón, bare endpoint: the payload alone, as the floor sends it.
    Ours,
    /// As `Ours`, with the limits that a gateway has without being told any.
    OursLimited,
    /// pregón, the full protocol.
    OursFull,
    /// pregón, server-sent events.
    OursSse,
    /// pregón, Socket.IO over WebSocket.
    OursSocketIo,
    Bun,
    NodeWs,
    SocketIo,
    SocketIoBun,
    /// Seed 000's architecture: Node LISTENs, reads the row and emits it with Socket.IO.
    SeedChat,
    /// Seed 002's architecture: Node subscribes Redis and looks at every client of a hub.
    SeedHub,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: one write per frame",
            Self::FloorJoined => "floor: frames joined",
            Self::Ours => "pregón, bare endpoint",
            Self::OursLimited => "pregón, limits as they come",
            Self::OursFull => "pregón, full protocol",
            Self::OursSse => "pregón, SSE",
            Self::OursSocketIo => "pregón, Socket.IO",
            Self::Bun => "bun server (µWebSockets)",
            Self::NodeWs => "Node ws",
            Self::SocketIo => "Socket.IO on Node",
            Self::SocketIoBun => "Socket.IO on bun (µWebSockets)",
            Self::SeedChat => "seed 000: Node pg LISTEN to Socket.IO",
            Self::SeedHub => "seed 002: Redis to a hub on Node ws",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::OursFull => Protocol::Full,
            Self::OursSse => Protocol::Sse,
            Self::OursSocketIo | Self::SocketIo | Self::SocketIoBun | Self::SeedChat => Protocol::SocketIo,
            _ => Protocol::Bare,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self.protocol() {
            Protocol::Full => "/ws",
            Protocol::Sse => "/sse?channel=bench",
            Protocol::SocketIo => "/socket.io/?EIO=4&transport=websocket",
            Protocol::Bare => "/ws/bench",
        }
    }

    /// Where a WebSocket publishes by messages of the full protocol; peers take these on any socket.
    pub(crate) fn publisher_path(self) -> &'static str {
        if self.is_ours() { "/ws" } else { "/" }
    }

    /// Why it cannot run here, if so.
    pub(crate) fn obstacle(self) -> Option<String> {
        let program = self.program();
        let there = if program.is_absolute() {
            program.is_file()
        } else {
            on_path(&program)
        };
        if !there {
            return Some(format!("{} is not there", program.display()));
        }
        let needs_packages = self.script().is_some() && self != Self::Bun;
        let installed = peers().join("node_modules/socket.io").is_dir();
        (needs_packages && !installed).then(|| "npm packages are not installed".into())
    }

    pub(super) fn program(self) -> PathBuf {
        match self {
            Self::Floor | Self::FloorJoined => beside("pregon-floor"),
            Self::Ours | Self::OursLimited | Self::OursFull | Self::OursSse | Self::OursSocketIo => pregon(),
            // The package's own file: `bin/bun` needs an install script, and scripts of packages stay off.
            Self::Bun | Self::SocketIoBun => peers().join("node_modules/@oven/bun-linux-x64/bin/bun"),
            Self::NodeWs | Self::SocketIo | Self::SeedChat | Self::SeedHub => "node".into(),
        }
    }

    /// The peer's script, if it is one.
    fn script(self) -> Option<&'static str> {
        match self {
            Self::Bun => Some("bun.js"),
            Self::NodeWs => Some("ws.js"),
            Self::SocketIo => Some("socketio.js"),
            Self::SocketIoBun => Some("socketio-bun.js"),
            Self::SeedChat => Some("seed-chat.js"),
            Self::SeedHub => Some("seed-hub.js"),
            _ => None,
        }
    }

    pub(super) fn arguments(self, config: &Path) -> Vec<PathBuf> {
        match self.script() {
            Some(script) => vec![peers().join(script)],
            None if self.is_ours() => vec!["serve".into(), "--config".into(), config.to_owned()],
            None if self == Self::FloorJoined => vec!["--joined".into()],
            None => Vec::new(),
        }
    }

    /// What our configuration has for it beside what all have.
    pub(super) fn configuration(self) -> &'static str {
        match self {
            // A server of the official library puts its clients into their room; so does this.
            Self::OursSocketIo => "[socketio]\n\n[auth]\nanonymous_join = [\"bench\"]\n",
            _ => "",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Ours | Self::OursLimited | Self::OursFull | Self::OursSse | Self::OursSocketIo
        )
    }
}

/// The folder of the peers' scripts.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Our binary: `PREGON_BIN`, or the one beside this program.
pub(crate) fn pregon() -> PathBuf {
    std::env::var_os("PREGON_BIN").map_or_else(|| beside("pregon"), PathBuf::from)
}

fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name(name)
}

fn on_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
