//! The client against peers that reply correctly, slowly, incorrectly or not at all, over every
//! transport.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use binrpc::encode::packet;
use binrpc::{
    BinrpcClient, BinrpcEndpoint, BinrpcValue, CallError, CallRequest, CallStep, CallTimeouts,
    ClientOptions, DecodeLimits, PacketHeader, PacketKind, encode,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};

/// Time limit where a reply comes, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time limit where no reply comes.
const SOON: Duration = Duration::from_millis(50);

fn options(read: Duration) -> ClientOptions {
    let timeouts = CallTimeouts { read, ..CallTimeouts::all(PATIENCE) };
    ClientOptions { timeouts, ..ClientOptions::default() }
}

/// A peer on a Unix stream socket. It replies to each request with the pieces that `answer` returns
/// for its cookie, and closes the connection afterwards if `hangs_up` is set.
struct Peer {
    endpoint: BinrpcEndpoint,
    connections: Arc<AtomicUsize>,
    _folder: TempDir,
}

type Pieces = Vec<Vec<u8>>;

fn peer(hangs_up: bool, answer: impl Fn(u32) -> Pieces + Send + Sync + 'static) -> Peer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    let listener = UnixListener::bind(&path).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (counter, answer) = (Arc::clone(&connections), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, Arc::clone(&answer), hangs_up));
        }
    });
    Peer { endpoint: BinrpcEndpoint::Unix(path), connections, _folder: folder }
}

