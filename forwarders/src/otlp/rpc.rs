//! The messages of replies: statuses of `google.rpc`, and for tests the response of a server of metrics.

use std::time::Duration;

use prost::Message;

/// The type of [`RetryInfo`] in the details of a status.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Longest pause that a server can request.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The response to a request that was accepted, maybe in part, as servers of tests write it.
#[cfg(test)]
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportMetricsServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

#[cfg(test)]
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_data_points: i64,
    /// A warning, if no point was rejected.
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// `google.rpc.Status`: the details of an error over gRPC.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    /// A text, which is not read: it may be damaged.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) message: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct RetryDelay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// The pause that a status requests with a `RetryInfo`; `None` if it has none.
pub(super) fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    // The numbers come from a server: negative ones are none.
    let seconds = u64::try_from(delay.seconds).unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or_default().min(999_999_999);
    Some(Duration::new(seconds, nanos).min(PAUSE_MAX))
}

#[cfg(test)]
pub(super) fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
    let info = RetryInfo { retry_delay: Some(RetryDelay { seconds, nanos }) };
    let any = Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() };
    let status = RpcStatus { code: 14, message: b"\xff".to_vec(), details: vec![any] };
    status.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requested_pause_is_bounded() {
        for (seconds, nanos, pause) in [
            (2, 500_000_000, Some(2.5)),
            (0, 0, Some(0.0)),
            (-1, -1, Some(0.0)),
            (i64::MAX, i32::MAX, Some(300.0)),
        ] {
            let found = retry_delay(&retry_info(seconds, nanos)).map(|pause| pause.as_secs_f64());
            assert_eq!(found, pause);
        }
        assert_eq!(retry_delay(&[]), None);
        assert_eq!(retry_delay(b"\xff"), None);
    }
}
