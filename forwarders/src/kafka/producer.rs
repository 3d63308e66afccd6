//! The client library's producer: records go in, delivery reports come out.
//!
//! One thread waits for the events of the library. A report is a payload id and an error code in a
//! vector that the sending task drains. The reports of a batch are passed on together, with one lock
//! and one wake-up.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use tokio::sync::Notify;
use tracing::debug;

use super::broker_log::BrokerLog;
use super::native::{DeliveryReport, NativeEvent, NativeProducer, ProducerEvent, Record};

/// A running producer.
pub(super) struct Producer {
    /// `None` after [`Producer::let_go`].
    running: Option<Running>,
    inbox: Arc<Inbox>,
}

/// A producer and the thread that waits for its events.
struct Running {
    native: Arc<NativeProducer>,
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// The queue of reports for the sending task.
#[derive(Default)]
struct Inbox {
    reports: Mutex<Vec<DeliveryReport>>,
    arrived: Notify,
}

impl Producer {
    /// Starts a producer.
    ///
    /// # Errors
    /// If librdkafka rejects the settings as a whole, or no thread can be started.
    pub(super) fn start(config: &ClientConfig, broker_log: &Arc<BrokerLog>) -> KafkaResult<Self> {
        let native = Arc::new(NativeProducer::start(config)?);
        let (inbox, is_ending) = (Arc::<Inbox>::default(), Arc::<AtomicBool>::default());
        let events = Events { broker_log: Arc::clone(broker_log), inbox: Arc::clone(&inbox) };
        let thread = {
            let (native, is_ending) = (Arc::clone(&native), Arc::clone(&is_ending));
            let serve = move || events.serve(&native, &is_ending);
            thread::Builder::new().name("kafka-reports".into()).spawn(serve)
        };
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self { running: Some(Running { native, is_ending, thread }), inbox })
    }

    /// Hands a record over to the library, which reports its outcome exactly once.
    pub(super) fn hand_over(&self, record: Record<'_>) -> Result<(), Code> {
        self.native().hand_over(record)
    }

    /// Returns the reports since the last call.
    pub(super) fn reports(&self) -> Vec<DeliveryReport> {
        std::mem::take(&mut self.inbox.reports.lock())
    }

    /// Waits for a report that [`Producer::reports`] has not returned yet.
    pub(super) async fn arrival(&self) {
        self.inbox.arrived.notified().await;
    }

    /// Returns the error after which this producer will never deliver a record, if there is one.
    pub(super) fn fatal(&self) -> Option<(Code, String)> {
        self.native().client().fatal_error()
    }

    /// Takes back all records that are not in flight to the brokers; each is reported as failed.
    pub(super) fn call_back(&self) {
        self.native().purge(false);
    }

    /// Takes back all records that are not delivered; each is reported as failed.
    pub(super) fn purge(&self) {
        self.native().purge(true);
    }

    /// Asks the brokers for the topic and returns its error, if it has one. Blocks for up to
    /// `timeout`.
    pub(super) fn topic_error(&self, topic: &str, timeout: Duration) -> KafkaResult<Option<Code>> {
        let metadata = self.native().client().fetch_metadata(Some(topic), timeout)?;
        Ok(metadata.topics().first().and_then(MetadataTopic::error).map(Code::from))
    }

    /// Ends the producer on a separate thread, because that waits for the library's threads, one of
    /// which may be waiting for a name server. The returned channel receives a message at the end.
    pub(super) fn let_go(&mut self) -> mpsc::Receiver<()> {
        let (ended, end) = mpsc::channel();
        let running = self.running.take();
        let end_it = move || {
            if let Some(running) = running {
                running.end();
            }
            // The receiver may be gone.
            let _nobody_waits = ended.send(());
        };
        if thread::Builder::new().name("kafka-end".into()).spawn(end_it).is_err() {
            debug!("no thread to end a producer on; it was ended in place");
        }
        end
    }

    fn native(&self) -> &NativeProducer {
        &self.running.as_ref().expect("a producer that was let go is not used").native
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.let_go();
        }
    }
}

impl Running {
    fn end(self) {
        let Self { native, is_ending, thread } = self;
        // Before the wake-up, which ends at most one wait.
        is_ending.store(true, Ordering::Release);
        native.wake();
        // Fails only if the thread panicked.
        let _panicked = thread.join();
        // The last reference, so that the library ends here.
        drop(native);
    }
}

/// Takes the events of the library.
struct Events {
    broker_log: Arc<BrokerLog>,
    inbox: Arc<Inbox>,
}

impl Events {
    /// Waits for events until the producer is ending.
    fn serve(&self, native: &NativeProducer, is_ending: &AtomicBool) {
        while !is_ending.load(Ordering::Acquire) {
            if let Some(mut event) = native.wait_for_event() {
                self.take(&mut event);
            }
        }
    }

    fn take(&self, event: &mut NativeEvent) {
        match event.read() {
            ProducerEvent::Reports(reports) => {
                // Stored before the wake-up, so that the woken task finds the reports.
                self.inbox.reports.lock().extend(reports);
                self.inbox.arrived.notify_one();
            }
            ProducerEvent::Log { level, facility, words } => {
                self.broker_log.line(log_level(level), &facility, &words);
            }
            ProducerEvent::Error { code, words } => self.broker_log.error(code, &words),
            ProducerEvent::Statistics(words) => {
                debug!(forwarder = self.broker_log.forwarder(), "librdkafka: {words}");
            }
            ProducerEvent::Other => {}
        }
    }
}

/// Returns the log level of a line: a warning for complaints, and information for all others.
fn log_level(level: i32) -> RDKafkaLogLevel {
    if level <= RDKafkaLogLevel::Warning as i32 {
        RDKafkaLogLevel::Warning
    } else {
        RDKafkaLogLevel::Info
    }
}

/// Returns the code of an error; the few errors without one concern arguments.
pub(super) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::InvalidArgument)
}
