//! The TLS handshake of a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tlsserver::HandshakeFailure;
use tlsserver::failure::explain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::LoadedTls;

/// Why a client is not connected.
#[derive(Debug)]
pub(crate) struct FailedHandshake {
    pub(crate) reason: HandshakeFailure,
    /// The same for the operator.
    pub(crate) words: String,
}

/// A connection after its handshake, and the certificates that the client sent, its own first.
pub(crate) type SecuredStream<S> = (TlsStream<S>, Vec<CertificateDer<'static>>);

/// Performs the handshake, within `limit`.
///
/// # Errors
/// When the client takes too long, breaks the protocol, or lacks an acceptable certificate.
pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: &LoadedTls,
    limit: Duration,
) -> Result<SecuredStream<S>, FailedHandshake> {
    let acceptor = TlsAcceptor::from(Arc::clone(tls.config()));
    let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => {
            let words = format!("not complete within {limit:?} (`access.handshake_timeout`)");
            return Err(FailedHandshake { reason: HandshakeFailure::Timeout, words });
        }
    };
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().unwrap_or_default().to_vec();
    Ok((stream, certificates))
}

fn failure(error: &io::Error) -> FailedHandshake {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(cause @ rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            let words = format!("the client does not speak TLS: use https:// there ({cause})");
            FailedHandshake { reason: HandshakeFailure::NotTls, words }
        }
        Some(cause) => {
            FailedHandshake { reason: HandshakeFailure::of(cause), words: explain(cause) }
        }
        None => FailedHandshake { reason: HandshakeFailure::Closed, words: error.to_string() },
    }
}
