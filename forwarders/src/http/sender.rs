//! Delivers a batch over HTTP.

use tracing::warn;

use super::answer::Answer;
use super::client::{HttpClient, HttpRequest};
use super::error::HttpError;
use super::group::{RequestLimits, payloads};
use super::outcome::RequestOutcome;
use super::plan::{AnsweredRequest, DeliveryPlan, NextStep};
use super::reply::HttpReply;
use super::request_size::RequestSize;
use super::stall::StallCount;
use super::status_class::StatusClass;
use crate::delivery::forwarder::SendError;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;

/// The part of the delivery that differs between destinations.
pub trait HttpProtocol: Sync {
    /// Builds the request for one or more payloads, in this order.
    ///
    /// # Errors
    /// When the payloads cannot be compressed.
    fn request(&self, payloads: &[&[u8]]) -> Result<HttpRequest, SendError>;

    /// Interprets the reply for the payloads of its request. By default its class decides.
    fn outcome(&self, reply: &HttpReply, _payloads: &[&[u8]]) -> RequestOutcome {
        RequestOutcome::from(reply.class())
    }

    /// Reads a reply in the terms of a protocol on top of HTTP: the reply as the sender and the log
    /// shall understand it, and its outcome. By default the reply stays as it is.
    fn answer(&self, reply: HttpReply, payloads: &[&[u8]]) -> (HttpReply, RequestOutcome) {
        let outcome = self.outcome(&reply, payloads);
        (reply, outcome)
    }

    /// The units of a payload, which count against [`RequestLimits::units`]. By default, 1.
    fn units(&self, _payload: &[u8]) -> usize {
        1
    }

    /// Whether the server may get a request with these payloads again after it has accepted them. By
    /// default, it may.
    fn may_repeat(&self, _payloads: &[&[u8]]) -> bool {
        true
    }

    /// A request with data that is always valid and that no query shows, to learn whether the server
    /// accepts data at all. `None` if the protocol has no such data.
    fn harmless(&self) -> Option<HttpRequest> {
        None
    }
}

/// Delivers batches to one server. Remembers the size of requests that the server accepts.
#[derive(Debug)]
pub struct HttpSender {
    client: HttpClient,
    limits: RequestLimits,
    size: RequestSize,
    stall: StallCount,
    /// A small request that the server accepted during the latest search.
    proof: Option<HttpRequest>,
    /// Small requests with data of a window that waits.
    newer: Vec<HttpRequest>,
}

/// A request with its answer.
struct SentRequest {
    ids: Vec<usize>,
    bytes: usize,
    answer: Answer,
    is_search_due: bool,
}

