//! Chooses the payloads of the next request and applies the reply. Uses no clock and no socket:
//! [`HttpSender`](super::HttpSender) sends the requests.
//!
//! - Each request carries the next group of pending payloads.
//! - Delivered, or refused by name: these payloads are settled, and the next group follows.
//! - Too large: later groups have at most half as many bytes.
//! - Refused without a name: a search begins. Each of its requests carries a part of the group. At
//!   the end of the search, the remaining suspects are refused.
//! - The server is unavailable, or an operator has to change something: the attempt ends, and pending
//!   payloads are kept. If that has happened too often with the same request, the sender begins the
//!   search that `culprit` describes.
//!
//! Each reply except the last one settles a payload, halves the size of requests, halves the
//! suspects or ends a trial, so every attempt ends.

use super::bisect::Bisect;
use super::culprit::CulpritSearch;
use super::group::{RequestLimits, next_group};
use super::outcome::RequestOutcome;
use super::request_size::{REQUEST_BYTES_MIN, RequestSize};
use super::status_class::StatusClass;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;

/// Maximum number of additional requests of one delivery for payloads that the server refuses. When
/// they are used up, all payloads of a refused request are dropped.
pub(super) const EXTRA_REQUESTS_MAX: usize = 64;

/// The state of one delivery.
#[derive(Debug)]
pub(super) struct DeliveryPlan {
    limits: RequestLimits,
    size: RequestSize,
    /// All payloads before this id are settled.
    first: usize,
    /// The additional requests that are left.
    extra: usize,
    /// The current search; `None` while groups are sent.
    search: Option<Search>,
    /// The search in a stalled request; `None` if no request has stalled.
    culprit: Option<CulpritSearch>,
}

/// A search for the payload that the server refuses.
#[derive(Debug)]
struct Search {
    bisect: Bisect,
    /// The server's text about the latest refusal.
    words: String,
}

/// A request that the server has answered.
#[derive(Debug)]
pub(super) struct AnsweredRequest<'a> {
    /// The payloads of the request.
    pub(super) ids: &'a [usize],
    /// The size of these payloads, before compression.
    pub(super) bytes: usize,
    pub(super) outcome: RequestOutcome,
    /// The server's text about the request; empty if it accepted everything.
    pub(super) words: &'a str,
    /// Whether the server asks for patience. Then the request is not at fault.
    pub(super) is_busy: bool,
}

/// The next step after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Send the next request.
    Continue,
    /// Send the next request. From now on, requests have at most this many bytes.
    Shrink(usize),
    /// Send data from elsewhere. If the server accepts it, call [`DeliveryPlan::proven`].
    Compare,
    /// Send data again that the server has accepted. If it accepts it, call
    /// [`DeliveryPlan::confirmed`].
    Confirm,
    /// End the attempt. Pending payloads are kept.
    Stop(StatusClass),
}

impl DeliveryPlan {
    pub(super) fn new(limits: RequestLimits, size: RequestSize) -> Self {
        Self { limits, size, first: 0, extra: EXTRA_REQUESTS_MAX, search: None, culprit: None }
    }

    /// The size of requests that the server accepts, as learned so far.
    pub(super) fn size(&self) -> RequestSize {
        // The sizes during a search for a culprit count only if the search ends without one.
        self.culprit.as_ref().map_or(self.size, |culprit| culprit.size_before)
    }

    /// Whether a stalled request is being searched.
    pub(super) fn is_searching(&self) -> bool {
        self.culprit.is_some()
    }

    /// Whether the next request is a trial: if the server accepts it, it accepts data.
    pub(super) fn is_trying(&self) -> bool {
        self.culprit.as_ref().is_some_and(|culprit| culprit.trial().is_some())
    }

    /// Begins the search for a culprit among the payloads `ids` of a stalled request.
    pub(super) fn begin_search(&mut self, ids: &[usize]) -> NextStep {
        let culprit = self.culprit.insert(CulpritSearch::new(ids, self.size));
        if culprit.trial().is_some() { NextStep::Continue } else { NextStep::Compare }
    }

    /// Records that the server accepts other data.
    pub(super) fn proven(&mut self) {
        if let Some(culprit) = &mut self.culprit {
            culprit.is_proven = true;
        }
    }

