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

/// The part of delivery that differs between destinations.
pub trait HttpProtocol: Sync {
    /// The request that carries these payloads, at least one, in this order.
    ///
    /// # Errors
    /// When they cannot be compressed.
    fn request(&self, payloads: &[&[u8]]) -> Result<HttpRequest, SendError>;

    /// The meaning of a reply for the payloads of its request. By default the status decides.
    fn outcome(&self, reply: &HttpReply, _payloads: &[&[u8]]) -> RequestOutcome {
        RequestOutcome::of(reply)
    }

    /// How much of [`RequestLimits::units`] a payload takes. By default each payload is one.
    fn units(&self, _payload: &[u8]) -> usize {
        1
    }
}

/// Delivers batches to one server, and remembers the size of requests that it accepts.
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

    /// Most bytes of the next request, as learned from the server.
    #[cfg(all(test, feature = "influxdb"))]
    pub(crate) fn bytes_max(&self) -> usize {
        self.size.bytes_max()
    }

    /// Sends one request, such as a probe.
    ///
    /// # Errors
    /// When no complete reply came.
    pub async fn post(&self, request: HttpRequest) -> Result<HttpReply, SendError> {
        Ok(self.client.post(request).await?)
    }

    /// Sends requests until every payload of the batch is settled.
    ///
    /// Each outcome is noted at once, so the future may be dropped at any await.
    ///
    /// # Errors
    /// When payloads stay pending: the server is not available, or an operator has to act.
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
            let bytes = payloads.iter().map(|payload| payload.len()).sum();
            let reply = self.post(protocol.request(&payloads)?).await?;
            let outcome = protocol.outcome(&reply, &payloads);
            let sent = AnsweredRequest { ids: &ids, bytes, outcome, reply: &reply };
            let step = plan.settle(batch, sent);
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