impl HttpSender {
    /// A sender that connects with its first request.
    #[must_use]
    pub fn new(client: HttpClient, limits: RequestLimits) -> Self {
        Self {
            client,
            limits,
            size: RequestSize::new(limits.bytes),
            stall: StallCount::new(limits.search_after),
            proof: None,
            newer: Vec::new(),
        }
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

    /// Whether data of a newer window would help: a request has stalled, and only other data can
    /// show whether the request or the server is at fault.
    #[must_use]
    pub fn wants_newer_data(&self) -> bool {
        self.stall.is_search_near()
    }

    /// Keeps small requests with data of a window that waits, each of which may be sent before its
    /// turn, and again.
    pub fn show_newer_data(&mut self, requests: Vec<HttpRequest>) {
        self.newer = requests;
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
                self.end_search(&mut plan);
                return Ok(());
            }
            let sent = self.send(ids, batch, &plan, protocol).await?;
            let step = match sent.settle(&mut plan, batch) {
                NextStep::Stop(_) if sent.is_search_due => plan.begin_search(&sent.ids),
                step => step,
            };
            // After each reply: the size must not be learned again if the future is dropped.
            self.size = plan.size();
            self.take(step, &mut plan, batch, sent, protocol).await?;
        }
    }

    /// Sends the payloads `ids`.
    async fn send(
        &mut self,
        ids: Vec<usize>,
        batch: &Batch,
        plan: &DeliveryPlan,
        protocol: &impl HttpProtocol,
    ) -> Result<SentRequest, SendError> {
        let payloads = payloads(batch, &ids);
        // Before compression: the limits apply to this size, because the compressed size is known
        // only after the work.
        let bytes = payloads.iter().map(|payload| payload.len()).sum();
        let request = protocol.request(&payloads)?;
        let answer = match self.client.post(request.clone()).await {
            Ok(reply) => {
                let (reply, outcome) = protocol.answer(reply, &payloads);
                Answer::Reply(reply, outcome)
            }
            Err(error @ HttpError::Broken { .. }) => Answer::Broken(error),
            Err(error) => return Err(error.into()),
        };
        let is_search_due = !plan.is_searching() && self.is_search_due(&answer, &payloads);
        let is_accepted = answer.outcome() == RequestOutcome::Delivered;
        if plan.is_trying() && is_accepted && protocol.may_repeat(&payloads) {
            self.proof = Some(request);
        }
        Ok(SentRequest { ids, bytes, answer, is_search_due })
    }

    /// Takes the next step after an answer.
    async fn take(
        &mut self,
        step: NextStep,
        plan: &mut DeliveryPlan,
        batch: &mut Batch,
        sent: SentRequest,
        protocol: &impl HttpProtocol,
    ) -> Result<(), SendError> {
        match step {
            NextStep::Continue => {}
            NextStep::Shrink(bytes_max) => self.warn_of_size(sent.bytes, bytes_max),
            NextStep::Stop(_) => return Err(sent.answer.into_error()),
            NextStep::Compare if self.accepts_other_data(protocol).await => plan.proven(),
            NextStep::Confirm if self.accepts_proof(protocol).await => {
                self.refuse_culprit(plan, batch, &sent.answer);
            }
            NextStep::Compare | NextStep::Confirm => {
                self.stall.server_is_at_fault();
                return Err(sent.answer.into_error());
            }
        }
        Ok(())
    }

    /// Counts an answer that neither accepts nor refuses its request. Returns whether the request
    /// has to be searched.
    fn is_search_due(&mut self, answer: &Answer, payloads: &[&[u8]]) -> bool {
        use RequestOutcome::{Operator, TooLarge, Transient};
        let is_undecided = matches!(answer.outcome(), Transient | Operator | TooLarge);
        is_undecided && !answer.is_busy() && self.stall.note(payloads, answer.is_broken())
    }

    /// Sends data from elsewhere until the server accepts some of it. Returns whether it did.
    async fn accepts_other_data(&mut self, protocol: &impl HttpProtocol) -> bool {
        let others = protocol.harmless().into_iter().chain(self.proof.take());
        for other in others.chain(std::mem::take(&mut self.newer)) {
            if self.accepts(&other, protocol).await {
                self.proof = Some(other);
                return true;
            }
        }
        false
    }

    /// Sends data again that the server accepted earlier in the search. Returns whether it still
    /// accepts it: a server that failed since then must not cost data.
    async fn accepts_proof(&self, protocol: &impl HttpProtocol) -> bool {
        for known in protocol.harmless().iter().chain(&self.proof) {
            if self.accepts(known, protocol).await {
                return true;
            }
        }
        false
    }

    async fn accepts(&self, request: &HttpRequest, protocol: &impl HttpProtocol) -> bool {
        let Ok(reply) = self.client.post(request.clone()).await else { return false };
        let (reply, _) = protocol.answer(reply, &[]);
        reply.class() == StatusClass::Success
    }

    fn refuse_culprit(&mut self, plan: &mut DeliveryPlan, batch: &mut Batch, answer: &Answer) {
        let too_large = answer.outcome() == RequestOutcome::TooLarge;
        let reason = if too_large { reason::TOO_LARGE } else { reason::REFUSED };
        let words = format!("{} (the server accepts other data)", answer.words());
        plan.confirmed(batch, reason, &words);
        self.stall.request_is_at_fault();
    }

    /// Ends a search after which everything is settled.
    fn end_search(&mut self, plan: &mut DeliveryPlan) {
        if !plan.is_searching() {
            return;
        }
        let before = self.size.bytes_max();
        if let Some(bytes) = plan.end_search() {
            self.warn_of_size(before, bytes);
        }
        self.size = plan.size();
    }

    fn warn_of_size(&self, refused: usize, bytes: usize) {
        warn!(
            forwarder = self.client.name(),
            refused,
            bytes,
            "the server accepts no requests of this size; from now on they have at most `bytes` \
             bytes before compression (see max_bytes)"
        );
    }
}

impl SentRequest {
    /// Applies the answer to the payloads.
    fn settle(&self, plan: &mut DeliveryPlan, batch: &mut Batch) -> NextStep {
        let answer = &self.answer;
        let (outcome, words) = (answer.outcome(), answer.words());
        let (ids, bytes, is_busy) = (&self.ids, self.bytes, answer.is_busy());
        plan.settle(batch, AnsweredRequest { ids, bytes, outcome, words: &words, is_busy })
    }
}
