//! From what an emitter tells sockets to an order for the hub: rooms become channels.

use pregon_wire::socketio::emitter::{self, RoomChange};

use super::publication::channels;
use crate::hub::orders::{Action, Order};

/// The order. A room that no session can be in is passed over; if it means some rooms and none of them can be, nobody is meant.
pub(super) fn order(change: RoomChange) -> Result<Order, &'static str> {
    let to = change.to;
    let rooms = (!to.rooms.is_empty()).then(|| channels(&to.namespace, &to.rooms));
    if rooms.as_ref().is_some_and(Vec::is_empty) {
        return Err("no room that it names can exist");
    }
    let action = match change.action {
        emitter::Action::Join(rooms) => Action::Join(channels(&to.namespace, &rooms)),
        emitter::Action::Leave(rooms) => Action::Leave(channels(&to.namespace, &rooms)),
        emitter::Action::Disconnect { close } => Action::Disconnect { close },
    };
    Ok(Order {
        except: channels(&to.namespace, &to.except),
        namespace: to.namespace,
        rooms,
        action,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use pregon_wire::socketio::emitter::Target;

    use super::*;

    fn change(rooms: &[&str]) -> RoomChange {
        let to = Target {
            namespace: "/admin".into(),
            rooms: rooms.iter().map(|&room| room.into()).collect(),
            except: vec!["muted".into()],
        };
        let action = emitter::Action::Join(vec!["a".into(), String::new()]);
        RoomChange { to, action }
    }

    #[test]
    fn rooms_are_channels_of_the_namespace() {
        let order = order(change(&["b"])).unwrap();
        assert_eq!(order.rooms, Some(vec![Arc::from("/admin#b")]));
        assert_eq!(order.except, [Arc::from("/admin#muted")]);
        assert!(matches!(order.action, Action::Join(rooms) if rooms == [Arc::from("/admin#a")]));
    }

    #[test]
    fn no_room_is_everyone_and_a_room_that_cannot_exist_is_not() {
        assert_eq!(order(change(&[])).unwrap().rooms, None);
        assert!(order(change(&[""])).is_err());
    }
}
