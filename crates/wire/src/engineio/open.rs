//! The open packet: what the server tells a new session (engine.io-protocol v4, "Handshake").

use std::io::Write as _;

use crate::plain::write_json_str;

/// Terms of a session. Clients and suites expect exactly these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Names the session in later requests; whoever knows it can act for the client.
    pub sid: &'a str,
    /// Whether the client may move to a WebSocket: over polling yes, over a WebSocket there is nowhere to move.
    pub can_upgrade: bool,
    /// Milliseconds between the server's pings.
    pub ping_interval: u64,
    /// Milliseconds that either side waits for the other's half of the heartbeat.
    pub ping_timeout: u64,
    /// Most bytes of one polling body of the client.
    pub max_payload: usize,
}

impl Open<'_> {
    /// Appends the packet, type and all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"0{"sid":"#);
        write_json_str(self.sid, out);
        let upgrades = if self.can_upgrade { r#""websocket""# } else { "" };
        let _ = write!(
            out,
            r#","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.ping_interval, self.ping_timeout, self.max_payload
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(can_upgrade: bool) -> String {
        let open = Open {
            sid: "lv_VI97HAXpY6yYWAAAC",
            can_upgrade,
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 1_000_000,
        };
        let mut out = Vec::new();
        open.encode(&mut out);
        String::from_utf8(out).expect("encoders write text")
    }

    #[test]
    fn the_packet_is_that_of_the_reference_server() {
        assert_eq!(
            encoded(true),
            "0{\"sid\":\"lv_VI97HAXpY6yYWAAAC\",\"upgrades\":[\"websocket\"],\
             \"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}"
        );
        assert!(encoded(false).contains("\"upgrades\":[],"));
    }
}
