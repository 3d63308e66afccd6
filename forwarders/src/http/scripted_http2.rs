//! HTTP/2 for the scripted server, with the status of gRPC in the trailers of a reply.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use hyper::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::scripted_exchange::{RecordedRequest, ScriptedAnswer};

/// Serves a connection until the client closes it.
pub(super) fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: &mut dyn FnMut(RecordedRequest) -> ScriptedAnswer,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let served = match tls {
            None => serve_requests(stream, answer).await,
            Some(tls) => serve_requests(TlsAcceptor::from(tls).accept(stream).await?, answer).await,
        };
        served.map_err(io::Error::other)
    })
}

async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &mut dyn FnMut(RecordedRequest) -> ScriptedAnswer,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        // The connection has to be polled while the body arrives.
        let reading = read(request);
        tokio::pin!(reading);
        let asked = tokio::select! {
            asked = &mut reading => asked?,
            _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return Ok(()),
        };
        match answer(asked) {
            ScriptedAnswer::Reply(status, headers, body) => reply(respond, status, &headers, body)?,
            ScriptedAnswer::Bytes(_) => return Ok(()),
            ScriptedAnswer::Hang => {
                // Kept, because a request without an owner would be reset.
                let mut unanswered = vec![respond];
                while let Some(Ok((_, respond))) = connection.accept().await {
                    unanswered.push(respond);
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn read(request: Request<RecvStream>) -> Result<RecordedRequest, h2::Error> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        body.extend_from_slice(&chunk);
        stream.flow_control().release_capacity(chunk.len())?;
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = head.headers.iter();
    Ok(RecordedRequest {
        line: format!("{} {} {:?}", head.method, head.uri.path(), head.version),
        headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body,
    })
}

/// Sends a reply. Headers of gRPC follow the body, or are among the headers if there is none.
fn reply(
    mut respond: SendResponse<Bytes>,
    status: u16,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a status");
    let mut trailers = HeaderMap::new();
    for (name, value) in headers {
        let is_trailer = name.starts_with("grpc-") && !body.is_empty();
        let to = if is_trailer { &mut trailers } else { response.headers_mut() };
        to.insert(*name, value.parse().expect("a value of a header"));
    }
    let mut stream = respond.send_response(response, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(body.into(), false)?;
        stream.send_trailers(trailers)?;
    }
    Ok(())
}
