//! The dashboard of a node, where its configuration has a token for it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::sources::Parts;
use crate::admin;
use crate::api::Health;
use crate::config::Config;
use crate::hub::closed::Closed;

/// Sessions that have ended are remembered only for somebody who may look.
pub(super) fn closed(config: &Config) -> Option<Arc<Closed>> {
    config.admin.token.as_ref().map(|_| Arc::default())
}

/// Its paths; none without a token.
pub(super) fn routes(parts: &Parts<'_>, address: SocketAddr, health: &Arc<Health>) -> axum::Router {
    let (config, hub, pipeline) = (parts.config, parts.hub, parts.pipeline);
    let (Some(token), Some(closed)) = (&config.admin.token, &hub.shared().closed) else {
        return axum::Router::new();
    };
    let unrouted = Arc::default();
    pipeline.remember_unrouted(Arc::clone(&unrouted));
    tracing::info!(path = "/admin/", "the dashboard is on");
    admin::router(admin::Parts {
        token: token.clone(),
        config: config.clone(),
        address,
        router: Arc::clone(pipeline.router()),
        log: Arc::clone(pipeline.log()),
        hub: Arc::clone(hub),
        health: Arc::clone(health),
        metrics: Arc::clone(parts.metrics),
        desk: Arc::clone(&hub.shared().desk),
        revoked: Arc::clone(&hub.shared().revoked),
        closed: Arc::clone(closed),
        unrouted,
    })
}
