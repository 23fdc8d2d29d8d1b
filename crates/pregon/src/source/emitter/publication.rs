//! From an emitted event to a publication: rooms become channels.

use std::sync::Arc;

use pregon_wire::socketio::emitter::{Broadcast, Target};
use pregon_wire::socketio::room;

use crate::event::{Data, Publication};
use crate::session::decide::check_name;

/// A publication as an emitter wants it.
#[derive(Debug)]
pub(crate) struct Emission {
    pub publication: Publication,
    /// It need not be kept for whoever comes later.
    pub volatile: bool,
}

/// Addresses an emitted event. A room that no session can be in (its name is empty or too long) is passed over; if no room is left,
/// nobody is addressed.
pub(crate) fn publication(broadcast: Broadcast) -> Result<Emission, &'static str> {
    check_name(&broadcast.event)
        .map_err(|_| "an event's name is empty, too long or has control characters")?;
    let Target {
        namespace,
        rooms,
        except,
    } = broadcast.to;
    let channels = if rooms.is_empty() {
        vec![Arc::from(room::everyone(&namespace))]
    } else {
        channels(&namespace, &rooms)
    };
    if channels.is_empty() {
        return Err("no room that it names can exist");
    }
    let data = Data::args(broadcast.args.into(), broadcast.count, broadcast.attachments);
    let mut publication = Publication::new(channels, broadcast.event, data);
    publication.except = self::channels(&namespace, &except).into();
    Ok(Emission {
        publication,
        volatile: broadcast.volatile,
    })
}

/// A room without a name must not become the channel of everyone.
pub(super) fn channels(namespace: &str, rooms: &[String]) -> Vec<Arc<str>> {
    rooms
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| room::channel_of(namespace, name))
        .filter(|channel| check_name(channel).is_ok())
        .map(Arc::from)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn emitted(namespace: &str, rooms: &[&str], except: &[&str]) -> Broadcast {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Broadcast {
            to: Target {
                namespace: namespace.into(),
                rooms: owned(rooms),
                except: owned(except),
            },
            volatile: true,
            event: "e".into(),
            args: "1,2".into(),
            count: 2,
            attachments: Vec::new(),
        }
    }

    fn names(channels: &[Arc<str>]) -> Vec<&str> {
        channels.iter().map(|channel| &**channel).collect()
    }

    #[test]
    fn rooms_and_exceptions_are_channels() {
        let Emission {
            publication,
            volatile,
        } = publication(emitted("/", &["a", "b"], &["muted"])).unwrap();
        assert_eq!(names(&publication.channels), ["a", "b"]);
        assert_eq!(names(&publication.except), ["muted"]);
        assert_eq!(&*publication.data.json(), b"[1,2]");
        assert!(volatile);
    }

    #[test]
    fn namespaces_have_channels_of_their_own() {
        let admin = publication(emitted("/admin", &["a"], &["muted"]))
            .unwrap()
            .publication;
        assert_eq!(names(&admin.channels), ["/admin#a"]);
        assert_eq!(names(&admin.except), ["/admin#muted"]);
        for (namespace, channel) in [("/", "/#"), ("/admin", "/admin#")] {
            let all = publication(emitted(namespace, &[], &[])).unwrap().publication;
            assert_eq!(names(&all.channels), [channel]);
        }
    }

    #[test]
    fn a_room_that_cannot_exist_is_not_everyone() {
        let long = "x".repeat(256);
        for namespace in ["/", "/admin"] {
            for rooms in [&[""][..], &["\n"], &["", long.as_str()]] {
                assert!(publication(emitted(namespace, rooms, &[])).is_err(), "{rooms:?}");
            }
            let some = publication(emitted(namespace, &["", "a"], &["", "b"]))
                .unwrap()
                .publication;
            assert_eq!((some.channels.len(), some.except.len()), (1, 1));
        }
    }

    #[test]
    fn a_name_of_an_event_is_checked_and_bytes_stay_bytes() {
        let mut nameless = emitted("/", &["a"], &[]);
        nameless.event = String::new();
        assert!(publication(nameless).is_err());
        let mut file = emitted("/", &["a"], &[]);
        (file.args, file.count) = (r#"{"_placeholder":true,"num":0}"#.into(), 1);
        file.attachments = vec![Bytes::from_static(b"\x01\x02\x03")];
        let file = publication(file).unwrap().publication;
        assert_eq!(&*file.data.json(), br#""AQID""#);
    }
}
