//! Tests of the client against a server that misbehaves, and of TLS with certificates that the test
//! creates.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use super::pool::HttpVersion;
use super::scripted::{SHORT, ScriptedAnswer, ScriptedServer};
use super::*;
use crate::network::host::Host;
use basics::text::Secret;

fn client(url: &HttpUrl, tls: &TlsConfig, timeout: Duration) -> HttpClient {
    client_of(HttpVersion::One, url, tls, timeout)
}

fn client_of(
    version: HttpVersion,
    url: &HttpUrl,
    tls: &TlsConfig,
    timeout: Duration,
) -> HttpClient {
    let authorization = Some(Secret::new("Token canary"));
    let resolve_every = Duration::from_secs(60);
    let settings = HttpSettings { name: "test", url, tls, authorization, timeout, resolve_every };
    HttpClient::with_version(settings, version).unwrap()
}

async fn post(client: &HttpClient, url: &HttpUrl, body: &str) -> Result<HttpReply, HttpError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    client.post(HttpRequest { url: url.url().clone(), headers, body: body.to_owned().into() }).await
}

/// Sends one request.
async fn request(server: &ScriptedServer, timeout: Duration) -> Result<HttpReply, HttpError> {
    let url = HttpUrl::parse(&format!("http://{}/write", server.address)).unwrap();
    post(&client(&url, &TlsConfig::default(), timeout), &url, "body").await
}

/// The text of an error with all its causes, as the log and the status show it.
fn shown(error: HttpError) -> String {
    crate::SendError::from(error).to_string()
}

#[tokio::test]
async fn a_request_arrives_as_it_was_made_and_the_connection_is_kept() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let url = HttpUrl::parse(&format!("http://{}/write?db=m", server.address)).unwrap();
    let client = client(&url, &TlsConfig::default(), SHORT * 10);
    for body in ["one", "two"] {
        assert_eq!(post(&client, &url, body).await.unwrap().class(), StatusClass::Success);
    }
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /write?db=m HTTP/1.1");
    assert_eq!(asked[0].header("authorization"), Some("Token canary"));
    assert_eq!(asked[0].header("content-type"), Some("text/plain"));
    assert!(asked[0].header("user-agent").unwrap().starts_with("tallyd/"));
    assert_eq!((asked[0].body.as_slice(), asked[1].body.as_slice()), (&b"one"[..], &b"two"[..]));
}

