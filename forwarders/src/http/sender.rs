//! Delivers a batch over HTTP.

use tracing::warn;

use super::client::{HttpClient, HttpRequest};
use super::group::{RequestLimits, payloads};
use super::outcome::RequestOutcome;
use super::plan::{AnsweredRequest, DeliveryPlan, NextStep};
use super::reply::HttpReply;
use super::request_size::RequestSize;
use crate::delivery::forwarder::SendError;
use crate::delivery::payload::Batch;

/// The part of the delivery that differs between destinations.
pub trait HttpProtocol: Sync {
    /// Builds the request for one or more payloads, in this order.
    ///
    /// # Errors
    /// When the payloads cannot be compressed.
    fn request(&self, payloads: &[&[u8]]) -> Result<HttpRequest, SendError>;

    /// Interprets the reply for the payloads of its request. By default the status decides.
    fn outcome(&self, reply: &HttpReply, _payloads: &[&[u8]]) -> RequestOutcome {
        RequestOutcome::of(reply)
    }

    /// The units of a payload, which count against [`RequestLimits::units`]. By default, 1.
    fn units(&self, _payload: &[u8]) -> usize {
        1
    }
}

/// Delivers batches to one server. Remembers the size of requests that the server accepts.
#[derive(Debug)]
pub struct HttpSender {
    client: HttpClient,
    limits: RequestLimits,
    size: RequestSize,
}

impl HttpSender {
    /// A sender that connects with its first request.
    #[must_use]
    pub fn new(client: HttpClient, limits: RequestLimits) -> Self {
        Self { client, limits, size: RequestSize::new(limits.bytes) }
    }

    /// Most bytes of the next request before compression, as learned from the server.
    #[cfg(all(test, feature = "influxdb"))]
    pub(crate) fn bytes_max(&self) -> usize {
        self.size.bytes_max()
    }

    /// Sends one request, such as a probe.
    ///
    /// # Errors
    /// When no complete reply arrived.
    pub async fn post(&self, request: HttpRequest) -> Result<HttpReply, SendError> {
        Ok(self.client.post(request).await?)
    }

    /// Sends requests until every payload of the batch is settled.
    ///
    /// The future may be dropped at any await: outcomes are recorded after each reply.
    ///
    /// # Errors
    /// When payloads stay pending: the server is unavailable, or an operator has to change
    /// something.
    pub async fn deliver(
        &mut self,
        batch: &mut Batch,
        protocol: &impl HttpProtocol,
    ) -> Result<(), SendError> {
        let mut plan = DeliveryPlan::new(self.limits, self.size);
        loop {
            let ids = plan.next(batch, |payload| protocol.units(payload));
            if ids.is_empty() {
                return Ok(());
            }
            let payloads = payloads(batch, &ids);
            // Before compression: the limits apply to this size, because the compressed size is
            // known only after the work.
            let bytes = payloads.iter().map(|payload| payload.len()).sum();
            let reply = self.post(protocol.request(&payloads)?).await?;
            let outcome = protocol.outcome(&reply, &payloads);
            let sent = AnsweredRequest { ids: &ids, bytes, outcome, reply: &reply };
            let step = plan.settle(batch, sent);
            // After each reply: the size must not be learned again if the future is dropped.
            self.size = plan.size();
            match step {
                NextStep::Continue => {}
                NextStep::Shrink(bytes_max) => self.warn_of_size(bytes, bytes_max),
                NextStep::Stop(class) => return Err(reply.into_error(class, rand::random())),
            }
        }
    }

    fn warn_of_size(&self, refused: usize, bytes: usize) {
        warn!(
            forwarder = self.client.name(),
            refused,
            bytes,
            "the server refuses requests of this size; from now on they have at most half as many \
             bytes before compression (see max_bytes)"
        );
    }
}
