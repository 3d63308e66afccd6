//! The address of an OTLP server, whose scheme selects the protocol.

use serde::de::{Deserialize, Deserializer};

use crate::http::{HttpUrl, Url};
use basics::text::TextVisitor;

const WRONG: &str =
    "must be a URL such as http://127.0.0.1:4318 for HTTP or grpc://127.0.0.1:4317 for gRPC";
/// The path of metrics over HTTP.
const HTTP_PATH: &str = "/v1/metrics";
/// The path of the method of gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// The protocol under the messages of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpTransport {
    /// HTTP/1.1.
    Http,
    /// gRPC, which is HTTP/2.
    Grpc,
}

/// `http://`, `https://`, `grpc://` or `grpcs://`, host, port and, over HTTP, a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// The protocol.
    pub transport: OtlpTransport,
    /// The server's address.
    pub server: HttpUrl,
    url: Url,
}

impl OtlpEndpoint {
    /// Parses an endpoint.
    ///
    /// # Errors
    /// When the text is not such a URL. The message does not repeat the text, which may contain
    /// credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(WRONG)?;
        let (transport, scheme) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (OtlpTransport::Http, "http"),
            "https" => (OtlpTransport::Http, "https"),
            "grpc" => (OtlpTransport::Grpc, "http"),
            "grpcs" => (OtlpTransport::Grpc, "https"),
            _ => return Err(WRONG.to_owned()),
        };
        let server = HttpUrl::parse(&format!("{scheme}://{rest}"));
        // Its own words, unless they say more than that the text is no URL.
        let server =
            server.map_err(|why| if why.contains("such as") { WRONG.into() } else { why })?;
        if server.has_query() {
            return Err("must hold no `?`".to_owned());
        }
        let path = server.url().path();
        let path = match transport {
            OtlpTransport::Http if path.trim_end_matches('/').ends_with(HTTP_PATH) => "",
            OtlpTransport::Http => HTTP_PATH,
            OtlpTransport::Grpc if path != "/" => {
                return Err("must not have a path: gRPC has its own".to_owned());
            }
            OtlpTransport::Grpc => GRPC_PATH,
        };
        let url = server.below(path, &[])?;
        Ok(Self { transport, server, url })
    }

    /// The URL of requests.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

impl<'de> Deserialize<'de> for OtlpEndpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "an http://, https://, grpc:// or grpcs:// URL";
        deserializer.deserialize_str(TextVisitor::new(expecting, Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_the_path_of_its_protocol() {
        let method = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        for (text, url) in [
            ("http://eu:4318", "http://eu:4318/v1/metrics".to_owned()),
            ("https://eu/", "https://eu/v1/metrics".to_owned()),
            ("http://eu:9090/api/v1/otlp", "http://eu:9090/api/v1/otlp/v1/metrics".to_owned()),
            ("http://eu/x/v1/metrics", "http://eu/x/v1/metrics".to_owned()),
            ("http://eu/x/v1/metrics/", "http://eu/x/v1/metrics".to_owned()),
            ("grpc://eu:4317", format!("http://eu:4317/{method}")),
            ("GRPCS://[::1]:4317/", format!("https://[::1]:4317/{method}")),
        ] {
            assert_eq!(OtlpEndpoint::parse(text).unwrap().url().as_str(), url);
        }
    }

    #[test]
    fn other_texts_are_no_endpoints_and_are_not_repeated() {
        for (text, words) in [
            ("eu:4317", "grpc://127.0.0.1:4317"),
            ("", "grpc://127.0.0.1:4317"),
            ("udp://eu:4317", "grpc://127.0.0.1:4317"),
            ("grpc://", "grpc://127.0.0.1:4317"),
            ("grpc://eu:4317/v1/metrics", "must not have a path"),
            ("http://eu:4318/?x=canary", "no `?`"),
            ("https://joe:canary@eu", "must not contain credentials"),
        ] {
            let error = OtlpEndpoint::parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("canary"), "{text}: {error}");
        }
    }
}
