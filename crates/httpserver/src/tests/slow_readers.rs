//! Clients that do not read, over connections with little room.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::ServerTls;
use crate::accept::SocketPeer;
use crate::activity::Activity;
use crate::connection::Client;

const STALL_MAX: Duration = Duration::from_millis(50);

/// A connection with room for this many bytes, its server, and the end of the connection.
fn connection(room: usize, access: Access) -> (DuplexStream, HttpServer, JoinHandle<()>) {
    let limits = HttpLimits { stall_max: STALL_MAX, ..LIMITS };
    let server = HttpServer::new("test".to_owned(), limits, "hosts", &[], Arc::new(access));
    let (theirs, ours) = tokio::io::duplex(room);
    let (entry, changes) = server.0.gate.enter();
    let peer = SocketPeer::Address(([127, 0, 0, 1], 1).into());
    let client = Client { peer, user: None, entry };
    let activity = Arc::new(Activity::new());
    let serving = server.0.connection(ours, (client, changes), limits, &activity, Site);
    (theirs, server.clone(), tokio::spawn(serving))
}

/// Waits for the end of a connection, far less than for its greatest age.
async fn assert_cut(server: &HttpServer, serving: JoinHandle<()>) {
    tokio::time::timeout(LIMITS.age_max / 6, serving).await.unwrap().unwrap();
    assert_eq!(server.stats().counts().cut_slow, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_a_reply_that_goes_on_is_closed_in_time() {
    let (mut reads_nothing, server, serving) = connection(64, Access::open());
    reads_nothing.write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_cut(&server, serving).await;
}

/// The room is less than the reply, which is less than a TLS session takes.
#[tokio::test]
async fn a_client_with_tls_that_does_not_read_the_end_of_a_reply_is_closed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert_file, key_file] = ["cert", "key"].map(|name| folder.path().join(name));
    std::fs::write(&cert_file, identity.cert.pem()).unwrap();
    std::fs::write(&key_file, identity.signing_key.serialize_pem()).unwrap();
    let tls = ServerTls { cert_file, key_file, ..ServerTls::default() };
    let access = Access::load(&AccessConfig { tls, ..AccessConfig::default() }).unwrap();
    let (theirs, server, serving) = connection(8 << 10, access);

    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut reads_nothing =
        TlsConnector::from(Arc::new(config)).connect(name, theirs).await.unwrap();
    reads_nothing.write_all(b"GET /words HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_cut(&server, serving).await;
}
