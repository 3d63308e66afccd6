//! A producer of librdkafka, without the costs of rdkafka's producers.
//!
//! rdkafka's producers look the topic up by its name for each record, under a lock that librdkafka's
//! threads need, copy the headers of each record, and check a deadline in a busy loop for up to a
//! millisecond of each 100 ms, even while nothing is sent. This module replaces only the calls with
//! these costs; the client and its settings are rdkafka's.

#![allow(unsafe_code, reason = "rdkafka's safe producers need more CPU time, also when idle")]

mod event;
mod headers;

use std::ffi::{CString, c_int};
use std::ptr;
use std::ptr::NonNull;

use parking_lot::Mutex;

use rdkafka::bindings as rdsys;
use rdkafka::bindings::rd_kafka_vtype_t::{
    RD_KAFKA_VTYPE_END, RD_KAFKA_VTYPE_HEADERS, RD_KAFKA_VTYPE_KEY, RD_KAFKA_VTYPE_MSGFLAGS,
    RD_KAFKA_VTYPE_OPAQUE, RD_KAFKA_VTYPE_RKT, RD_KAFKA_VTYPE_TIMESTAMP, RD_KAFKA_VTYPE_VALUE,
};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::types::{RDKafkaQueue, RDKafkaRespErr, RDKafkaTopic, RDKafkaType};

pub(super) use event::{DeliveryReport, NativeEvent, ProducerEvent};
pub(super) use headers::RecordHeaders;

/// Timeouts of librdkafka's queues.
const FOREVER: c_int = -1;

/// A record to hand over.
pub(super) struct Record<'a> {
    /// The id of its payload, which the report repeats.
    pub(super) id: usize,
    pub(super) topic: RecordTopic<'a>,
    /// `None` for a record without a key, which is not the same as an empty key.
    pub(super) key: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
    /// In Unix milliseconds.
    pub(super) timestamp: i64,
    pub(super) headers: RecordHeaders,
}

/// The topic of a record.
#[derive(Clone, Copy)]
pub(super) struct RecordTopic<'a> {
    /// A small number that stands for the name as long as the producer runs.
    pub(super) id: usize,
    pub(super) name: &'a str,
}

/// A running producer, which connects when it starts.
pub(super) struct NativeProducer {
    // In this order: librdkafka waits for its topics and queues to be released before it ends.
    /// By id; `None` for a topic without a record so far.
    topics: Mutex<Vec<Option<NativeTopic>>>,
    queue: NativeQueue,
    client: Client<DefaultClientContext>,
}

impl NativeProducer {
    /// Starts a producer.
    ///
    /// # Errors
    /// If librdkafka rejects the settings as a whole.
    pub(super) fn start(config: &ClientConfig) -> KafkaResult<Self> {
        let native_config = config.create_native_config()?;
        let events = rdsys::RD_KAFKA_EVENT_DR
            | rdsys::RD_KAFKA_EVENT_STATS
            | rdsys::RD_KAFKA_EVENT_ERROR
            | rdsys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
        // SAFETY: the configuration is alive, and no client uses it yet.
        unsafe { rdsys::rd_kafka_conf_set_events(native_config.ptr(), events) };
        let kind = RDKafkaType::RD_KAFKA_PRODUCER;
        let client = Client::new(config, native_config, kind, DefaultClientContext)?;
        let queue = NativeQueue::main_of(&client);
        Ok(Self { topics: Mutex::default(), queue, client })
    }

    /// Returns rdkafka's client, for everything but records and events.
    pub(super) fn client(&self) -> &Client<DefaultClientContext> {
        &self.client
    }