async fn serve(
    mut stream: UnixStream,
    answer: Arc<impl Fn(u32) -> Pieces + Send + Sync>,
    hangs_up: bool,
) {
    let mut read = vec![0; 65_536];
    while let Ok(size @ 1..) = stream.read(&mut read).await {
        let cookie = cookie(&read[..size]);
        for piece in answer(cookie) {
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if hangs_up {
            return;
        }
    }
}

fn cookie(request: &[u8]) -> u32 {
    PacketHeader::decode(request).unwrap().unwrap().0.cookie
}

fn reply(cookie: u32, records: &[BinrpcValue]) -> Vec<u8> {
    let mut payload = Vec::new();
    records.iter().for_each(|record| encode(record, &mut payload));
    packet(PacketKind::Reply, cookie, &payload)
}

async fn call(client: &mut BinrpcClient) -> Result<Vec<BinrpcValue>, CallError> {
    client.call(&CallRequest::new("core.version")).await.map(|reply| reply.records)
}

#[tokio::test]
async fn one_connection_serves_all_calls() {
    let peer = peer(false, |cookie| vec![reply(cookie, &["kamailio".into()])]);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    for _ in 0..100 {
        assert_eq!(call(&mut client).await.unwrap(), ["kamailio".into()]);
    }
    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reply_that_arrives_byte_by_byte_is_read() {
    let peer = peer(false, |cookie| {
        reply(cookie, &["kamailio".into(), BinrpcValue::Int(7)])
            .iter()
            .map(|byte| vec![*byte])
            .collect()
    });
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    assert_eq!(call(&mut client).await.unwrap(), ["kamailio".into(), BinrpcValue::Int(7)]);
    assert!(client.is_connected());
}

#[tokio::test]
async fn a_reply_of_megabytes_is_read() {
    let records = vec![BinrpcValue::from("x".repeat(1_000).as_str()); 5_000];
    let expected = records.clone();
    let peer = peer(false, move |cookie| vec![reply(cookie, &records)]);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    assert_eq!(call(&mut client).await.unwrap(), expected);
}

#[tokio::test]
async fn a_fault_is_returned_and_the_connection_stays_open() {
    let peer = peer(false, |cookie| {
        let mut payload = Vec::new();
        encode(&BinrpcValue::Int(500), &mut payload);
        encode(&"command core.version not found".into(), &mut payload);
        vec![packet(PacketKind::Fault, cookie, &payload)]
    });
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    for _ in 0..2 {
        match call(&mut client).await {
            Err(CallError::Fault { fault }) => {
                assert_eq!(fault.code, 500);
                assert!(fault.is_unknown_method());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
}

/// Calls a peer that misbehaves once per connection, and returns the error. Checks that the client
/// closes the connection.
async fn misbehaves(hangs_up: bool, answer: fn(u32) -> Pieces) -> CallError {
    let peer = peer(hangs_up, answer);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    let first = call(&mut client).await.unwrap_err();
    assert!(!client.is_connected(), "{first}");
    let second = call(&mut client).await.unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
    assert_eq!(peer.connections.load(Ordering::SeqCst), 2, "{first}");
    first
}

#[tokio::test]
async fn a_reply_to_another_request_closes_the_connection() {
    let error = misbehaves(false, |cookie| vec![reply(cookie.wrapping_add(1), &[])]).await;
    assert!(matches!(error, CallError::WrongCookie), "{error:?}");
    // The fault that Kamailio sends when it cannot decode a header.
    let error = misbehaves(true, |_| vec![packet(PacketKind::Fault, 0, &[])]).await;
    assert!(matches!(error, CallError::WrongCookie), "{error:?}");
}

#[tokio::test]
async fn a_request_instead_of_a_reply_closes_the_connection() {
    let error = misbehaves(false, |cookie| vec![packet(PacketKind::Request, cookie, &[])]).await;
    assert!(matches!(error, CallError::WrongKind), "{error:?}");
}

#[tokio::test]
async fn garbage_closes_the_connection_at_its_first_byte() {
    for answer in [
        (|_| vec![b"HTTP/1.1 400 Bad CallRequest\r\n\r\n".to_vec()]) as fn(u32) -> Pieces,
        |_| vec![vec![0xFF]],
        |cookie| vec![packet(PacketKind::Reply, cookie, &[0x0F, 0x0F])],
        |cookie| {
            vec![packet(
                PacketKind::Reply,
                cookie,
                &[0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            )]
        },
        // Endless nesting.
        |cookie| vec![packet(PacketKind::Reply, cookie, &vec![0x03; 1 << 20])],
        // More values than allowed, one byte each.
        |cookie| vec![packet(PacketKind::Reply, cookie, &vec![0x00; 2 << 20])],
    ] {
        let error = misbehaves(false, answer).await;
        assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
    }
    let error = misbehaves(false, |cookie| vec![packet(PacketKind::Fault, cookie, &[0x00])]).await;
    assert!(matches!(error, CallError::MalformedFault), "{error:?}");
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_rejected_before_the_records_arrive() {
    let answer = |cookie| {
        let mut header = Vec::new();
        PacketHeader { kind: PacketKind::Reply, length: u32::MAX as usize, cookie }
            .encode(&mut header);
        vec![header]
    };
    let error = misbehaves(false, answer).await;
    assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
}

#[tokio::test]
async fn the_limit_on_a_reply_is_exact() {
    let text = BinrpcValue::from("x".repeat(1_000).as_str());
    let peer = peer(false, move |cookie| vec![reply(cookie, std::slice::from_ref(&text))]);
    let length = 1 + 2 + 1_001;
    for (bytes, fits) in [(length, true), (length - 1, false)] {
        let limits = DecodeLimits { bytes, ..DecodeLimits::default() };
        let mut client =
            BinrpcClient::new(peer.endpoint.clone(), ClientOptions { limits, ..options(PATIENCE) });
        assert_eq!(call(&mut client).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn a_closed_connection_is_an_error_at_once() {
    let error = misbehaves(true, |_| vec![]).await;
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
    let broken_off = |cookie| vec![reply(cookie, &["kamailio".into()])[..9].to_vec()];
    let error = misbehaves(true, broken_off).await;
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn bytes_after_a_reply_are_not_taken_for_the_next_reply() {
    let answer = |cookie: u32| {
        let mut bytes = reply(cookie, &[BinrpcValue::Int(1)]);
        bytes.extend(reply(cookie.wrapping_add(1), &[BinrpcValue::Int(666)]));
        vec![bytes]
    };
    let peer = peer(false, answer);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    for calls in 1..=3 {
        assert_eq!(call(&mut client).await.unwrap(), [BinrpcValue::Int(1)]);
        assert!(!client.is_connected());
        assert_eq!(peer.connections.load(Ordering::SeqCst), calls);
    }
}

#[tokio::test]
async fn the_time_limit_covers_the_whole_reply_of_a_slow_peer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 65_536];
        let size = stream.read(&mut request).await.unwrap();
        // Each byte arrives well within the limit, but the whole reply would not.
        let bytes = reply(cookie(&request[..size]), &["x".repeat(1_000).as_str().into()]);
        for byte in bytes {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SOON / 10).await;
        }
    });
    let started = Instant::now();
    let mut client = BinrpcClient::new(BinrpcEndpoint::Unix(path), options(SOON));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { step: CallStep::Read, .. }), "{error:?}");
    assert!(!client.is_connected());
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_call_to_a_silent_peer_times_out() {
    let peer = peer(false, |_| vec![]);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(SOON));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { step: CallStep::Read, .. }), "{error:?}");
    assert!(error.to_string().contains("did not send a complete reply within 0.05s"), "{error}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_call_to_a_peer_that_does_not_read_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    // The kernel accepts the connection, but no process reads from it.
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let timeouts = CallTimeouts { write: SOON, read: SOON, ..CallTimeouts::all(PATIENCE) };
    let mut client = BinrpcClient::new(
        BinrpcEndpoint::Unix(path),
        ClientOptions { timeouts, ..ClientOptions::default() },
    );
    let request = CallRequest::new("core.echo").with("x".repeat(60_000).as_str());
    let error = client.call(&request).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    assert!(!client.is_connected());
    drop(listener);
}

#[tokio::test]
async fn a_cancelled_call_closes_the_connection() {
    let peer = peer(false, |_| vec![]);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    assert!(tokio::time::timeout(SOON, call(&mut client)).await.is_err());
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_failure_to_connect_names_the_endpoint() {
    let path = PathBuf::from("/nonexistent/ctl");
    let mut client = BinrpcClient::new(BinrpcEndpoint::Unix(path), options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to unix:/nonexistent/ctl: "), "{error}");
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_sent() {
    let peer = peer(false, |cookie| vec![reply(cookie, &[])]);
    let mut client = BinrpcClient::new(peer.endpoint.clone(), options(PATIENCE));
    let request = CallRequest::new("core.echo").with("x".repeat(70_000).as_str());
    let error = client.call(&request).await.unwrap_err();
    assert!(matches!(error, CallError::RequestTooLong(_)), "{error:?}");
    assert_eq!(peer.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tcp_works() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp:{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 65_536];
        while let Ok(size @ 1..) = stream.read(&mut read).await {
            let bytes = reply(cookie(&read[..size]), &[BinrpcValue::Int(4)]);
            stream.write_all(&bytes).await.unwrap();
        }
    });
    let mut client = BinrpcClient::new(endpoint, options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap(), [BinrpcValue::Int(4)]);
    }
}

/// A peer over UDP that replies with the datagrams that `answer` returns.
async fn udp_peer(answer: fn(u32) -> Pieces) -> BinrpcEndpoint {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("udp:{}", socket.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let mut read = vec![0; 65_536];
        while let Ok((size, sender)) = socket.recv_from(&mut read).await {
            for datagram in answer(cookie(&read[..size])) {
                socket.send_to(&datagram, sender).await.unwrap();
            }
        }
    });
    endpoint
}

#[tokio::test]
async fn over_udp_a_reply_is_a_single_datagram() {
    let endpoint = udp_peer(|cookie| vec![reply(cookie, &[BinrpcValue::Int(4)])]).await;
    let mut client = BinrpcClient::new(endpoint, options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap(), [BinrpcValue::Int(4)]);
    }
    let cut = |cookie: u32| {
        let bytes = reply(cookie, &["kamailio".into(), BinrpcValue::Int(4)]);
        vec![bytes[..12].to_vec(), bytes[12..].to_vec()]
    };
    let mut client = BinrpcClient::new(udp_peer(cut).await, options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::Truncated), "{error:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn over_udp_a_late_reply_is_rejected() {
    let endpoint = udp_peer(|cookie| vec![reply(cookie.wrapping_sub(1), &[])]).await;
    let mut client = BinrpcClient::new(endpoint, options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::WrongCookie), "{error:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn over_a_unix_datagram_socket_a_reply_may_span_several_datagrams() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Sends block while the receiver's buffer is full, as they do in Kamailio.
    std::thread::spawn(move || {
        let mut read = vec![0; 65_536];
        while let Ok((size, sender)) = socket.recv_from(&mut read) {
            let records = vec![BinrpcValue::from("x".repeat(500).as_str()); 100];
            let bytes = reply(cookie(&read[..size]), &records);
            for datagram in bytes.chunks(4_400) {
                socket.send_to_addr(datagram, &sender).unwrap();
            }
        }
    });
    let mut client = BinrpcClient::new(BinrpcEndpoint::UnixDatagram(path), options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap().len(), 100);
    }
}
