//! The client library's producer: records go in, reports come out.
//!
//! Of rdkafka's producers this is the threaded one: its one thread calls back for each report, and
//! a report is a payload id and an error code, pushed to a vector that the sending task drains.
//! The future producer would allocate a channel and an owned copy of the record for each of the
//! 100,000 records of a window to say the same.

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

/// A record as it is handed over; the opaque is its payload's id.
pub(super) type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// Its payload's id.
    pub(super) id: usize,
    /// Whether the brokers have it.
    pub(super) outcome: Result<(), Code>,
}

/// A running producer. It connects by itself when there is something to send.
pub(super) struct Producer {
    /// `None` once it was let go.
    inner: Option<ThreadedProducer<Context>>,
    inbox: Arc<Inbox>,
}

/// Where reports wait for the sending task.
#[derive(Default)]
struct Inbox {
    reports: Mutex<Vec<Report>>,
    arrived: Notify,
}

impl Producer {
    /// Starts a producer.
    ///
    /// # Errors
    /// When librdkafka refuses the settings as a whole.
    pub(super) fn start(config: &ClientConfig, journal: &Arc<BrokerLog>) -> KafkaResult<Self> {
        let inbox = Arc::<Inbox>::default();
        let context = Context { journal: Arc::clone(journal), inbox: Arc::clone(&inbox) };
        let inner = ThreadedProducer::from_config_and_context(config, context)?;
        Ok(Self { inner: Some(inner), inbox })
    }

    /// Hands a record over; from then on it is reported exactly once.
    pub(super) fn hand_over(&self, record: Record<'_>) -> Result<(), Code> {
        self.inner().send(record).map_err(|(error, _)| code_of(&error))
    }

    /// The reports that came since the last call.
    pub(super) fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.inbox.lock())
    }

    /// Returns when a report came that [`Producer::reports`] was not yet asked for.
    pub(super) async fn arrival(&self) {
        self.inbox.arrived.notified().await;
    }

    /// Why it will never deliver anything again, if so.
    pub(super) fn fatal(&self) -> Option<(Code, String)> {
        self.inner().client().fatal_error()
    }

    /// Has everything reported as failed that is not on its way to the brokers.
    pub(super) fn call_back(&self) {
        self.inner().purge(PurgeConfig::default().queue());
    }

    /// Has everything that is not delivered reported as failed.
    pub(super) fn purge(&self) {
        self.inner().purge(PurgeConfig::default().queue().inflight());
    }

    /// Asks the brokers for the topic: its error, if it has one. Blocks for up to `timeout`.
    pub(super) fn topic_error(&self, topic: &str, timeout: Duration) -> KafkaResult<Option<Code>> {
        let metadata = self.inner().client().fetch_metadata(Some(topic), timeout)?;
        Ok(metadata.topics().first().and_then(MetadataTopic::error).map(Code::from))
    }

    /// Ends it on a thread of its own, because that waits for the library's threads, one of which
    /// may be waiting for a name server; gives what to wait by for the end of that.
    pub(super) fn let_go(&mut self) -> mpsc::Receiver<()> {
        let (ended, end) = mpsc::channel();
        let inner = self.inner.take();
        let end_it = move || {
            drop(inner);
            // Nobody needs to wait.
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
        // A push is all that happens under the lock.
        self.reports.lock()
    }
}

/// What librdkafka calls back.
struct Context {
    journal: Arc<BrokerLog>,
    inbox: Arc<Inbox>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        self.journal.line(level, facility, words);
    }

    fn error(&self, error: KafkaError, words: &str) {
        self.journal.error(code_of(&error), words);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        debug!(
            forwarder = self.journal.forwarder(),
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
        self.inbox.lock().push(Report { id, outcome });
        self.inbox.arrived.notify_one();
    }
}

/// The code in an error; the few that have none are about arguments.
pub(super) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::InvalidArgument)
}
