//! One attempt to deliver a batch: hands records over, waits for reports and notes them.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::diagnosis;
use super::error::{self, KafkaProblem};
use super::error_class::DeliveryErrorClass;
use super::native::{DeliveryReport, Record, RecordTopic};
use super::producer::Producer;
use super::question::TopicAnswer;
use super::topics::FIRST;
use super::{Kafka, RecordKey};
use crate::delivery::forwarder::{ErrorClass, SendError};
use crate::delivery::payload::{Batch, Payload};
use crate::delivery::stats::reason;

/// Number of records that are handed over before other tasks get a turn.
const SLICE: usize = 1_000;
/// How long a failed producer may take to report its last deliveries.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Pause if the library's queue is full although all records are reported: it will be emptied soon.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// Lower limit of the batch size after a refused batch, in bytes.
const BATCH_BYTES_MIN: usize = 16 << 10;
/// librdkafka's default for `batch.size`, in bytes.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;

/// The state after handing records over.
enum Progress {
    /// More records are left to hand over.
    More,
    /// No record is left, or the library's queue is full: wait for reports.
    Enough,
}

/// The event that ends a wait.
enum WaitEvent {
    Report,
    /// `None` at the end of the question.
    Answer(Option<TopicAnswer>),
}

/// The time limits of an attempt.
struct AttemptLimits {
    /// When to ask about the topic; `None` after the first report, or after the question.
    ask_at: Option<Instant>,
    deadline: Instant,
}

impl AttemptLimits {
    fn new(patience: Duration) -> Self {
        let now = Instant::now();
        Self { ask_at: Some(now + diagnosis::ask_after(patience)), deadline: now + patience }
    }

    fn next(&self) -> Instant {
        self.ask_at.unwrap_or(self.deadline)
    }
}

impl Kafka {
    /// Continues until every payload is settled, an error ends the attempt or the time is up.
    ///
    /// May be dropped at each await: all state that must survive is in `self`.
    pub(super) async fn deliver(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let mut limits = AttemptLimits::new(self.patience);
        self.question.start_attempt(self.patience);
        let mut problem = None;
        while !self.in_flight.is_settled() {
            self.ask_about_topics()?;
            let producer = self.producer()?;
            // Before any new record: reports since a dropped call may settle payloads.
            self.note_reports(&producer, batch, &mut problem);
            if let Some((code, words)) = failed(&producer, problem) {
                return Err(self.rebuild(&producer, batch, code, &words).await);
            }
            match problem {
                // Only after the other reports, so that the error counts all records that failed.
                Some(problem) if self.in_flight.in_library() == 0 => return Err(self.gone(problem)),
                // After an error, hands over nothing new; the records in flight may still be
                // delivered.
                Some(_) => self.wait(&producer, &mut limits).await?,
                None => match self.hand_over(&producer, batch) {
                    Ok(Progress::More) => tokio::task::yield_now().await,
                    Ok(Progress::Enough) => self.wait(&producer, &mut limits).await?,
                    Err(code) => {
                        KafkaProblem::add(&mut problem, DeliveryErrorClass::of(code), code, FIRST);
                    }
                },
            }
        }
        self.learn_batch_size();
        Ok(())
    }

    /// Notes the remaining reports before the end. Records that have not left the library are
    /// returned at once; those in flight to the brokers are awaited.
    pub(super) async fn collect(&mut self, batch: &mut Batch) {
        let Some(producer) = self.producer.clone() else { return };
        producer.call_back();
        self.note_reports(&producer, batch, &mut None);
        // A record in flight that was given up could arrive all the same, and would be delivered
        // twice.
        while self.in_flight.in_library() > 0 {
            producer.arrival().await;
            self.note_reports(&producer, batch, &mut None);
        }
    }

