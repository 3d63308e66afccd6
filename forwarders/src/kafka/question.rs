//! Asks the brokers about the topics of a template that are new, or that they rejected a while ago.
//!
//! A thread asks, while an attempt delivers. The answers arrive one by one and outlive the attempt, so
//! that each attempt knows more topics than its predecessor. Records of topics without
//! an answer are held back for a part of an attempt, because the library would keep a record of a
//! topic that does not exist for half a minute. All other records are handed over at once.

use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::Kafka;
use super::diagnosis::{TOPIC_PAUSE, may_be_created};
use super::producer::Producer;
use super::topic::TopicId;
use super::topics::AskedTopic;
use crate::delivery::forwarder::SendError;

/// A topic, and its error if it has one.
pub(super) type TopicAnswer = (TopicId, Option<Code>);

/// The question to the brokers. At most one is running.
pub(super) struct TopicQuestion {
    /// `None` while no question is running. Bounded by the number of topics in the question.
    answers: Option<UnboundedReceiver<TopicAnswer>>,
    /// Whether this attempt may still start a question.
    may_start: bool,
    /// Until when this attempt holds records back.
    hold_until: Instant,
    /// Whether records of topics without an answer are held back.
    holds: bool,
}

impl Default for TopicQuestion {
    fn default() -> Self {
        Self { answers: None, may_start: true, hold_until: Instant::now(), holds: false }
    }
}

impl TopicQuestion {
    /// Starts an attempt.
    pub(super) fn start_attempt(&mut self, patience: Duration) {
        self.may_start = true;
        self.hold_until = Instant::now() + patience / 2;
        // An earlier attempt may have been dropped while it held records back.
        self.holds = true;
    }

    /// Whether records of topics without an answer are held back.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// Waits for the next answer; returns `None` at the end of the question, and when records are no
    /// longer held back. Never returns while none are held back.
    pub(super) async fn answer(&mut self) -> Option<TopicAnswer> {
        match &mut self.answers {
            Some(answers) if self.holds => {
                timeout_at(self.hold_until, answers.recv()).await.ok().flatten()
            }
            _ => pending().await,
        }
    }
}

impl Kafka {
    /// Notes the answers that have arrived, starts a question if one is due, and decides whether
    /// records are held back.
    pub(super) fn ask_about_topics(&mut self) -> Result<(), SendError> {
        self.note_answers();
        if self.question.answers.is_none() && self.question.may_start {
            // Once in an attempt: brokers that cannot be reached do not answer at once.
            self.question.may_start = false;
            let topics = self.topics.to_ask(Instant::now());
            if !topics.is_empty() {
                self.question.answers = Some(ask(&self.producer()?, topics, self.patience / 4));
            }
        }
        let question = &mut self.question;
        let holds = question.answers.is_some() && Instant::now() < question.hold_until;
        if question.holds && !holds {
            // The records that were held back.
            self.in_flight.looked_up_to(0);
        }
        question.holds = holds;
        Ok(())
    }

    pub(super) fn note_answer(&mut self, (id, error): TopicAnswer) {
        match error {
            None => self.topics.usable(id),
            Some(code) => {
                self.topics.rejected(id, code, Instant::now());
            }
        }
    }

    fn note_answers(&mut self) {
        while let Some(answers) = &mut self.question.answers {
            match answers.try_recv() {
                Ok(answer) => self.note_answer(answer),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.question.answers = None,
            }
        }
    }
}

/// Asks about topics on a thread of its own. The channel ends with the last answer.
fn ask(
    producer: &Arc<Producer>,
    topics: Vec<AskedTopic>,
    timeout: Duration,
) -> UnboundedReceiver<TopicAnswer> {
    let (answers, receiver) = unbounded_channel();
    let asked = AskedTopics { producer: Arc::clone(producer), timeout, answers };
    let work = move || asked.ask_all(&topics);
    if thread::Builder::new().name("kafka-ask".into()).spawn(work).is_err() {
        debug!("no thread to ask about topics");
    }
    receiver
}

/// A running question.
struct AskedTopics {
    producer: Arc<Producer>,
    /// Of a request.
    timeout: Duration,
    answers: UnboundedSender<TopicAnswer>,
}

impl AskedTopics {
    /// Asks about one topic after the other until one is not answered. The others are asked about again
    /// with a later attempt. Never about two at a time: brokers that get both may create two topics
    /// whose names differ only in `.` and `_`, and records wait in the connection until the brokers
    /// have answered.
    fn ask_all(&self, topics: &[AskedTopic]) {
        let mut in_doubt = Vec::new();
        for topic in topics {
            let Some(answer) = self.ask(topic) else { break };
            // A topic that was rejected before exists or is not created.
            if may_be_created(answer) && !topic.was_rejected {
                in_doubt.push((topic, answer));
            } else {
                self.pass_on((topic.id, answer));
            }
        }
        // One pause for all topics that the first requests may have created.
        if !in_doubt.is_empty() {
            thread::sleep(TOPIC_PAUSE);
        }
        for (topic, first) in in_doubt {
            self.pass_on((topic.id, self.ask(topic).unwrap_or(first)));
        }
    }

    /// The error of a topic; `None` without an answer.
    fn ask(&self, topic: &AskedTopic) -> Option<Option<Code>> {
        let is_awaited = !self.answers.is_closed();
        is_awaited.then(|| self.producer.topic_error(&topic.name, self.timeout).ok())?
    }

    fn pass_on(&self, answer: TopicAnswer) {
        // The destination may be gone.
        let _is_closed = self.answers.send(answer);
    }
}
