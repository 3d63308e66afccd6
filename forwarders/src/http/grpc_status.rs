//! The status of a call of gRPC, which is in the trailers of its reply.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use httpclient::reqwest::header::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;

/// Base64 with or without padding: gRPC allows both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The status of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcStatus {
    /// The code: 0 for success.
    pub code: u32,
    /// The server's text; may be empty.
    pub message: String,
    /// The message `google.rpc.Status` with details; may be empty.
    pub details: Vec<u8>,
}

impl GrpcStatus {
    /// The status in headers or trailers; `None` if these have none.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let bytes = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = percent_decode(bytes("grpc-message")).decode_utf8_lossy().into_owned();
        let details = BASE64.decode(bytes("grpc-status-details-bin")).unwrap_or_default();
        Some(Self { code, message, details })
    }
}

#[cfg(test)]
mod tests {
    use httpclient::reqwest::header::HeaderName;

    use super::*;

    fn status(headers: &[(&'static str, &'static str)]) -> Option<GrpcStatus> {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        GrpcStatus::of(&headers.iter().map(header).collect())
    }

    #[test]
    fn a_status_is_read_from_trailers_that_anyone_may_have_written() {
        let all = [
            ("grpc-status", "14"),
            ("grpc-message", "no%20room%0A%zz%ff"),
            ("grpc-status-details-bin", "AAE"),
        ];
        let (message, details) = ("no room\n%zz\u{fffd}".to_owned(), vec![0, 1]);
        assert_eq!(status(&all), Some(GrpcStatus { code: 14, message, details }));
        let padded = status(&[("grpc-status", "0"), ("grpc-status-details-bin", "AAE=")]);
        assert_eq!(padded.unwrap().details, [0, 1]);
        for code in ["", "-1", "ok", "4294967296"] {
            assert_eq!(status(&[("grpc-status", code)]), None, "{code}");
        }
        assert_eq!(status(&[("grpc-message", "x")]), None);
        let damaged = status(&[("grpc-status", "3"), ("grpc-status-details-bin", "?")]).unwrap();
        assert_eq!((damaged.code, damaged.details), (3, vec![]));
    }
}
