//! The client's address behind proxies: `X-Forwarded-For` and `Forwarded` are believed only from the declared ones.

use std::net::IpAddr;

use crate::config::net::Network;

/// The declared proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Vec<Network>);

impl Proxies {
    /// Entries that are no network are left out; `check` names them before.
    pub(crate) fn new(list: &[String]) -> Self {
        Self(list.iter().filter_map(|text| Network::parse(text)).collect())
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request that came from `peer`: the last address in `X-Forwarded-For` that is no trusted proxy; where there
    /// is no such header, in `Forwarded` (RFC 7239). Both are lists as one text.
    pub(crate) fn client(
        &self,
        peer: IpAddr,
        x_forwarded_for: Option<&str>,
        forwarded: Option<&str>,
    ) -> IpAddr {
        let mut client = peer;
        for hop in hops(x_forwarded_for, forwarded).into_iter().rev() {
            if !self.trusts(client) {
                break;
            }
            // What a proxy did not write as an address tells nothing about those before it.
            let Some(hop) = hop else { break };
            client = hop;
        }
        client.to_canonical()
    }
}

/// Who asked whom, in the order of the header; `None` for what is no address (`unknown`, a name that hides one).
fn hops(x_forwarded_for: Option<&str>, forwarded: Option<&str>) -> Vec<Option<IpAddr>> {
    match (x_forwarded_for, forwarded) {
        (Some(list), _) => split(list, ',').map(node).collect(),
        (None, Some(list)) => split(list, ',').map(|element| node(for_of(element)?)).collect(),
        (None, None) => Vec::new(),
    }
}

/// The value of `for` in an element: `for=192.0.2.60;proto=http;by=203.0.113.43`.
fn for_of(element: &str) -> Option<&str> {
    split(element, ';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// The pieces between separators that stand in no quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |letter: char| {
        let was_escaped = escaped;
        escaped = letter == '\\' && quoted && !was_escaped;
        if letter == '"' && !was_escaped {
            quoted = !quoted;
        }
        letter == separator && !quoted
    })
}

/// An address in any of the forms that proxies write: plain, with a port, in brackets, in quotes.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text)
        .trim();
    if let Some(inner) = text.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        let is_port = port.is_empty() || port.starts_with(':');
        return address.parse().ok().filter(|_| is_port);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, _) = text.rsplit_once(':')?;
    address.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn proxies() -> Proxies {
        Proxies::new(&["10.0.0.0/8".into(), "::1".into()])
    }

    fn client(peer: &str, list: &str) -> String {
        proxies()
            .client(peer.parse().unwrap(), Some(list), None)
            .to_string()
    }

    fn forwarded(list: &str) -> String {
        proxies()
            .client("10.1.2.3".parse().unwrap(), None, Some(list))
            .to_string()
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

    #[test]
    fn addresses_may_have_ports_brackets_and_quotes() {
        for (written, address) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("\"[2001:db8::7]:443\"", "2001:db8::7"),
            (" \"198.51.100.1\" ", "198.51.100.1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            assert_eq!(client("10.1.2.3", written), address, "{written}");
            assert_eq!(
                client("10.1.2.3", &format!("6.6.6.6, {written}, 10.9.9.9:80")),
                address
            );
        }
        for nobody in [
            "unknown",
            "_hidden",
            "[2001:db8::7",
            "[2001:db8::7]x",
            "a:b:c",
            "1.2.3:4",
        ] {
            assert_eq!(
                client("10.1.2.3", &format!("6.6.6.6, {nobody}")),
                "10.1.2.3",
                "{nobody}"
            );
        }
    }

    #[test]
    fn forwarded_is_read_where_the_other_header_is_absent() {
        for (written, address) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=6.6.6.6, for=192.0.2.43, for=10.0.0.7", "192.0.2.43"),
            (
                "proto=https;host=\"a,b;for=6.6.6.6\";FOR = \"192.0.2.43:80\"",
                "192.0.2.43",
            ),
            ("for=192.0.2.43,for=\"_SEVKISEK\"", "10.1.2.3"),
            ("for=192.0.2.43, by=10.0.0.7", "10.1.2.3"),
            ("for=unknown", "10.1.2.3"),
        ] {
            assert_eq!(forwarded(written), address, "{written}");
        }
        let both = proxies().client(
            "10.1.2.3".parse().unwrap(),
            Some("192.0.2.1"),
            Some("for=6.6.6.6"),
        );
        assert_eq!(both.to_string(), "192.0.2.1");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(list in r#"[for=\[\]":;,\\0-9.é ]{0,40}"#) {
            let _ = proxies().client("10.1.2.3".parse().unwrap(), Some(&list), None);
            let _ = forwarded(&list);
        }
    }
}