#[tokio::test]
async fn an_empty_request_states_its_length() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let url = HttpUrl::parse(&format!("http://{}/write", server.address)).unwrap();
    post(&client(&url, &TlsConfig::default(), SHORT * 10), &url, "").await.unwrap();
    assert_eq!(server.asked()[0].header("content-length"), Some("0"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    let to = format!("http://{}/write", elsewhere.address);
    let server = ScriptedServer::start(move |_, _| {
        ScriptedAnswer::Reply(307, vec![("location", to.clone())], Vec::new())
    });
    let reply = request(&server, SHORT * 10).await.unwrap();
    assert_eq!(reply.class(), StatusClass::Operator);
    assert!(reply.words().contains("which points to http://127.0.0.1:"), "{}", reply.words());
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn after_a_request_without_a_complete_reply_the_name_is_looked_up_again() {
    // The second server begins a reply and does not complete it.
    let half = |_: usize, _: &_| {
        ScriptedAnswer::Reply(200, vec![("transfer-encoding", "chunked".into())], vec![])
    };
    for old in [ScriptedServer::start(|_, _| ScriptedAnswer::Hang), ScriptedServer::start(half)] {
        let new = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
        let addresses = [old.address, new.address];
        let look_ups = AtomicUsize::new(0);
        let look_up = move || Ok(vec![addresses[look_ups.fetch_add(1, Ordering::Relaxed).min(1)]]);
        let host = Host::with_look_up("name.test", 80, "test", SHORT * 1_000, Box::new(look_up));
        // Without a port: the look-up determines the port as well.
        let url = HttpUrl::parse("http://name.test/write").unwrap();
        let client = client(&url, &TlsConfig::default(), SHORT).with_host(host);
        let error = shown(post(&client, &url, "body").await.unwrap_err());
        assert!(error.ends_with("within 300ms (delivery.timeout)"), "{error}");
        assert_eq!(post(&client, &url, "body").await.unwrap().class(), StatusClass::Success);
        assert_eq!(old.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_timeout() {
    let server = ScriptedServer::start(|_, _| ScriptedAnswer::Hang);
    let start = Instant::now();
    let error = shown(request(&server, SHORT).await.unwrap_err());
    assert!(start.elapsed() >= SHORT && start.elapsed() < SHORT * 200);
    assert!(error.contains("no reply from http://127.0.0.1:"), "{error}");
    assert!(error.ends_with("within 300ms (delivery.timeout)"), "{error}");
}

#[tokio::test]
async fn a_connection_on_which_the_server_went_silent_is_not_used_again() {
    // As after a firewall has lost the connection: only a new one gets a reply.
    let script = |number: usize, _: &_| match number {
        1 => ScriptedAnswer::Hang,
        _ => ScriptedAnswer::status(204, ""),
    };
    let servers = [
        (ScriptedServer::start(script), HttpVersion::One),
        #[cfg(feature = "otlp")]
        (ScriptedServer::start_http2(None, script), HttpVersion::Two),
    ];
    for (server, version) in servers {
        let url = HttpUrl::parse(&format!("http://{}/write", server.address)).unwrap();
        let client = client_of(version, &url, &TlsConfig::default(), SHORT * 3);
        assert!(post(&client, &url, "body").await.is_ok());
        let error = shown(post(&client, &url, "body").await.unwrap_err());
        assert!(error.contains("no reply from"), "{error}");
        assert!(post(&client, &url, "body").await.is_ok(), "{version:?}");
    }
}

#[tokio::test]
async fn an_incomplete_reply_is_an_error() {
    for bytes in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let server = ScriptedServer::start(move |_, _| ScriptedAnswer::Bytes(bytes.into()));
        let error = shown(request(&server, SHORT * 20).await.unwrap_err());
        assert!(error.starts_with("no complete reply from http://127.0.0.1:"), "{bytes}: {error}");
    }
}

#[tokio::test]
async fn a_request_on_a_connection_that_the_server_closes_is_sent_once_more() {
    let closed = || ScriptedAnswer::Bytes(Vec::new());
    // The numbers of the requests that are answered by a closed connection, and the outcome of the
    // second of two requests.
    for (closing, is_sent, requests) in [(vec![1], true, 3), (vec![1, 2], false, 3)] {
        let script = closing.clone();
        let server = ScriptedServer::start(move |count, _| {
            if script.contains(&count) { closed() } else { ScriptedAnswer::status(204, "") }
        });
        let url = HttpUrl::parse(&format!("http://{}/write", server.address)).unwrap();
        let client = client(&url, &TlsConfig::default(), SHORT * 10);
        post(&client, &url, "one").await.unwrap();
        assert_eq!(post(&client, &url, "two").await.is_ok(), is_sent, "{closing:?}");
        assert_eq!(server.asked().len(), requests, "{closing:?}");
        assert_eq!(server.asked().last().unwrap().body, b"two");
        assert!(post(&client, &url, "three").await.is_ok());
    }
    // A new connection is no reason to send anything again.
    let server = ScriptedServer::start(move |_, _| closed());
    assert!(request(&server, SHORT * 10).await.is_err());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_giant_reply_is_cut_and_keeps_its_status() {
    let body = "x".repeat(10 << 20);
    let server = ScriptedServer::start(move |_, _| ScriptedAnswer::status(503, &body));
    let reply = request(&server, SHORT * 30).await.unwrap();
    assert_eq!(
        (reply.class(), reply.body.len(), reply.is_cut),
        (StatusClass::Transient, 65_536, true)
    );
}

#[tokio::test]
async fn an_endless_reply_is_cut_too() {
    let head = "HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = format!("{head}{}", format!("10000\r\n{}\r\n", "x".repeat(65_536)).repeat(3));
    let server = ScriptedServer::start(move |_, _| ScriptedAnswer::Bytes(endless.clone().into()));
    let reply = request(&server, SHORT * 30).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.body.len(), reply.is_cut), (400, 65_536, true));
}

#[tokio::test]
async fn a_giant_head_is_an_error() {
    let head = format!("HTTP/1.1 400 No\r\nx: {}\r\n\r\n", "x".repeat(4 << 20));
    let server = ScriptedServer::start(move |_, _| ScriptedAnswer::Bytes(head.clone().into()));
    let error = shown(request(&server, SHORT * 30).await.unwrap_err());
    assert!(error.contains("message head is too large"), "{error}");
}

#[tokio::test]
async fn a_head_as_long_as_influxdb_sends_it_is_read() {
    let long = "x".repeat(70_000);
    let server = ScriptedServer::start(move |_, _| {
        ScriptedAnswer::Reply(400, vec![("x-influxdb-error", long.clone())], b"{}".to_vec())
    });
    assert_eq!(request(&server, SHORT * 30).await.unwrap().class(), StatusClass::InvalidData);
}

#[tokio::test]
async fn retry_after_is_read() {
    let server = ScriptedServer::start(|_, _| {
        ScriptedAnswer::Reply(429, vec![("retry-after", "7".into())], Vec::new())
    });
    let reply = request(&server, SHORT * 10).await.unwrap();
    assert_eq!(reply.retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn refused_connections_and_unknown_names_are_reported() {
    for (url, reason) in [
        ("http://127.0.0.1:1", "tcp connect error: Connection refused"),
        ("http://no-such-host.invalid", "dns error: failed to lookup address information"),
    ] {
        let url = HttpUrl::parse(url).unwrap();
        let client = client(&url, &TlsConfig::default(), SHORT * 60);
        let error = shown(post(&client, &url, "").await.unwrap_err());
        // The texts of the library's layers are left out, because they add nothing.
        assert!(error.starts_with(&format!("cannot connect to {url}: {reason}")), "{error}");
    }
}

/// A certificate authority with the certificates that it has signed, as files.
struct Pki {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), issuer };
        pki.write("ca.pem", &pki.issuer.pem());
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Creates a certificate for a name; returns it and its key as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Starts a server with a certificate for `name`. With `asks`, it requires a client certificate
    /// of this authority.
    fn server(&self, name: &str, asks: bool) -> ScriptedServer {
        let (certificate, key) = self.issue(name);
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = builder.with_single_cert(chain, key).unwrap();
        ScriptedServer::start_tls(config, |_, _| ScriptedAnswer::status(204, ""))
    }
}

async fn request_tls(server: &ScriptedServer, tls: &TlsConfig) -> Result<HttpReply, String> {
    let url = HttpUrl::parse(&format!("https://{}/write", server.address)).unwrap();
    post(&client(&url, tls, SHORT * 30), &url, "body").await.map_err(shown)
}

#[tokio::test]
async fn only_a_server_with_a_trusted_certificate_for_its_name_gets_data() {
    let (pki, other) = (Pki::new(), Pki::new());
    let trusting = |pki: &Pki| TlsConfig { ca_file: pki.path("ca.pem"), ..TlsConfig::default() };
    let good = pki.server("127.0.0.1", false);
    assert_eq!(request_tls(&good, &trusting(&pki)).await.unwrap().class(), StatusClass::Success);

    let error = request_tls(&good, &trusting(&other)).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let misnamed = pki.server("eu.example.net", false);
    let error = request_tls(&misnamed, &trusting(&pki)).await.unwrap_err();
    assert!(error.contains("certificate not valid for name"), "{error}");
    assert!(misnamed.asked().is_empty() && good.asked().len() == 1);
    let plain = ScriptedServer::start(|_, _| ScriptedAnswer::status(204, ""));
    assert!(request_tls(&plain, &trusting(&pki)).await.is_err());

    let careless = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(request_tls(&misnamed, &careless).await.unwrap().class(), StatusClass::Success);
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_one() {
    let pki = Pki::new();
    let server = pki.server("127.0.0.1", true);
    let (certificate, key) = pki.issue("host-1");
    let mut tls = TlsConfig { ca_file: pki.path("ca.pem"), ..TlsConfig::default() };
    assert!(request_tls(&server, &tls).await.is_err());
    tls.cert_file = pki.write("host.pem", &certificate);
    tls.key_file = pki.write("host.key", &key);
    assert_eq!(request_tls(&server, &tls).await.unwrap().class(), StatusClass::Success);
}

#[test]
fn unusable_files_are_named() {
    let pki = Pki::new();
    let url = HttpUrl::parse("https://127.0.0.1").unwrap();
    let error = |tls: TlsConfig| {
        let (url, tls, authorization) = (&url, &tls, None);
        let (timeout, resolve_every) = (SHORT, SHORT);
        let settings = HttpSettings { name: "t", url, tls, authorization, timeout, resolve_every };
        HttpClient::new(settings).unwrap_err().to_string()
    };
    let missing = TlsConfig { ca_file: "/no/such.pem".into(), ..TlsConfig::default() };
    assert_eq!(
        error(missing),
        "`tls.ca_file`: /no/such.pem: cannot be read: No such file or directory (os error 2); create it or \
         correct the path"
    );
    let empty = TlsConfig { ca_file: pki.write("x", "hello"), ..TlsConfig::default() };
    assert!(error(empty).contains("the file contains no PEM certificate"));
    let half = TlsConfig { cert_file: pki.path("ca.pem"), ..TlsConfig::default() };
    assert!(error(half).contains("belong together"));
}

#[test]
fn credentials_are_in_no_debug_output_and_broken_ones_are_an_error() {
    let url = HttpUrl::parse("http://eu:8086").unwrap();
    let shown = format!("{:?}", client(&url, &TlsConfig::default(), SHORT));
    assert!(!shown.contains("canary"), "{shown}");
    let tls = TlsConfig::default();
    let authorization = Some(Secret::new("Token canary\n"));
    let (url, tls, timeout, resolve_every) = (&url, &tls, SHORT, SHORT);
    let settings = HttpSettings { name: "t", url, tls, authorization, timeout, resolve_every };
    let error = HttpClient::new(settings).unwrap_err().to_string();
    assert!(error.contains("cannot be in an HTTP header") && !error.contains("canary"), "{error}");
}
