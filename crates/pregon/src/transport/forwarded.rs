//! The client's address behind proxies: `X-Forwarded-For` is believed only from the declared ones.

use std::net::IpAddr;

use crate::config::net::Network;

/// The declared proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// Entries that are no network are left out; `check` names them before.
    pub fn new(list: &[String]) -> Self {
        Self(list.iter().filter_map(|text| Network::parse(text)).collect())
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request that came from `peer`: the last address in `forwarded` that is no trusted proxy.
    pub fn client(&self, peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
        let mut client = peer;
        let hops = forwarded
            .unwrap_or_default()
            .rsplit(',')
            .map(|hop| hop.trim().parse::<IpAddr>());
        for hop in hops {
            if !self.trusts(client) {
                break;
            }
            // What a proxy did not write as an address tells nothing about those before it.
            let Ok(hop) = hop else { break };
            client = hop;
        }
        client.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(peer: &str, forwarded: &str) -> String {
        let proxies = Proxies::new(&["10.0.0.0/8".into(), "::1".into()]);
        proxies.client(peer.parse().unwrap(), Some(forwarded)).to_string()
    }

    #[test]
    fn only_declared_proxies_are_believed() {
        assert_eq!(client("203.0.113.9", "198.51.100.1"), "203.0.113.9");
        assert_eq!(client("10.1.2.3", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            client("10.1.2.3", "6.6.6.6, 198.51.100.1, 10.9.9.9"),
            "198.51.100.1"
        );
        assert_eq!(client("::1", "nonsense"), "::1");
        assert_eq!(client("10.1.2.3", ""), "10.1.2.3");
    }
}
