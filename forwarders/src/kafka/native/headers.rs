//! The headers of a record.

use std::ptr::NonNull;

use rdkafka::bindings as rdsys;
use rdkafka::types::RDKafkaHeaders;

/// The headers of one record, in librdkafka's memory.
#[derive(Debug)]
pub(in crate::kafka) struct RecordHeaders(NonNull<RDKafkaHeaders>);

// SAFETY: a list in memory, which librdkafka ties to no thread.
unsafe impl Send for RecordHeaders {}
// SAFETY: as above; only the owner changes it.
unsafe impl Sync for RecordHeaders {}

impl RecordHeaders {
    /// Copies headers into librdkafka's memory.
    pub(in crate::kafka) fn new(headers: &[(&str, &str)]) -> Self {
        // SAFETY: without arguments that could be wrong.
        let list = unsafe { rdsys::rd_kafka_headers_new(headers.len()) };
        let list = Self::from_raw(list).expect("librdkafka ends the process without memory");
        for (key, value) in headers {
            // SAFETY: key and value are copied, with the lengths given here.
            unsafe {
                rdsys::rd_kafka_header_add(
                    list.as_ptr(),
                    key.as_ptr().cast(),
                    key.len().cast_signed(),
                    value.as_ptr().cast(),
                    value.len().cast_signed(),
                )
            };
        }
        list
    }

    /// Takes ownership of headers; `None` for a null pointer.
    pub(super) fn from_raw(list: *mut RDKafkaHeaders) -> Option<Self> {
        NonNull::new(list).map(Self)
    }

    /// Gives up ownership.
    pub(super) fn into_raw(self) -> *mut RDKafkaHeaders {
        std::mem::ManuallyDrop::new(self).as_ptr()
    }

    pub(super) fn as_ptr(&self) -> *mut RDKafkaHeaders {
        self.0.as_ptr()
    }
}

impl Clone for RecordHeaders {
    fn clone(&self) -> Self {
        // SAFETY: the list is alive.
        let copy = unsafe { rdsys::rd_kafka_headers_copy(self.as_ptr()) };
        Self::from_raw(copy).expect("librdkafka ends the process without memory")
    }
}

impl Drop for RecordHeaders {
    fn drop(&mut self) {
        // SAFETY: the list is owned and dropped once.
        unsafe { rdsys::rd_kafka_headers_destroy(self.as_ptr()) };
    }
}