    /// Refuses the suspects of the latest request: the server has just accepted other data.
    pub(super) fn confirmed(&mut self, batch: &mut Batch, reason: &'static str, words: &str) {
        let Some(culprit) = &mut self.culprit else { return };
        refuse(batch, &std::mem::take(&mut culprit.suspects), reason, words);
        culprit.has_culprit = true;
        // The other payloads need no small requests.
        self.size = culprit.size_before;
    }

    /// Ends the search for a culprit. Returns the size of requests if these were too large.
    pub(super) fn end_search(&mut self) -> Option<usize> {
        let culprit = self.culprit.take()?;
        if culprit.has_culprit {
            self.size = culprit.size_before;
        }
        let bytes = self.size.bytes_max();
        (bytes < culprit.size_before.bytes_max()).then_some(bytes)
    }

    /// The ids of the payloads of the next request; empty when all payloads are settled.
    pub(super) fn next(&mut self, batch: &Batch, units_of: impl Fn(&[u8]) -> usize) -> Vec<usize> {
        if let Some(trial) = self.culprit.as_ref().and_then(CulpritSearch::trial) {
            return vec![trial];
        }
        if let Some(suspects) = self.search.as_mut().and_then(|search| search.bisect.next()) {
            return suspects.to_vec();
        }
        let limits = RequestLimits { bytes: self.size.bytes_max(), ..self.limits };
        let ids = next_group(batch, self.first, limits, units_of);
        // Groups are taken from the front, so payloads before the first pending one stay settled.
        // Without this, each group would pass over all earlier payloads.
        self.first = ids.first().copied().unwrap_or(self.first);
        ids
    }

    /// Applies the outcome of a request.
    pub(super) fn settle(&mut self, batch: &mut Batch, sent: AnsweredRequest<'_>) -> NextStep {
        let outcome = sent.outcome.within(sent.ids.len());
        let sent = AnsweredRequest { outcome, ..sent };
        match (&sent.outcome, self.search.take()) {
            // These end a search without a result. Its suspects stay pending, and nothing is
            // refused for an error that is not about the data.
            (RequestOutcome::Transient, _) => self.undecided(&sent, StatusClass::Transient),
            (RequestOutcome::Operator, _) => self.undecided(&sent, StatusClass::Operator),
            (RequestOutcome::TooLarge, _) if self.is_searching() => {
                self.undecided(&sent, StatusClass::Operator)
            }
            (RequestOutcome::Delivered, None) if self.is_trying() => {
                self.proven();
                sent.note(batch);
                NextStep::Continue
            }
            (_, Some(search)) => self.settle_part(search, batch, &sent),
            (RequestOutcome::TooLarge, None) => self.shrink(batch, &sent),
            (_, None) => self.settle_group(batch, &sent),
        }
    }

    /// Applies an answer that neither accepts nor refuses the request.
    fn undecided(&mut self, sent: &AnsweredRequest<'_>, class: StatusClass) -> NextStep {
        let Some(culprit) = self.culprit.as_mut().filter(|_| !sent.is_busy) else {
            return NextStep::Stop(class);
        };
        if !culprit.is_proven {
            culprit.trial_failed();
            let has_more = culprit.trial().is_some();
            return if has_more { NextStep::Continue } else { NextStep::Compare };
        }
        if sent.ids.len() == 1 || self.extra == 0 {
            culprit.suspects = sent.ids.to_vec();
            return NextStep::Confirm;
        }
        self.extra -= 1;
        self.size.shrink(sent.bytes);
        NextStep::Continue
    }

    fn settle_group(&mut self, batch: &mut Batch, sent: &AnsweredRequest<'_>) -> NextStep {
        match sent.outcome {
            // Too many requests were refused. The others of this group are dropped too, so that a
            // server that refuses everything does not hold up the windows after this one.
            RequestOutcome::Named(_) | RequestOutcome::Unnamed if self.extra == 0 => {
                refuse(batch, sent.ids, reason::REFUSED, sent.words);
            }
            RequestOutcome::Unnamed => {
                let bisect = Bisect::new(sent.ids.to_vec(), self.limits.bisections);
                self.continue_search(batch, Search { bisect, words: sent.words.to_owned() });
            }
            RequestOutcome::Named(_) => {
                // The payloads that are not named stay pending and cost another request.
                self.extra -= 1;
                sent.note(batch);
            }
            _ => sent.note(batch),
        }
        NextStep::Continue
    }

