//! Recognises a page of tallyd: `tallyd check --connect` may run while the daemon does.

use std::net::SocketAddr;
use std::time::Duration;

use httpclient::pinned::PinnedServer;
use httpserver::Access;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::SERVER_NAME;

/// How long the server may take.
const REPLY_MAX: Duration = Duration::from_secs(5);

/// Returns whether the server at `address` is a page of tallyd, with this access. A page that refuses
/// the request is one too.
pub(super) async fn is_ours(address: SocketAddr, access: &Access) -> bool {
    let asked = async {
        match access.certificate() {
            Some(certificate) => shows(address, certificate).await.unwrap_or(false),
            None => says(address).await.unwrap_or(false),
        }
    };
    tokio::time::timeout(REPLY_MAX, asked).await.unwrap_or(false)
}

/// Whether a server without TLS names itself tallyd.
async fn says(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await?;
    let mut reply = Vec::new();
    stream.take(4096).read_to_end(&mut reply).await?;
    let reply = String::from_utf8_lossy(&reply).to_ascii_lowercase();
    let names = [format!("server: {SERVER_NAME}\r\n"), format!("realm=\"{SERVER_NAME}\"")];
    Ok(names.iter().any(|name| reply.contains(name)))
}

/// Whether a server with TLS has this certificate.
async fn shows(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
) -> Result<bool, rustls::Error> {
    let builder = httpclient::tls()?;
    let pinned = PinnedServer::new(certificate.clone());
    let verifier = pinned.verifier(builder.crypto_provider());
    let config = builder.dangerous().with_custom_certificate_verifier(verifier);
    let client = httpclient::with_tls(config.with_no_client_auth()).build();
    let client = client.map_err(|error| rustls::Error::General(error.to_string()))?;
    // A server that requires a certificate of the client has shown its own before.
    let _answer = client.head(format!("https://{address}/")).send().await;
    Ok(pinned.has_met())
}
