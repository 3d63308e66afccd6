//! The forwarder of a simulated destination.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forwarders::payload::Batch;
use forwarders::stats::reason;
use forwarders::{Forwarder, SendError};
use model::Snapshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::destination::Traits;
use crate::point::{ReceivedPoint, points_of};
use crate::server::{Answer, PayloadOutcome, request};
use crate::world::World;

/// The client's own time limit, for destinations whose attempts have none.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// The forwarder of a simulated destination.
pub(crate) struct Client {
    world: Arc<World>,
    destination: usize,
    traits: Traits,
    /// Counts the batches.
    batch: u64,
    late: Vec<LateAnswer>,
}

/// A payload that is stored, although the answer has not arrived.
struct LateAnswer {
    at: Instant,
    batch: u64,
    id: usize,
    points: Vec<ReceivedPoint>,
}

/// A payload to send.
#[derive(Clone)]
struct Sent {
    id: usize,
    points: Vec<ReceivedPoint>,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, destination: usize, traits: Traits) -> Self {
        Self { world: Arc::clone(world), destination, traits, batch: 0, late: Vec::new() }
    }

    /// Records answers that have arrived since.
    fn record_late(&mut self, batch: &mut Batch) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|answer| answer.at <= now);
        self.late = later;
        for answer in due {
            if answer.batch == self.batch {
                self.delivered(batch, answer.id, &answer.points);
            }
        }
    }

    fn delivered(&self, batch: &mut Batch, id: usize, points: &[ReceivedPoint]) {
        if is_pending(batch, id) {
            batch.delivered(id);
            self.world.with(|state| state.acknowledged(self.destination, points));
        }
    }

    fn refused(&self, batch: &mut Batch, sent: &Sent, reason: &'static str) {
        batch.refused(sent.id, reason, "no");
        self.world.with(|state| state.refused(self.destination, &sent.points));
    }

    async fn send_group(&mut self, group: Vec<Sent>, batch: &mut Batch) -> Result<(), SendError> {
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop() {
            // A late answer may have settled some of them.
            group.retain(|sent| is_pending(batch, sent.id));
            if group.is_empty() {
                continue;
            }
            let payloads: Vec<_> = group.iter().map(|sent| sent.points.clone()).collect();
            match request(&self.world, self.destination, &payloads).await {
                Answer::Done(outcomes, error) => {
                    self.record(&group, &outcomes, batch);
                    error.map_or(Ok(()), Err)?;
                }
                Answer::TooLarge => {
                    let (first, rest) = group.split_at(group.len() / 2);
                    groups.extend([rest.to_vec(), first.to_vec()]);
                }
                Answer::At(at) => self.wait(at, group, batch).await?,
                Answer::Never => std::future::pending().await,
            }
        }
        Ok(())
    }

    /// Waits for an answer. If this is interrupted, the answer still arrives.
    async fn wait(
        &mut self,
        at: Instant,
        group: Vec<Sent>,
        batch: &mut Batch,
    ) -> Result<(), SendError> {
        let number = self.batch;
        let answers = group.into_iter();
        let answers =
            answers.map(|Sent { id, points }| LateAnswer { at, batch: number, id, points });
        self.late.extend(answers);
        sleep_until(at).await;
        self.world.live().await;
        self.record_late(batch);
        Ok(())
    }

    fn record(&self, group: &[Sent], outcomes: &[PayloadOutcome], batch: &mut Batch) {
        for (sent, outcome) in group.iter().zip(outcomes) {
            match outcome {
                PayloadOutcome::Stored => self.delivered(batch, sent.id, &sent.points),
                PayloadOutcome::Refused => self.refused(batch, sent, reason::REFUSED),
                PayloadOutcome::TooLarge => self.refused(batch, sent, reason::TOO_LARGE),
            }
        }
    }

    async fn send_all(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        loop {
            self.record_late(batch);
            let payloads = batch.pending().take(self.traits.payloads_a_request);
            let group: Vec<Sent> = payloads
                .map(|payload| Sent { id: payload.id, points: ReceivedPoint::decode(&payload) })
                .collect();
            if group.is_empty() {
                return Ok(());
            }
            self.send_group(group, batch).await?;
        }
    }

    async fn send_limited(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        if self.traits.has_attempt_limit {
            return self.send_all(batch).await;
        }
        let sent = timeout(ANSWER_TIME, self.send_all(batch)).await;
        sent.unwrap_or_else(|_| Err(SendError::transient("no answer")))
    }
}

fn is_pending(batch: &Batch, id: usize) -> bool {
    batch.pending_from(id).next().is_some_and(|payload| payload.id == id)
}

#[async_trait]
impl Forwarder for Client {
    fn wants_old_data(&self) -> bool {
        true
    }

    fn wants_idle_windows(&self) -> bool {
        self.traits.wants_idle
    }

    fn wants_whole_window(&self, _window: &Snapshot) -> bool {
        self.traits.is_reversed
    }

    fn keeps_last_write(&self) -> bool {
        self.traits.keeps_last_write
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.batch += 1;
        self.world.with(|state| state.encoded(self.destination, snapshot));
        self.world.check_written_ahead(self.destination, snapshot);
        let mut points: Vec<ReceivedPoint> = points_of(snapshot).collect();
        if self.traits.is_reversed {
            points.reverse();
        }
        for group in points.chunks(self.traits.points_a_payload) {
            let body = |out: &mut Vec<u8>| group.iter().for_each(|point| point.encode(out));
            batch.push(group.len() as u64, |_| (), body);
        }
        if self.traits.is_reversed {
            batch.set_places((0..points.len()).rev());
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let outcome = self.send_limited(batch).await;
        self.world.with(|state| {
            if outcome.is_err() {
                state.attempt_failed(self.destination);
            }
            state.check_ledger(self.destination);
        });
        outcome
    }

    async fn stop(&mut self, batch: &mut Batch) {
        while let Some(at) = self.late.iter().map(|answer| answer.at).min() {
            sleep_until(at).await;
            self.world.live().await;
            self.record_late(batch);
        }
    }
}
