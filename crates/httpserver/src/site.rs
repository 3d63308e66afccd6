//! The site that a server serves.

use std::error::Error;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};

use crate::guard::PathAccess;

/// The paths and replies of a server.
pub trait SiteService: Clone + Send + Sync + 'static {
    /// The body of a reply.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send;

    /// Who may request a path.
    fn access(&self, path: &str) -> PathAccess;

    /// Answers a request.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}
