//! Kafka records: a request with one point each.

use prost::Message;

use super::messages::ExportMetricsServiceRequest;
use super::request::{RequestPrefix, write_request};
use super::{Attributes, BUCKETS_DEFAULT, PointTimes, WindowEncoder};
use model::{Point, Snapshot};

/// The syntax of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordSyntax {
    /// Protobuf.
    Proto,
    /// The JSON of OTLP.
    Json,
}

/// Writes records about one resource.
#[derive(Debug)]
pub(crate) struct Records {
    prefix: RequestPrefix,
    encoder: WindowEncoder,
}

impl Records {
    /// A writer of records about a resource with these attributes.
    pub(crate) fn new(resource: Attributes<'_>) -> Self {
        let prefix = RequestPrefix::new(resource.into_iter());
        Self { prefix, encoder: WindowEncoder::new(BUCKETS_DEFAULT) }
    }

    /// Appends the record of a point: the increment of its window.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        syntax: RecordSyntax,
        snapshot: &Snapshot,
        point: &Point,
    ) {
        let mut payload = Vec::new();
        self.encoder.write(&mut payload, point, PointTimes::of(snapshot));
        match syntax {
            RecordSyntax::Proto => write_request(out, &self.prefix, &[&payload]),
            RecordSyntax::Json => {
                let mut request = Vec::new();
                write_request(&mut request, &self.prefix, &[&payload]);
                out.extend_from_slice(json(&request).unwrap_or_default().as_bytes());
            }
        }
    }
}

/// A request in protobuf as JSON; `None` if it is not one.
pub(crate) fn json(request: &[u8]) -> Option<String> {
    let request = ExportMetricsServiceRequest::decode(request);
    serde_json::to_string(&request.ok()?).ok()
}
