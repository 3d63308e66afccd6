//! One attempt: groups lines into requests and settles them by the replies.

use tracing::warn;

use super::InfluxDb;
use super::api::{self, Precision};
use super::outcome::Outcome;
use super::search::Search;
use crate::forwarder::SendError;
use crate::http::{Reply, Verdict};
use crate::payload::Batch;
use crate::stats::reason;

/// Requests that one window may cost on top because of lines that the server refuses; then those
/// that cannot be told apart are dropped together.
const EXTRA_REQUESTS_MAX: usize = 64;

/// A server that does not even take so few bytes takes nothing: there is no use in smaller requests.
const REQUEST_BYTES_MIN: usize = 4 << 10;

/// Lines for one request: the ids of consecutive pending payloads.
pub(super) struct Group {
    pub(super) ids: Vec<usize>,
    pub(super) bytes: usize,
}

impl InfluxDb {
    /// Goes on until every payload is settled or the server is to be left alone.
    ///
    /// What is settled is noted at once, so it may be dropped at each await.
    pub(super) async fn deliver(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let (mut from, mut extra) = (0, EXTRA_REQUESTS_MAX);
        while let Some(group) = self.next_group(batch, from) {
            from = group.ids[0];
            let (outcome, reply) = self.write(batch, &group).await?;
            match outcome {
                Outcome::Kept(verdict) => return Err(kept(reply, verdict)),
                Outcome::TooLarge => self.halve(batch, &group, reply)?,
                Outcome::Named(_) | Outcome::Suspect if extra == 0 => {
                    refuse(batch, &group.ids, &reply);
                }
                Outcome::Suspect => {
                    extra = extra.saturating_sub(self.search(batch, group, reply).await?);
                }
                Outcome::Named(_) => {
                    extra -= 1;
                    settle(batch, &group, &outcome, &reply);
                }
                Outcome::Stored | Outcome::Partial { .. } => {
                    settle(batch, &group, &outcome, &reply);
                }
            }
        }
        Ok(())
    }

    /// The next lines that fit into one request; always at least one.
    fn next_group(&self, batch: &Batch, from: usize) -> Option<Group> {
        let mut group = Group { ids: Vec::new(), bytes: 0 };
        for payload in batch.pending_from(from).take(self.max_lines) {
            let bytes = group.bytes + payload.bytes.len();
            if bytes > self.request_bytes && !group.ids.is_empty() {
                break;
            }
            group.ids.push(payload.id);
            group.bytes = bytes;
        }
        (!group.ids.is_empty()).then_some(group)
    }

    /// Sends the lines of a group and judges the reply.
    pub(super) async fn write(
        &self,
        batch: &Batch,
        group: &Group,
    ) -> Result<(Outcome, Reply), SendError> {
        let body =
            api::body(lines(batch, group), group.bytes, self.gzip).map_err(SendError::transient)?;
        let uri = match self.precision {
            Precision::Seconds => &self.in_seconds,
            Precision::Milliseconds => &self.in_millis,
        };
        let reply = self.client.post(uri, &api::headers(self.gzip), body).await?;
        let lines: Vec<&[u8]> = lines(batch, group).collect();
        let outcome = Outcome::of(&reply, &lines);
        Ok((outcome, reply))
    }

    /// Keeps to smaller requests; a line that is too large alone will never pass.
    fn halve(&mut self, batch: &mut Batch, group: &Group, reply: Reply) -> Result<(), SendError> {
        if let [id] = group.ids[..] {
            batch.refused(id, reason::TOO_LARGE, reply.words());
            return Ok(());
        }
        if group.bytes <= REQUEST_BYTES_MIN {
            self.request_bytes = self.max_bytes;
            return Err(kept(reply, Verdict::Operator));
        }
        self.request_bytes = group.bytes / 2;
        warn!(
            forwarder = self.name,
            refused = group.bytes,
            bytes = self.request_bytes,
            "the server takes no requests this large; from now on they have at most half as many \
             bytes before compression (see max_bytes)"
        );
        Ok(())
    }

    /// Finds the part of a group that the server refuses, drops it and returns how many requests
    /// that took. Lines that are not to blame are delivered, or pending still.
    async fn search(
        &self,
        batch: &mut Batch,
        group: Group,
        mut refusal: Reply,
    ) -> Result<usize, SendError> {
        let mut search = Search::new(group.ids);
        while let Some(ids) = search.next() {
            let bytes = size(batch, &ids);
            let part = Group { ids, bytes };
            let (outcome, reply) = self.write(batch, &part).await?;
            match outcome {
                Outcome::Kept(verdict) => return Err(kept(reply, verdict)),
                Outcome::Suspect | Outcome::TooLarge => {
                    refusal = reply;
                    search.refused();
                }
                Outcome::Stored | Outcome::Partial { .. } | Outcome::Named(_) => {
                    settle(batch, &part, &outcome, &reply);
                    search.passed();
                }
            }
        }
        refuse(batch, search.suspects(), &refusal);
        Ok(search.requests())
    }
}

/// Notes what became of the lines of a group.
fn settle(batch: &mut Batch, group: &Group, outcome: &Outcome, reply: &Reply) {
    let place = |place: &usize| group.ids.get(*place).copied();
    match outcome {
        Outcome::Named(places) => {
            let ids: Vec<usize> = places.iter().filter_map(place).collect();
            refuse(batch, &ids, reply);
        }
        Outcome::Partial { refused, named } => {
            let ids: Vec<usize> = named.iter().filter_map(place).collect();
            refuse(batch, &ids, reply);
            // Which others they are the server does not say; how many is what the ledger counts.
            let others = group.ids.iter().filter(|id| !ids.contains(id));
            for id in others.take(refused.saturating_sub(ids.len())) {
                batch.one_refused(*id, reason::REFUSED, reply.words());
            }
            group.ids.iter().for_each(|id| batch.delivered(*id));
        }
        Outcome::Stored => group.ids.iter().for_each(|id| batch.delivered(*id)),
        Outcome::Suspect | Outcome::TooLarge | Outcome::Kept(_) => {}
    }
}

fn refuse(batch: &mut Batch, ids: &[usize], reply: &Reply) {
    let words = reply.words();
    ids.iter().for_each(|id| batch.refused(*id, reason::REFUSED, words.as_str()));
}

fn kept(reply: Reply, verdict: Verdict) -> SendError {
    reply.into_error(verdict, rand::random())
}

/// The lines of a group, which are all pending.
fn lines<'a>(batch: &'a Batch, group: &'a Group) -> impl Iterator<Item = &'a [u8]> {
    let first = group.ids.first().copied().unwrap_or(0);
    let mut ids = group.ids.iter().peekable();
    batch
        .pending_from(first)
        .filter_map(move |payload| ids.next_if(|id| **id == payload.id).map(|_| payload.bytes))
}

fn size(batch: &Batch, ids: &[usize]) -> usize {
    let first = ids.first().copied().unwrap_or(0);
    let mut ids = ids.iter().peekable();
    let sizes = batch.pending_from(first).map_while(|payload| {
        ids.peek()?;
        Some(if ids.next_if(|id| **id == payload.id).is_some() { payload.bytes.len() } else { 0 })
    });
    sizes.sum()
}
