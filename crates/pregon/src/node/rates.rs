//! The limits of a configuration as rates and bounds.

use std::sync::Arc;

use crate::config::{self, Config};
use crate::limits::{Bounds, Clock, Connections, Rate, descriptors};
use crate::metrics::Metrics;

/// Seconds of a client's rate that it may use at once: whoever connects subscribes to all its channels.
const COMMANDS: u64 = 10;
const BYTES: u64 = 2;
const ADDRESS: u64 = 2;

/// Messages of one connection: publishes have a limit of their own, which answers before this one closes.
pub(super) fn commands(limits: &config::Limits) -> Rate {
    if limits.commands_per_second == 0 {
        return Rate::FREE;
    }
    let per_second = u64::from(limits.commands_per_second) + u64::from(limits.publishes_per_second);
    let all_channels = 2 * limits.subscriptions as u64;
    Rate {
        per_second,
        burst: (per_second * COMMANDS).max(all_channels),
    }
}

/// Bytes of one connection; the largest message fits always.
pub(super) fn inflow(limits: &config::Limits) -> Rate {
    let per_second = limits.bytes_per_second.bytes() as u64;
    Rate {
        per_second,
        burst: (per_second * BYTES).max(limits.message.bytes() as u64),
    }
}

/// The connections of a node.
pub(super) fn connections(config: &Config, metrics: &Metrics) -> Arc<Connections> {
    let limits = &config.limits;
    let of_address = |per_second: u32, burst: u64| match limits.per_address {
        // Addresses are not told apart.
        0 => Rate::FREE,
        _ => Rate {
            per_second: u64::from(per_second),
            burst,
        },
    };
    let bounds = Bounds {
        most: descriptors::connections(limits.connections, descriptors::limit()),
        descriptors: descriptors::connections(0, descriptors::limit()),
        per_address: limits.per_address,
        connects: of_address(limits.per_address_connects, limits.per_address as u64),
        commands: of_address(
            limits.per_address_commands,
            u64::from(limits.per_address_commands) * ADDRESS,
        ),
    };
    if let Some(shortage) = descriptors::shortage(limits.connections, descriptors::limit()) {
        tracing::warn!("{shortage}");
    }
    let connections = Connections::new(bounds, Clock::default());
    connections.deny(&config.server.deny);
    metrics.tell_of(Arc::clone(&connections));
    connections
}
