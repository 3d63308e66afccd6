//! Tests of gRPC.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::otlp::rpc::retry_info;

fn grpc(server: &ScriptedServer, members: &str) -> Otlp {
    otlp(&format!(r#""endpoint": "grpc://{}", "compression": "none"{members}"#, server.address))
}

/// A reply with a response of the service.
fn accepted(rejected_data_points: i64, error_message: &str) -> ScriptedAnswer {
    in_frame(0, &message_of(rejected_data_points, error_message))
}

fn message_of(rejected_data_points: i64, error_message: &str) -> Vec<u8> {
    let error_message = error_message.to_owned();
    let partial_success = Some(PartialSuccess { rejected_data_points, error_message });
    ExportMetricsServiceResponse { partial_success }.encode_to_vec()
}

/// A successful reply with a message, whose first byte says whether it is compressed.
fn in_frame(is_compressed: u8, message: &[u8]) -> ScriptedAnswer {
    let length = (message.len() as u32).to_be_bytes();
    let body = [&[is_compressed][..], &length, message].concat();
    let headers =
        vec![("content-type", "application/grpc".to_owned()), ("grpc-status", "0".into())];
    ScriptedAnswer::Reply(200, headers, body)
}

fn failed(code: u32, message: &str, details: &[u8]) -> ScriptedAnswer {
    let headers = vec![
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", message.to_owned()),
        ("grpc-status-details-bin", STANDARD_NO_PAD.encode(details)),
    ];
    ScriptedAnswer::Reply(200, headers, Vec::new())
}

#[tokio::test]
async fn calls_arrive_with_their_metadata_in_frames_over_one_connection() {
    let server = ScriptedServer::start_http2(None, |_, _| accepted(0, ""));
    let mut otlp = grpc(&server, r#", "max_points": 4, "headers": {"X-Tenant": "a"}"#);
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    assert!(batch.is_settled());
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    for call in &asked {
        assert_eq!(call.line, format!("POST {path} HTTP/2.0"));
        for (name, value) in
            [("content-type", "application/grpc"), ("te", "trailers"), ("x-tenant", "a")]
        {
            assert_eq!(call.header(name), Some(value));
        }
        let (frame, message) = call.body.split_at(5);
        assert_eq!(frame, [&[0][..], &(message.len() as u32).to_be_bytes()].concat());
        assert!(ExportMetricsServiceRequest::decode(message).is_ok());
    }
}

#[tokio::test]
async fn a_compressed_message_says_so() {
    let server = ScriptedServer::start_http2(None, |_, _| accepted(0, ""));
    let mut otlp = otlp(&format!(r#""endpoint": "grpc://{}""#, server.address));
    let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
    otlp.send(&mut batch).await.unwrap();
    let call = server.asked().remove(0);
    assert_eq!((call.header("grpc-encoding"), call.body[0]), (Some("gzip"), 1));
    let mut message = Vec::new();
    GzDecoder::new(&call.body[5..]).read_to_end(&mut message).unwrap();
    assert!(ExportMetricsServiceRequest::decode(&*message).is_ok());
}

#[tokio::test]
async fn a_secret_in_a_compressed_response_is_masked() {
    let server = ScriptedServer::start_http2(None, |_, _| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&message_of(2, "Bearer canary17 sends old points")).unwrap();
        in_frame(1, &packed.finish().unwrap())
    });
    let mut otlp = grpc(&server, r#", "headers": {"authorization": "Bearer canary17"}"#);
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
    let words = settled.last_refusal().unwrap();
    assert!(words.ends_with("sends old points") && !words.contains("canary"), "{words}");
}

#[tokio::test]
async fn rejected_points_are_refused_with_the_words_of_the_response() {
    let server = ScriptedServer::start_http2(None, |_, _| accepted(2, "too old"));
    let mut otlp = grpc(&server, "");
    let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
    assert!(settled.last_refusal().unwrap().ends_with("too old"));
}

#[tokio::test]
async fn a_response_with_more_words_than_are_read_settles_the_points() {
    let words = "too old. ".repeat(20_000);
    let server = ScriptedServer::start_http2(None, move |_, _| accepted(2, &words));
    let mut otlp = grpc(&server, "");
    for _ in 0..2 {
        let mut batch = encoded(&mut otlp, snapshot_of_counters(7).points.to_vec());
        otlp.send(&mut batch).await.unwrap();
        let settled = batch.take_settled();
        assert_eq!((settled.delivered, settled.refused["refused"]), (5, 2));
        assert!(settled.last_refusal().unwrap().contains("too old."));
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_status_decides_whether_to_retry_and_when() {
    let operator = None;
    for (code, details, pause) in [
        (14, retry_info(7, 0), Some(7)),
        (14, Vec::new(), Some(0)),
        (8, retry_info(1, 0), Some(1)),
        (8, Vec::new(), operator),
        (16, Vec::new(), operator),
    ] {
        let server =
            ScriptedServer::start_http2(None, move |_, _| failed(code, "canary%21", &details));
        let mut otlp = grpc(&server, r#", "headers": {"authorization": "canary"}"#);
        let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
        let error = otlp.send(&mut batch).await.unwrap_err();
        let found = match error.class() {
            ErrorClass::Transient { after } => Some(after.unwrap_or_default()),
            ErrorClass::Operator => None,
        };
        // A pause is up to a quarter longer, so that the clients of a server do not return together.
        let is_right =
            found.zip(pause).map_or(found.is_none() && pause.is_none(), |(found, pause)| {
                let pause = Duration::from_secs(pause);
                (pause..=pause * 5 / 4).contains(&found)
            });
        assert!(is_right, "{code}: {found:?}");
        assert_eq!(batch.points_pending(), 1);
        // The text of the server repeats the credentials.
        let words = error.to_string();
        assert!(words.ends_with("!") && !words.contains("canary"), "{words}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_divided_and_a_bad_point_found() {
    let server = ScriptedServer::start_http2(None, |_, call| {
        let text = String::from_utf8_lossy(&call.body);
        match text.matches("filler").count() {
            5.. => failed(8, "grpc: received message larger than max (9 vs. 4)", &[]),
            _ if text.contains("bad") => failed(3, "no", &[]),
            _ => accepted(0, ""),
        }
    });
    let mut otlp = grpc(&server, "");
    let filler = "x".repeat(2_000);
    let point = |index: usize| {
        let tag = if index == 7 { "bad".to_owned() } else { index.to_string() };
        counter("c", &[("filler", &filler), ("k", &tag)], 1.0)
    };
    let mut batch = encoded(&mut otlp, (0..12).map(point).collect());
    otlp.send(&mut batch).await.unwrap();
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused["refused"]), (11, 1));
}

#[tokio::test]
async fn a_server_of_http_1_and_one_that_closes_the_connection_cost_no_point() {
    let server = ScriptedServer::start_http2(None, |number, _| match number {
        0 | 1 => ScriptedAnswer::Bytes(Vec::new()),
        _ => accepted(0, ""),
    });
    let http1 = ScriptedServer::start(|_, _| ScriptedAnswer::status(200, ""));
    for (server, ends) in [(&server, true), (&http1, false)] {
        let mut otlp = grpc(server, "");
        let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
        let error = otlp.send(&mut batch).await.unwrap_err();
        assert!(matches!(error.class(), ErrorClass::Transient { .. }), "{error}");
        while ends && otlp.send(&mut batch).await.is_err() {}
        assert_eq!(batch.points_pending(), u64::from(!ends));
    }
}

/// The settings of a server with this certificate, which speaks HTTP/2 if the client offers it.
fn tls(certificate: &str, key: &KeyPair) -> ServerConfig {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test]
async fn calls_over_tls_require_a_trusted_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().pem();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &certificate).unwrap();
    let server = ScriptedServer::start_http2(Some(tls(&certificate, &key)), |_, _| accepted(0, ""));
    let trusting = format!(r#", "tls": {{"ca_file": {ca_file:?}}}"#);
    for (members, is_trusted) in [("", false), (&*trusting, true)] {
        let mut otlp = otlp(&format!(r#""endpoint": "grpcs://{}"{members}"#, server.address));
        let mut batch = encoded(&mut otlp, vec![counter("a", &[], 1.0)]);
        assert_eq!(otlp.send(&mut batch).await.is_ok(), is_trusted);
        assert_eq!(server.asked().len(), usize::from(is_trusted));
    }
}
