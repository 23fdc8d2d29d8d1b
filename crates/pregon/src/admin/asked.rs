//! What requests carry: parameters and bodies, checked; whatever does not fit is told as JSON, like every other refusal.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::Failure;

/// The parameters of the address.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(params) = Query::from_request_parts(parts, state)
            .await
            .map_err(|error| Failure::bad(error.body_text()))?;
        Ok(Self(params))
    }
}

/// The body, as JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Json(body) = Json::from_request(request, state)
            .await
            .map_err(|error| match error.status() {
                StatusCode::UNPROCESSABLE_ENTITY => Failure::bad(error.body_text()),
                status => Failure::new(status, error.body_text()),
            })?;
        Ok(Self(body))
    }
}
