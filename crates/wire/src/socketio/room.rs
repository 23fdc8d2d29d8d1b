//! Which channel a room is. Room `R` of `/` is the channel `R`, so that other protocols follow it by the same name; room `R` of
//! `/admin` is `/admin#R`; everyone in a namespace is its name and `#`. A socket's own room has the socket's id as its name.
//!
//! Names are told apart as long as no namespace has a `#`: whoever lets clients into namespaces refuses those ([`is_mappable`]).

use super::packet::ROOT;

const MARK: char = '#';

/// The channel of a room. A room without a name would be [`everyone`]: callers refuse it.
pub fn channel_of(namespace: &str, room: &str) -> String {
    // A room of `/` that looks like a channel of another namespace must not become one.
    if namespace == ROOT && !(room.starts_with('/') && room.contains(MARK)) {
        return room.to_owned();
    }
    format!("{namespace}{MARK}{room}")
}

/// The channel that every socket of a namespace follows.
pub fn everyone(namespace: &str) -> String {
    format!("{namespace}{MARK}")
}

/// The namespace and the room of a channel; the room is empty for everyone.
pub fn split(channel: &str) -> (&str, &str) {
    match channel.split_once(MARK) {
        Some((namespace, room)) if namespace.starts_with('/') => (namespace, room),
        _ => (ROOT, channel),
    }
}

/// Whether back ends reach the socket `sid` by the channel, be it alone or with everyone in its namespace: it follows that by
/// being there, not by a right.
pub fn is_own(channel: &str, sid: &str) -> bool {
    matches!(split(channel), (_, room) if room.is_empty() || room == sid)
}

/// Whether the rooms of a namespace can be told from those of every other.
pub fn is_mappable(namespace: &str) -> bool {
    namespace.starts_with('/') && !namespace.contains(MARK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rooms_are_channels() {
        assert_eq!(channel_of("/", "user_7"), "user_7");
        assert_eq!(channel_of("/", "/path"), "/path");
        assert_eq!(channel_of("/", "a#b"), "a#b");
        assert_eq!(channel_of("/admin", "user_7"), "/admin#user_7");
        assert_eq!(everyone("/"), "/#");
        assert_eq!(everyone("/admin"), "/admin#");
        assert_eq!(channel_of("/", "/admin#user_7"), "/#/admin#user_7");
    }

    #[test]
    fn channels_are_rooms() {
        assert_eq!(split("user_7"), ("/", "user_7"));
        assert_eq!(split("/path"), ("/", "/path"));
        assert_eq!(split("a#b"), ("/", "a#b"));
        assert_eq!(split("/admin#a#b"), ("/admin", "a#b"));
        assert_eq!(split("/#"), ("/", ""));
        assert_eq!(split("/admin#"), ("/admin", ""));
        assert_eq!(split(""), ("/", ""));
    }

    #[test]
    fn a_socket_has_channels_of_its_own() {
        assert!(is_own("/admin#", "s1") && is_own("/admin#s1", "s1") && is_own("s1", "s1"));
        assert!(!is_own("/admin#s2", "s1") && !is_own("user_7", "s1"));
    }

    proptest! {
        #[test]
        fn a_room_comes_back(namespace in "/[a/]{0,3}", room in "[ab/#]{1,6}") {
            prop_assert!(is_mappable(&namespace));
            let channel = channel_of(&namespace, &room);
            prop_assert_eq!(split(&channel), (namespace.as_str(), room.as_str()));
            prop_assert_ne!(channel, everyone(&namespace));
        }
    }
}