    /// Hands a record over to the library, which copies it and reports its outcome exactly once.
    pub(super) fn hand_over(&self, record: Record<'_>) -> Result<(), Code> {
        let Record { id, topic, key, body, timestamp, headers } = record;
        let mut topics = self.topics.lock();
        let topic = self.topic(&mut topics, topic)?;
        let (key, key_len) = key.map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
        // SAFETY: the client and the topic are alive; each tag is followed by the arguments that
        // librdkafka documents for it, of its C types. With `F_COPY`, it copies key and value before
        // it returns. It reads the id as a pointer but never follows it.
        let error = unsafe {
            rdsys::rd_kafka_producev(
                self.client.native_ptr(),
                RD_KAFKA_VTYPE_RKT,
                topic.0.as_ptr(),
                RD_KAFKA_VTYPE_MSGFLAGS,
                rdsys::RD_KAFKA_MSG_F_COPY,
                RD_KAFKA_VTYPE_VALUE,
                body.as_ptr(),
                body.len(),
                RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                RD_KAFKA_VTYPE_OPAQUE,
                ptr::without_provenance::<u8>(id),
                RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp,
                RD_KAFKA_VTYPE_HEADERS,
                headers.as_ptr(),
                RD_KAFKA_VTYPE_END,
            )
        };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(error.into());
        }
        // The record owns them now.
        headers.into_raw();
        Ok(())
    }

    /// Returns librdkafka's topic, which is created with the first record.
    fn topic<'a>(
        &self,
        topics: &'a mut Vec<Option<NativeTopic>>,
        topic: RecordTopic<'_>,
    ) -> Result<&'a NativeTopic, Code> {
        if topics.len() <= topic.id {
            topics.resize_with(topic.id + 1, || None);
        }
        let slot = &mut topics[topic.id];
        match slot {
            Some(topic) => Ok(topic),
            None => Ok(slot.insert(NativeTopic::of(&self.client, topic.name)?)),
        }
    }

    /// Takes back the undelivered records that are not in flight to the brokers, or all undelivered
    /// records. Each is reported as failed.
    pub(super) fn purge(&self, also_in_flight: bool) {
        let in_flight = if also_in_flight { rdsys::RD_KAFKA_PURGE_F_INFLIGHT } else { 0 };
        // SAFETY: the client is alive. It fails only for flags that do not exist.
        unsafe {
            rdsys::rd_kafka_purge(
                self.client.native_ptr(),
                rdsys::RD_KAFKA_PURGE_F_QUEUE | in_flight,
            )
        };
    }

    /// Waits for an event. `None` after [`NativeProducer::wake`], and after a spurious wake-up.
    pub(super) fn wait_for_event(&self) -> Option<NativeEvent> {
        // SAFETY: the queue is alive.
        let event = unsafe { rdsys::rd_kafka_queue_poll(self.queue.0.as_ptr(), FOREVER) };
        NonNull::new(event).map(NativeEvent::new)
    }

    /// Ends the current or the next [`NativeProducer::wait_for_event`].
    pub(super) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { rdsys::rd_kafka_queue_yield(self.queue.0.as_ptr()) };
    }
}

/// A reference to a topic of a client that outlives it.
struct NativeTopic(NonNull<RDKafkaTopic>);

// SAFETY: librdkafka's objects may be used by any thread, by several at the same time.
unsafe impl Send for NativeTopic {}
// SAFETY: as above.
unsafe impl Sync for NativeTopic {}

impl NativeTopic {
    fn of(client: &Client<DefaultClientContext>, name: &str) -> Result<Self, Code> {
        let name = CString::new(name).map_err(|_| Code::InvalidTopic)?;
        let native = client.native_ptr();
        // SAFETY: the client is alive, and the name is copied. Without separate settings, the topic
        // has those of the client.
        let topic = unsafe { rdsys::rd_kafka_topic_new(native, name.as_ptr(), ptr::null_mut()) };
        // SAFETY: reads a variable of this thread.
        let error = || unsafe { rdsys::rd_kafka_last_error() };
        NonNull::new(topic).map(Self).ok_or_else(|| Code::from(error()))
    }
}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: the reference is owned and dropped once.
        unsafe { rdsys::rd_kafka_topic_destroy(self.0.as_ptr()) };
    }
}

/// A reference to the queue of a client that outlives it.
struct NativeQueue(NonNull<RDKafkaQueue>);

// SAFETY: librdkafka's objects may be used by any thread, by several at the same time.
unsafe impl Send for NativeQueue {}
// SAFETY: as above.
unsafe impl Sync for NativeQueue {}

impl NativeQueue {
    /// Returns the queue with all events of a client.
    fn main_of(client: &Client<DefaultClientContext>) -> Self {
        // SAFETY: the client is alive.
        let queue = unsafe { rdsys::rd_kafka_queue_get_main(client.native_ptr()) };
        Self(NonNull::new(queue).expect("every client has a main queue"))
    }
}

impl Drop for NativeQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is owned and dropped once.
        unsafe { rdsys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}
