//! The HTTP client that destinations and commands share: reqwest, without everything that could send
//! data elsewhere or twice.
//!
//! No proxy, no redirects, no cookies, no retries, and HTTP/1.1 only, unless the caller knows that the
//! server speaks HTTP/2. The callers set time limits and the bound of a body.

use std::error::Error;
use std::io;
use std::pin::Pin;

use hyper::body::Body as _;
#[cfg(feature = "tls")]
pub mod pinned;

pub use reqwest;
use reqwest::header::HeaderMap;
use reqwest::{Body, ClientBuilder, Response, redirect, retry};

/// A client for `http://` URLs.
///
/// # Errors
/// Never. Where TLS is compiled, its settings can fail.
#[cfg(not(feature = "tls"))]
pub fn plain() -> io::Result<ClientBuilder> {
    Ok(restricted())
}

/// A client for `http://` URLs. Where TLS is compiled, reqwest needs settings for it even if they are
/// never used; these trust no server, and load no certificates.
///
/// # Errors
/// When the TLS library refuses its own defaults.
#[cfg(feature = "tls")]
pub fn plain() -> io::Result<ClientBuilder> {
    let config = tls().map_err(io::Error::other)?;
    let roots = rustls::RootCertStore::empty();
    Ok(with_tls(config.with_root_certificates(roots).with_no_client_auth()))
}

/// A client for `https://` URLs too.
#[cfg(feature = "tls")]
pub fn with_tls(config: rustls::ClientConfig) -> ClientBuilder {
    restricted().tls_backend_preconfigured(config)
}

/// The TLS library's settings up to the trusted certificates.
///
/// # Errors
/// When the TLS library refuses its own defaults.
#[cfg(feature = "tls")]
pub fn tls()
-> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// Makes a client speak HTTP/2 from the first byte, for servers that are known to: it is neither
/// negotiated nor upgraded to. With TLS, the settings passed to [`with_tls`] must offer `h2` (ALPN).
#[cfg(feature = "http2")]
pub fn over_http2(builder: ClientBuilder) -> ClientBuilder {
    builder.http2_prior_knowledge()
}

fn restricted() -> ClientBuilder {
    ClientBuilder::new()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .http1_only()
        // The caller's time limit is the only one, and no probes: a request without a reply shows that
        // a connection is dead, and servers of gRPC close connections with frequent pings.
        .tcp_user_timeout(None)
        .tcp_keepalive(None)
}

/// The start of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BoundedBody {
    /// Its bytes, up to the bound.
    pub bytes: Vec<u8>,
    /// Whether the body is longer.
    pub is_cut: bool,
}

/// Reads up to `bytes_max` bytes of a body. The connection of a longer body is closed: reading on
/// could take forever.
///
/// # Errors
/// When the connection breaks.
pub async fn read_body(
    response: Response,
    bytes_max: usize,
) -> Result<BoundedBody, reqwest::Error> {
    Ok(read_body_and_trailers(response, bytes_max).await?.0)
}

/// Reads a body like [`read_body`], and the trailers after it: headers that a server knows only at
/// the end. A body that is cut has none.
///
/// # Errors
/// When the connection breaks.
pub async fn read_body_and_trailers(
    response: Response,
    bytes_max: usize,
) -> Result<(BoundedBody, HeaderMap), reqwest::Error> {
    let mut stream: Body = hyper::Response::from(response).into_body();
    let (mut body, mut trailers) = (BoundedBody::default(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(chunk) => {
                let room = bytes_max - body.bytes.len();
                body.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    body.is_cut = true;
                    break;
                }
            }
            // The library bounds the size of headers and trailers.
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((body, trailers))
}

/// The causes of an error, the innermost last, without the URL: its parameters may hold anything.
#[must_use]
pub fn reason(error: &reqwest::Error) -> String {
    let mut reason = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some layers repeat the text of the layer below.
        if !is_wrapper(error, &text) && !reason.ends_with(&text) {
            reason.push_str(if reason.is_empty() { "" } else { ": " });
            reason.push_str(&text);
        }
        cause = error.source();
    }
    if reason.is_empty() { "the request failed".to_owned() } else { reason }
}

/// Whether the server closed or reset the connection before it sent a reply.
#[must_use]
pub fn is_closed(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let is_incomplete = |error: &hyper::Error| error.is_incomplete_message();
        if error.downcast_ref().is_some_and(is_incomplete)
            || error.downcast_ref().is_some_and(is_end_of_connection)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_end_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// Whether a layer of the library only adds that the layer below failed.
fn is_wrapper(error: &(dyn Error + 'static), text: &str) -> bool {
    let is_of_library = ["client error (", "error resolving DNS"];
    error.is::<reqwest::Error>() || is_of_library.iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Gets a page from a server that gives this answer once.
    fn get(answer: &'static str, bytes_max: usize) -> Result<BoundedBody, reqwest::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _request = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let client = plain().unwrap().build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = async { read_body(client.get(url).send().await?, bytes_max).await };
        runtime.block_on(body)
    }

    #[test]
    fn a_body_is_read_up_to_the_bound() {
        for (answer, bytes_max, expected, is_cut) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", 5, "body", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", 4, "body", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", 3, "bod", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nbody", 3, "bod", true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n", 1, "b", true),
            ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", 9, "", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0, "", false),
        ] {
            let body = get(answer, bytes_max).unwrap();
            assert_eq!(body, BoundedBody { bytes: expected.into(), is_cut }, "{answer}");
        }
    }

    #[test]
    fn the_reason_of_an_error_names_only_what_happened() {
        for (answer, reason, has_reply) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbody",
                "error reading a body from connection",
                true,
            ),
            ("", "connection closed before message completed", false),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "invalid HTTP version parsed", true),
        ] {
            let error = get(answer, 9).unwrap_err();
            assert!(super::reason(&error).starts_with(reason), "{}", super::reason(&error));
            assert_eq!(is_closed(&error) && error.is_request(), !has_reply, "{answer}");
        }
    }
}
