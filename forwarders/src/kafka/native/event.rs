//! Events of the library: delivery reports, lines of its log, errors.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;
use std::ptr::NonNull;

use rdkafka::bindings as rdsys;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::{RDKafkaEvent, RDKafkaMessage, RDKafkaRespErr};

use super::headers::RecordHeaders;

/// The outcome of a record.
#[derive(Debug)]
pub(in crate::kafka) struct DeliveryReport {
    /// The id of the record's payload.
    pub(in crate::kafka) id: usize,
    /// `Ok` if the brokers have the record, else the error.
    pub(in crate::kafka) outcome: Result<(), Code>,
    /// The headers of the record, which another one can have.
    pub(in crate::kafka) headers: Option<RecordHeaders>,
}

/// An event, which owns the records that it reports.
pub(in crate::kafka) struct NativeEvent(NonNull<RDKafkaEvent>);

/// The content of an event.
pub(in crate::kafka) enum ProducerEvent<'a> {
    Reports(Reports<'a>),
    /// A line of the log; `level` is that of syslog.
    Log {
        level: i32,
        facility: Cow<'a, str>,
        words: Cow<'a, str>,
    },
    /// An error that does not concern a single record.
    Error {
        code: Code,
        words: Cow<'a, str>,
    },
    Statistics(Cow<'a, str>),
    Other,
}

impl NativeEvent {
    pub(super) fn new(event: NonNull<RDKafkaEvent>) -> Self {
        Self(event)
    }

    /// Returns the content. Each report is returned once.
    pub(in crate::kafka) fn read(&mut self) -> ProducerEvent<'_> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive; each function belongs to the type of event, and the texts live
        // as long as the event.
        unsafe {
            match rdsys::rd_kafka_event_type(event) {
                rdsys::RD_KAFKA_EVENT_DR => ProducerEvent::Reports(Reports(event, PhantomData)),
                rdsys::RD_KAFKA_EVENT_LOG => read_log(event),
                rdsys::RD_KAFKA_EVENT_ERROR => ProducerEvent::Error {
                    code: rdsys::rd_kafka_event_error(event).into(),
                    words: text(rdsys::rd_kafka_event_error_string(event)),
                },
                rdsys::RD_KAFKA_EVENT_STATS => {
                    ProducerEvent::Statistics(text(rdsys::rd_kafka_event_stats(event)))
                }
                _ => ProducerEvent::Other,
            }
        }
    }
}

impl Drop for NativeEvent {
    fn drop(&mut self) {
        // SAFETY: the event is owned and dropped once.
        unsafe { rdsys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// The reports of an event.
pub(in crate::kafka) struct Reports<'a>(*mut RDKafkaEvent, PhantomData<&'a mut NativeEvent>);

impl Iterator for Reports<'_> {
    type Item = DeliveryReport;

    fn next(&mut self) -> Option<DeliveryReport> {
        // SAFETY: the event is borrowed and reports deliveries.
        let message = unsafe { rdsys::rd_kafka_event_message_next(self.0) };
        // SAFETY: a message of an event lives as long as the event, and is returned once.
        (!message.is_null()).then(|| unsafe { report(message) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // SAFETY: as in `next`.
        (unsafe { rdsys::rd_kafka_event_message_count(self.0) }, None)
    }
}

/// # Safety
/// The message must be alive, and nothing else may use it.
unsafe fn report(message: *const RDKafkaMessage) -> DeliveryReport {
    // SAFETY: alive by contract.
    let (error, id) = unsafe { ((*message).err, (*message)._private.addr()) };
    let outcome = match error {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    };
    let mut headers = ptr::null_mut();
    // SAFETY: alive and unused by contract. Detached headers belong to the caller; without any, the
    // pointer stays null.
    unsafe { rdsys::rd_kafka_message_detach_headers(message.cast_mut(), &raw mut headers) };
    DeliveryReport { id, outcome, headers: RecordHeaders::from_raw(headers) }
}

/// # Safety
/// The event must be alive as long as its content is used.
unsafe fn read_log<'a>(event: *mut RDKafkaEvent) -> ProducerEvent<'a> {
    let (mut facility, mut words, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the event is a line of the log; the texts live as long as it.
    unsafe {
        rdsys::rd_kafka_event_log(event, &raw mut facility, &raw mut words, &raw mut level);
        ProducerEvent::Log { level, facility: text(facility), words: text(words) }
    }
}

/// # Safety
/// `text` must be null or a C string that lives long enough.
unsafe fn text<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: not null, the rest by contract.
    match unsafe { CStr::from_ptr(text) }.to_string_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}
