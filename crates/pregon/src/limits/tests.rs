//! Places, rates and denied networks.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn connections(most: usize, per_address: usize) -> Arc<Connections> {
    let bounds = Bounds {
        most,
        per_address,
        ..Bounds::default()
    };
    Connections::new(bounds, Clock::default())
}

fn admit(connections: &Arc<Connections>, address: &str) -> Result<Permit, Refusal> {
    let permit = connections.admit().ok_or(Refusal::TooMany)?;
    permit.is_of(address.parse().unwrap()).map(|()| permit)
}

#[test]
fn both_limits_hold_and_places_come_back() {
    let connections = connections(3, 2);
    let (here, there, neighbour) = ("10.0.0.1", "2001:db8::1", "2001:db8::2");
    let first = admit(&connections, here).unwrap();
    let _second = admit(&connections, here).unwrap();
    assert!(admit(&connections, here).is_err(), "two per address");
    let _third = admit(&connections, there).unwrap();
    assert!(admit(&connections, neighbour).is_err(), "three in total");
    assert!(first.again().is_err(), "whoever asks");
    drop(first);
    let _fourth = admit(&connections, neighbour).unwrap();
    assert!(admit(&connections, here).is_err());
    assert_eq!(connections.total(), 3);
}

#[test]
fn a_place_counts_before_its_address_is_known_and_once_whoever_shares_it() {
    let connections = connections(1, 1);
    let permit = connections.admit().unwrap();
    assert!(connections.admit().is_none());
    let here = "10.0.0.1".parse().unwrap();
    permit.is_of(here).unwrap();
    let stream = permit.clone();
    stream.is_of(here).unwrap(); // It is counted already.
    drop(stream);
    assert_eq!(connections.total(), 1, "the connection is still there");
    drop(permit);
    assert_eq!(connections.total(), 0);
    connections.admit().unwrap().is_of(here).unwrap();
}

#[test]
fn who_comes_too_fast_waits_and_others_do_not() {
    let bounds = Bounds {
        connects: Rate {
            per_second: 1,
            burst: 5,
        },
        ..Bounds::default()
    };
    let connections = Connections::new(bounds, Clock::default());
    for _ in 0..5 {
        admit(&connections, "10.0.0.1").unwrap();
    }
    assert_eq!(admit(&connections, "10.0.0.1").unwrap_err(), Refusal::TooFast);
    admit(&connections, "10.0.0.2").unwrap();
    let worst = connections.worst(10);
    let [account] = worst.as_slice() else {
        panic!("{worst:?}")
    };
    assert_eq!(account.address(), "10.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(account.reasons().collect::<Vec<_>>(), [(Reason::Rate, 1)]);
}

#[test]
fn denied_networks_are_refused_and_whoever_is_here_is_known_to_be() {
    let connections = connections(10, 0);
    let inside = admit(&connections, "2001:db8::7").unwrap();
    let outside = admit(&connections, "2001:db8::8").unwrap();
    connections.deny(&["10.0.0.0/8".into(), "2001:db8::7".into()]);
    assert!(inside.is_denied() && !outside.is_denied());
    assert_eq!(admit(&connections, "10.1.2.3").unwrap_err(), Refusal::Denied);
    assert_eq!(
        admit(&connections, "::ffff:10.1.2.3").unwrap_err(),
        Refusal::Denied
    );
    admit(&connections, "11.1.2.3").unwrap();
    connections.deny(&[]);
    admit(&connections, "10.1.2.3").unwrap();
}

#[test]
fn addresses_without_connections_take_a_bounded_room_and_the_worst_stay() {
    let connections = connections(10, 0);
    let worst: IpAddr = "10.0.0.1".parse().unwrap();
    for _ in 0..3 {
        connections.refused(worst, Reason::Protocol);
    }
    for number in 0..5 * ABSENT as u32 {
        connections.refused(IpAddr::from((0x0b00_0000 + number).to_be_bytes()), Reason::Token);
    }
    assert!(connections.accounts.lock().len() <= ABSENT + 2);
    assert_eq!(connections.worst(1).first().unwrap().address(), worst);
}

#[test]
fn who_did_nothing_wrong_is_forgotten_at_once() {
    let connections = connections(10, 1);
    drop(admit(&connections, "10.0.0.1").unwrap());
    assert!(connections.accounts.lock().is_empty());
}