    /// Returns the producer; starts one if necessary.
    pub(super) fn producer(&mut self) -> Result<Arc<Producer>, SendError> {
        if let Some(producer) = &self.producer {
            return Ok(Arc::clone(producer));
        }
        let started = Producer::start(&self.client, &self.broker_log);
        let producer = Arc::new(started.map_err(SendError::transient)?);
        self.producer = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Moves each reported payload to its new state.
    fn note_reports(
        &mut self,
        producer: &Producer,
        batch: &mut Batch,
        problem: &mut Option<KafkaProblem>,
    ) {
        let mut delivered = false;
        for DeliveryReport { id, outcome, headers } in producer.reports() {
            if !self.in_flight.is_in_library(id) {
                // Settling a payload twice would count its point twice.
                debug_assert!(false, "a report for a record that was not handed over");
                continue;
            }
            if let Some(headers) = headers {
                self.window.take_back(id, headers);
            }
            match outcome.map_err(|code| (DeliveryErrorClass::of(code), code)) {
                Ok(()) => {
                    self.in_flight.settled(id);
                    batch.delivered(id);
                    self.topics.delivered(self.window.topic(id));
                    delivered = true;
                }
                Err((DeliveryErrorClass::Content(reason), code)) => {
                    self.doubt(id, reason, code, batch);
                }
                Err((class, code)) => {
                    self.in_flight.came_back(id);
                    let topic = self.window.topic(id).id;
                    // Another topic takes the record now; otherwise the attempt ends with the error.
                    if !self.topics.rejected(topic, code, Instant::now()) {
                        KafkaProblem::add(problem, class, code, topic);
                    }
                }
            }
        }
        // Once per call and not per record, because it takes a lock.
        if delivered {
            self.broker_log.recovered();
        }
        // A group has a result only after its last report.
        if self.in_flight.in_library() == 0 && self.in_flight.bisect().is_trying() {
            match problem {
                Some(_) => self.in_flight.bisect().call_off(),
                None => self.in_flight.bisect().close(),
            }
        }
    }

    /// Handles a record that the brokers refused: final if it was alone, otherwise it becomes a
    /// suspect.
    fn doubt(&mut self, id: usize, reason: &'static str, code: Code, batch: &mut Batch) {
        if self.in_flight.bisect().is_trying() && self.in_flight.bisect().refused() {
            self.in_flight.settled(id);
            let topic = self.topics.name(self.window.topic(id).id);
            batch.refused(id, reason, format!("topic `{topic}`: {code}"));
        } else {
            self.in_flight.suspected(id);
        }
    }

    /// Hands over the next records. Suspects follow last and in groups, so that a batch with a
    /// suspect contains only records of its group.
    fn hand_over(&mut self, producer: &Producer, batch: &mut Batch) -> Result<Progress, Code> {
        if self.in_flight.bisect().is_trying() {
            // The group must be alone with the brokers, so that its outcome depends on its records
            // only.
            return Ok(Progress::Enough);
        }
        let progress = self.hand_over_slice(producer, batch)?;
        if self.in_flight.only_suspects_left() {
            return self.hand_over_group(producer, batch);
        }
        Ok(progress)
    }

    /// Hands over the next records that are not suspects.
    fn hand_over_slice(
        &mut self,
        producer: &Producer,
        batch: &mut Batch,
    ) -> Result<Progress, Code> {
        let here = |payload: &Payload<'_>| self.in_flight.is_waiting(payload.id);
        let slice: Vec<Payload<'_>> =
            batch.pending_from(self.in_flight.next()).filter(here).take(SLICE).collect();
        // Refused after the loop, because `slice` borrows the batch.
        let mut too_large = Vec::new();
        let mut progress = Ok(if slice.len() == SLICE { Progress::More } else { Progress::Enough });
        for payload in slice {
            if self.question.holds() && self.topics.is_unknown(self.window.topic(payload.id)) {
                self.in_flight.looked_up_to(payload.id + 1);
                continue;
            }
            match self.hand_over_record(producer, &payload) {
                Ok(()) => self.in_flight.handed_over(payload.id),
                Err(Code::MessageSizeTooLarge) => too_large.push(payload.id),
                Err(code) => {
                    let full = code == Code::QueueFull;
                    // A full queue is no error: the library empties it, and the records stay here.
                    progress = if full { Ok(Progress::Enough) } else { Err(code) };
                    break;
                }
            }
            self.in_flight.looked_up_to(payload.id + 1);
        }
        for id in too_large {
            self.in_flight.settled(id);
            let words = "a record is larger than librdkafka's `message.max.bytes`";
            batch.refused(id, reason::TOO_LARGE, words);
        }
        progress
    }

    /// Hands over the next group of suspects.
    fn hand_over_group(&mut self, producer: &Producer, batch: &Batch) -> Result<Progress, Code> {
        let suspects = |payload: &Payload<'_>| self.in_flight.is_suspect(payload.id);
        let bytes = batch.pending().filter(suspects).map(|payload| size(&payload)).sum();
        self.in_flight.bisect().start(bytes);
        for payload in batch.pending() {
            if !self.in_flight.is_suspect(payload.id) {
                continue;
            }
            if !self.in_flight.bisect().has_room(size(&payload)) {
                break;
            }
            match self.hand_over_record(producer, &payload) {
                Ok(()) => {
                    self.in_flight.handed_over(payload.id);
                    self.in_flight.bisect().add(size(&payload));
                }
                // The group is then smaller than its budget, which only costs another group.
                Err(Code::QueueFull) => break,
                Err(code) => return Err(code),
            }
        }
        Ok(Progress::Enough)
    }

    /// Hands a record over; to the fallback topic if the library knows that its topic is rejected.
    fn hand_over_record(&mut self, producer: &Producer, payload: &Payload<'_>) -> Result<(), Code> {
        let code = match producer.hand_over(self.record(payload)) {
            Err(code) => code,
            taken => return taken,
        };
        let topic = self.window.topic(payload.id).id;
        if self.topics.rejected(topic, code, Instant::now()) {
            return producer.hand_over(self.record(payload));
        }
        Err(code)
    }

    fn record<'a>(&'a mut self, payload: &Payload<'a>) -> Record<'a> {
        let topic = self.topics.usable_for(self.window.topic(payload.id));
        self.window.set_topic(payload.id, topic);
        Record {
            id: payload.id,
            topic: RecordTopic { id: topic.id, name: self.topics.name(topic.id) },
            key: (self.encoding.key != RecordKey::None).then_some(payload.key),
            body: payload.bytes,
            // The end of the window, which is the same in a duplicate.
            timestamp: i64::try_from(self.window.end_ms()).unwrap_or(i64::MAX),
            headers: self.window.headers(payload.id),
        }
    }

    /// Waits for the next report, or the next answer about a topic. Asks about the topic if there was
    /// no report for some time.
    async fn wait(
        &mut self,
        producer: &Arc<Producer>,
        limits: &mut AttemptLimits,
    ) -> Result<(), SendError> {
        let (in_library, holds) = (self.in_flight.in_library(), self.question.holds());
        let report = async {
            if in_library > 0 {
                producer.arrival().await;
            } else if holds {
                pending::<()>().await;
            } else {
                tokio::time::sleep(QUEUE_PAUSE).await;
            }
        };
        let event = async {
            tokio::select! {
                () = report => WaitEvent::Report,
                answer = self.question.answer() => WaitEvent::Answer(answer),
            }
        };
        match timeout_at(limits.next(), event).await {
            Ok(WaitEvent::Answer(answer)) => answer.into_iter().for_each(|it| self.note_answer(it)),
            Ok(WaitEvent::Report) => limits.ask_at = None,
            Err(_) if limits.ask_at.take().is_some() => self.ask_about_topic(producer),
            Err(_) => {
                let open = self.in_flight.open();
                return Err(error::late(open, self.patience, self.broker_log.cause()));
            }
        }
        Ok(())
    }

    /// Returns the error after all records came back, some of them with an error.
    fn gone(&mut self, problem: KafkaProblem) -> SendError {
        let cause = self.broker_log.cause();
        let error = match problem.code {
            // The cause says more than the timeout, which is only its consequence.
            Code::MessageTimedOut if cause.is_some() => {
                error::late(problem.records, self.message_timeout(), cause)
            }
            _ => problem.into_error(self.topics.name(problem.topic), cause),
        };
        if error.class() == ErrorClass::Operator {
            // The library caches a topic's error for minutes; a new producer asks the brokers
            // again.
            self.producer = None;
        }
        error
    }

    /// The time after which the library gives a record up.
    fn message_timeout(&self) -> Duration {
        let millis = self.client.get("message.timeout.ms").and_then(|millis| millis.parse().ok());
        Duration::from_millis(millis.unwrap_or_default())
    }

    /// Drops a failed producer after it has reported its deliveries.
    async fn rebuild(
        &mut self,
        producer: &Producer,
        batch: &mut Batch,
        code: Code,
        words: &str,
    ) -> SendError {
        // Makes the library report every record now, so that those delivered are not sent again.
        producer.purge();
        let deadline = Instant::now() + LAST_WORDS;
        while self.in_flight.in_library() > 0
            && timeout_at(deadline, producer.arrival()).await.is_ok()
        {
            self.note_reports(producer, batch, &mut None);
        }
        // Reports that are still missing will never be noted, because their producer is dropped.
        self.in_flight.all_come_back();
        self.producer = None;
        self.rebuilds += 1;
        let (forwarder, rebuilds) = (self.broker_log.forwarder(), self.rebuilds);
        warn!(forwarder, rebuilds, "the producer failed and is replaced: {words}");
        error::fatal(code, words)
    }

    /// Reduces the batch size after the topic has refused larger batches.
    fn learn_batch_size(&mut self) {
        let Some(passed) = self.in_flight.bisect().finish() else { return };
        let given = self.client.get("batch.size").and_then(|bytes| bytes.parse().ok());
        let Some(bytes) = smaller_batch(given.unwrap_or(BATCH_BYTES_DEFAULT), passed) else {
            return;
        };
        let (forwarder, topic) = (self.broker_log.forwarder(), self.topics.configured());
        warn!(
            forwarder,
            topic,
            bytes,
            "the topic refuses larger batches (see its max.message.bytes); batch.size is this from \
             now on"
        );
        self.client.set("batch.size", bytes.to_string());
        // `batch.size` applies only to a new producer.
        self.producer = None;
    }
}

/// Returns the batch size after a refusal, if it can be reduced. The largest group that passed was
/// spread over several partitions and may still be too large for one, so that halving may take a
/// few windows.
fn smaller_batch(given: usize, passed: usize) -> Option<usize> {
    let bytes = passed.min(given / 2).max(BATCH_BYTES_MIN);
    (bytes < given).then_some(bytes)
}

/// Returns the reason if the producer can no longer be used.
fn failed(producer: &Producer, problem: Option<KafkaProblem>) -> Option<(Code, String)> {
    // The code of a record is enough: not every code of this class sets librdkafka's fatal error.
    let reported = || problem.filter(|problem| problem.class == DeliveryErrorClass::Fatal);
    producer.fatal().or_else(|| reported().map(|problem| (problem.code, problem.code.to_string())))
}

fn size(payload: &Payload<'_>) -> usize {
    payload.key.len() + payload.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_get_smaller_until_they_are_small() {
        assert_eq!(smaller_batch(1_000_000, 45_000), Some(45_000));
        assert_eq!(smaller_batch(45_000, 45_000), Some(22_500));
        assert_eq!(smaller_batch(22_500, 100), Some(BATCH_BYTES_MIN));
        assert_eq!(smaller_batch(BATCH_BYTES_MIN, 100), None);
    }
}