    /// Applies the outcome of a request that is part of a search.
    fn settle_part(
        &mut self,
        mut search: Search,
        batch: &mut Batch,
        sent: &AnsweredRequest<'_>,
    ) -> NextStep {
        // A part that is too large although the whole group was not: the server is not consistent,
        // and a refusal of any kind makes the part suspect.
        if matches!(sent.outcome, RequestOutcome::Unnamed | RequestOutcome::TooLarge) {
            search.words = sent.words.to_owned();
            search.bisect.refused();
        } else {
            // If the part was refused by name, its other payloads stay pending and are sent with
            // the next group.
            sent.note(batch);
            search.bisect.passed();
        }
        self.continue_search(batch, search);
        NextStep::Continue
    }

    /// Continues a search, or ends it and refuses the remaining suspects.
    fn continue_search(&mut self, batch: &mut Batch, search: Search) {
        if search.bisect.is_over() {
            refuse(batch, search.bisect.suspects(), reason::REFUSED, &search.words);
            self.extra = self.extra.saturating_sub(search.bisect.requests());
        } else {
            self.search = Some(search);
        }
    }

    /// Makes requests smaller, or refuses a payload that is too large by itself.
    fn shrink(&mut self, batch: &mut Batch, sent: &AnsweredRequest<'_>) -> NextStep {
        // Only above the minimum: a server that calls a tiny request too large has a wrong setting,
        // which must not cost data.
        if sent.ids.len() == 1 && sent.bytes > REQUEST_BYTES_MIN {
            refuse(batch, sent.ids, reason::TOO_LARGE, sent.words);
            return NextStep::Continue;
        }
        match self.size.halve(sent.bytes) {
            Some(bytes) => NextStep::Shrink(bytes),
            None => NextStep::Stop(StatusClass::Operator),
        }
    }
}

impl AnsweredRequest<'_> {
    /// Records the outcome of each payload in the batch.
    fn note(&self, batch: &mut Batch) {
        match &self.outcome {
            RequestOutcome::Named(places) => {
                refuse(batch, &self.at(places), reason::REFUSED, self.words);
            }
            RequestOutcome::Partial { refused, named } => {
                let named = self.at(named);
                refuse(batch, &named, reason::REFUSED, self.words);
                self.refuse_unnamed(batch, &named, refused.saturating_sub(named.len()));
                // Last, because a payload that is settled keeps its first outcome.
                self.ids.iter().for_each(|id| batch.delivered(*id));
            }
            RequestOutcome::Delivered => self.ids.iter().for_each(|id| batch.delivered(*id)),
            RequestOutcome::Unnamed
            | RequestOutcome::TooLarge
            | RequestOutcome::Transient
            | RequestOutcome::Operator => {}
        }
    }

    /// The ids of the payloads at these places.
    fn at(&self, places: &[usize]) -> Vec<usize> {
        places.iter().filter_map(|place| self.ids.get(*place).copied()).collect()
    }

    /// Counts `count` refused payloads that the server does not name. The ledger needs only their
    /// number, so any payloads that are not named can stand for them: first those without points, so
    /// that never more points count as refused than the server has refused.
    fn refuse_unnamed(&self, batch: &mut Batch, named: &[usize], count: usize) {
        let others = self.ids.iter().copied().filter(|id| !named.contains(id));
        let (empty, full): (Vec<usize>, Vec<usize>) =
            others.partition(|id| batch.points_of(*id) == 0);
        for id in empty.into_iter().chain(full).take(count) {
            batch.one_refused(id, reason::REFUSED, self.words);
        }
    }
}

fn refuse(batch: &mut Batch, ids: &[usize], reason: &'static str, words: &str) {
    ids.iter().for_each(|id| batch.refused(*id, reason, words));
}

#[cfg(test)]
mod tests;
