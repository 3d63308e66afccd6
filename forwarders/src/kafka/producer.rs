//! The client library's producer: records go in, delivery reports come out.
//!
//! Uses rdkafka's threaded producer. Its one thread calls back for each report, and a report is a
//! payload id and an error code in a vector that the sending task drains. The future producer would
//! allocate a channel and an owned copy of the record for each of the 100,000 records of a window.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::Notify;
use tracing::debug;

use super::broker_log::BrokerLog;

/// A record to hand over; its opaque value is the id of the payload.
pub(super) type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// The outcome of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// The id of the record's payload.
    pub(super) id: usize,
    /// `Ok` if the brokers have the record, else the error.
    pub(super) outcome: Result<(), Code>,
}

/// A running producer, which connects when it has something to send.
pub(super) struct Producer {
    /// `None` after [`Producer::let_go`].
    inner: Option<ThreadedProducer<Context>>,
    inbox: Arc<Inbox>,
}

/// The queue of reports for the sending task.
#[derive(Default)]
struct Inbox {
    reports: Mutex<Vec<Report>>,
    arrived: Notify,
}

impl Producer {
    /// Starts a producer.
    ///
    /// # Errors
    /// If librdkafka rejects the settings as a whole.
    pub(super) fn start(config: &ClientConfig, broker_log: &Arc<BrokerLog>) -> KafkaResult<Self> {
        let inbox = Arc::<Inbox>::default();
        let context = Context { broker_log: Arc::clone(broker_log), inbox: Arc::clone(&inbox) };
        let inner = ThreadedProducer::from_config_and_context(config, context)?;
        Ok(Self { inner: Some(inner), inbox })
    }

    /// Hands a record over to the library, which reports its outcome exactly once.
    pub(super) fn hand_over(&self, record: Record<'_>) -> Result<(), Code> {
        self.inner().send(record).map_err(|(error, _)| code_of(&error))
    }

    /// Returns the reports since the last call.
    pub(super) fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.inbox.lock())
    }

    /// Waits for a report that [`Producer::reports`] has not returned yet.
    pub(super) async fn arrival(&self) {
        self.inbox.arrived.notified().await;
    }

    /// Returns the error after which this producer will never deliver a record, if there is one.
    pub(super) fn fatal(&self) -> Option<(Code, String)> {
        self.inner().client().fatal_error()
    }

    /// Takes back all records that are not in flight to the brokers; each is reported as failed.
    pub(super) fn call_back(&self) {
        self.inner().purge(PurgeConfig::default().queue());
    }

    /// Takes back all records that are not delivered; each is reported as failed.
    pub(super) fn purge(&self) {
        self.inner().purge(PurgeConfig::default().queue().inflight());
    }

    /// Asks the brokers for the topic and returns its error, if it has one. Blocks for up to
    /// `timeout`.
    pub(super) fn topic_error(&self, topic: &str, timeout: Duration) -> KafkaResult<Option<Code>> {
        let metadata = self.inner().client().fetch_metadata(Some(topic), timeout)?;
        Ok(metadata.topics().first().and_then(MetadataTopic::error).map(Code::from))
    }

    /// Ends the producer on a separate thread, because that waits for the library's threads, one of
    /// which may be waiting for a name server. The returned channel receives a message at the end.
    pub(super) fn let_go(&mut self) -> mpsc::Receiver<()> {
        let (ended, end) = mpsc::channel();
        let inner = self.inner.take();
        let end_it = move || {
            drop(inner);
            // The receiver may be gone.
            let _nobody_waits = ended.send(());
        };
        if thread::Builder::new().name("kafka-end".into()).spawn(end_it).is_err() {
            debug!("no thread to end a producer on; it was ended in place");
        }
        end
    }

    fn inner(&self) -> &ThreadedProducer<Context> {
        self.inner.as_ref().expect("a producer that was let go is not used")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.let_go();
        }
    }
}

impl Inbox {
    fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<Report>> {
        // The lock is held only to push a report or to take the vector.
        self.reports.lock()
    }
}

/// The callbacks of librdkafka.
struct Context {
    broker_log: Arc<BrokerLog>,
    inbox: Arc<Inbox>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        self.broker_log.line(level, facility, words);
    }

    fn error(&self, error: KafkaError, words: &str) {
        self.broker_log.error(code_of(&error), words);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        // The default implementation would parse the JSON only to log it.
        debug!(
            forwarder = self.broker_log.forwarder(),
            "librdkafka: {}",
            String::from_utf8_lossy(statistics)
        );
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(code_of(error)),
        };
        // Stored before the wake-up, so that the woken task finds the report.
        self.inbox.lock().push(Report { id, outcome });
        self.inbox.arrived.notify_one();
    }
}

/// Returns the code of an error; the few errors without one concern arguments.
pub(super) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::InvalidArgument)
}
