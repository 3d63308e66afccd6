//! The client against peers that answer well, slowly, wrongly or not at all, over every kind of
//! socket.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use binrpc::client::Step;
use binrpc::encode::packet;
use binrpc::{
    CallError, Client, Endpoint, Header, Kind, Limits, Options, Request, Timeouts, Value, encode,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener, UnixStream};

/// Long enough that no busy machine runs into it where a reply comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where a reply does not come.
const SOON: Duration = Duration::from_millis(50);

fn options(read: Duration) -> Options {
    let timeouts = Timeouts { read, ..Timeouts::all(PATIENCE) };
    Options { timeouts, ..Options::default() }
}

/// A peer on a Unix stream socket that answers each request with what `answer` makes of its cookie,
/// in these pieces, and then goes on or, with `hangs_up`, closes.
struct Peer {
    endpoint: Endpoint,
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
    Peer { endpoint: Endpoint::Unix(path), connections, _folder: folder }
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
    Header::decode(request).unwrap().unwrap().0.cookie
}

fn reply(cookie: u32, records: &[Value]) -> Vec<u8> {
    let mut payload = Vec::new();
    records.iter().for_each(|record| encode(record, &mut payload));
    packet(Kind::Reply, cookie, &payload)
}

async fn call(client: &mut Client) -> Result<Vec<Value>, CallError> {
    client.call(&Request::new("core.version")).await.map(|reply| reply.records)
}

#[tokio::test]
async fn one_connection_serves_all_calls() {
    let peer = peer(false, |cookie| vec![reply(cookie, &["kamailio".into()])]);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    for _ in 0..100 {
        assert_eq!(call(&mut client).await.unwrap(), ["kamailio".into()]);
    }
    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reply_that_comes_byte_by_byte_is_read() {
    let peer = peer(false, |cookie| {
        reply(cookie, &["kamailio".into(), Value::Int(7)]).iter().map(|byte| vec![*byte]).collect()
    });
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    assert_eq!(call(&mut client).await.unwrap(), ["kamailio".into(), Value::Int(7)]);
    assert!(client.is_connected());
}

#[tokio::test]
async fn a_reply_of_megabytes_is_read() {
    let records = vec![Value::from("x".repeat(1_000).as_str()); 5_000];
    let expected = records.clone();
    let peer = peer(false, move |cookie| vec![reply(cookie, &records)]);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    assert_eq!(call(&mut client).await.unwrap(), expected);
}

#[tokio::test]
async fn a_fault_is_told_and_the_connection_goes_on() {
    let peer = peer(false, |cookie| {
        let mut payload = Vec::new();
        encode(&Value::Int(500), &mut payload);
        encode(&"command core.version not found".into(), &mut payload);
        vec![packet(Kind::Fault, cookie, &payload)]
    });
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
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

/// A peer that misbehaves once for each connection: the error, and that the connection is closed.
async fn misbehaves(hangs_up: bool, answer: fn(u32) -> Pieces) -> CallError {
    let peer = peer(hangs_up, answer);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
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
    // What Kamailio answers where it cannot read a header.
    let error = misbehaves(true, |_| vec![packet(Kind::Fault, 0, &[])]).await;
    assert!(matches!(error, CallError::WrongCookie), "{error:?}");
}

#[tokio::test]
async fn a_request_instead_of_a_reply_closes_the_connection() {
    let error = misbehaves(false, |cookie| vec![packet(Kind::Request, cookie, &[])]).await;
    assert!(matches!(error, CallError::WrongKind), "{error:?}");
}

#[tokio::test]
async fn garbage_closes_the_connection_at_its_first_byte() {
    for answer in [
        (|_| vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]) as fn(u32) -> Pieces,
        |_| vec![vec![0xFF]],
        |cookie| vec![packet(Kind::Reply, cookie, &[0x0F, 0x0F])],
        |cookie| {
            vec![packet(Kind::Reply, cookie, &[0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])]
        },
        // Nested without an end.
        |cookie| vec![packet(Kind::Reply, cookie, &vec![0x03; 1 << 20])],
        // As many values as bytes.
        |cookie| vec![packet(Kind::Reply, cookie, &vec![0x00; 2 << 20])],
    ] {
        let error = misbehaves(false, answer).await;
        assert!(matches!(error, CallError::Garbled(_)), "{error:?}");
    }
    let error = misbehaves(false, |cookie| vec![packet(Kind::Fault, cookie, &[0x00])]).await;
    assert!(matches!(error, CallError::GarbledFault), "{error:?}");
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
    let answer = |cookie| {
        let mut header = Vec::new();
        Header { kind: Kind::Reply, length: u32::MAX as usize, cookie }.encode(&mut header);
        vec![header]
    };
    let error = misbehaves(false, answer).await;
    assert!(matches!(error, CallError::Garbled(_)), "{error:?}");
}

#[tokio::test]
async fn the_limit_on_a_reply_holds_to_the_byte() {
    let text = Value::from("x".repeat(1_000).as_str());
    let peer = peer(false, move |cookie| vec![reply(cookie, std::slice::from_ref(&text))]);
    let length = 1 + 2 + 1_001;
    for (bytes, fits) in [(length, true), (length - 1, false)] {
        let limits = Limits { bytes, ..Limits::default() };
        let mut client =
            Client::new(peer.endpoint.clone(), Options { limits, ..options(PATIENCE) });
        assert_eq!(call(&mut client).await.is_ok(), fits);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_an_error_at_once() {
    let error = misbehaves(true, |_| vec![]).await;
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
    let broken_off = |cookie| vec![reply(cookie, &["kamailio".into()])[..9].to_vec()];
    let error = misbehaves(true, broken_off).await;
    assert!(matches!(error, CallError::Closed(_)), "{error:?}");
}

#[tokio::test]
async fn bytes_behind_a_reply_are_not_taken_for_the_next_one() {
    let answer = |cookie: u32| {
        let mut bytes = reply(cookie, &[Value::Int(1)]);
        bytes.extend(reply(cookie.wrapping_add(1), &[Value::Int(666)]));
        vec![bytes]
    };
    let peer = peer(false, answer);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    for calls in 1..=3 {
        assert_eq!(call(&mut client).await.unwrap(), [Value::Int(1)]);
        assert!(!client.is_connected());
        assert_eq!(peer.connections.load(Ordering::SeqCst), calls);
    }
}

#[tokio::test]
async fn a_peer_that_takes_its_time_with_each_byte_does_not_take_more_than_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 65_536];
        let size = stream.read(&mut request).await.unwrap();
        // Each byte comes well within the limit; all of them would not.
        let bytes = reply(cookie(&request[..size]), &["x".repeat(1_000).as_str().into()]);
        for byte in bytes {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SOON / 10).await;
        }
    });
    let started = Instant::now();
    let mut client = Client::new(Endpoint::Unix(path), options(SOON));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { step: Step::Read, .. }), "{error:?}");
    assert!(!client.is_connected());
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_left_in_time() {
    let peer = peer(false, |_| vec![]);
    let mut client = Client::new(peer.endpoint.clone(), options(SOON));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { step: Step::Read, .. }), "{error:?}");
    assert!(error.to_string().contains("gave no whole reply within 0.05s"), "{error}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_left_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    // Accepted by the kernel, and nobody reads.
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let timeouts = Timeouts { write: SOON, read: SOON, ..Timeouts::all(PATIENCE) };
    let mut client = Client::new(Endpoint::Unix(path), Options { timeouts, ..Options::default() });
    let request = Request::new("core.echo").with("x".repeat(60_000).as_str());
    let error = client.call(&request).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    assert!(!client.is_connected());
    drop(listener);
}

#[tokio::test]
async fn a_call_that_is_dropped_half_way_closes_the_connection() {
    let peer = peer(false, |_| vec![]);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    assert!(tokio::time::timeout(SOON, call(&mut client)).await.is_err());
    assert!(!client.is_connected());
}

#[tokio::test]
async fn nobody_there_is_told_with_the_place() {
    let path = PathBuf::from("/nonexistent/ctl");
    let mut client = Client::new(Endpoint::Unix(path), options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot connect to unix:/nonexistent/ctl: "), "{error}");
}

#[tokio::test]
async fn a_request_that_kamailio_would_not_take_is_not_sent() {
    let peer = peer(false, |cookie| vec![reply(cookie, &[])]);
    let mut client = Client::new(peer.endpoint.clone(), options(PATIENCE));
    let request = Request::new("core.echo").with("x".repeat(70_000).as_str());
    let error = client.call(&request).await.unwrap_err();
    assert!(matches!(error, CallError::RequestTooLong(_)), "{error:?}");
    assert_eq!(peer.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tcp_works_alike() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp:{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = vec![0; 65_536];
        while let Ok(size @ 1..) = stream.read(&mut read).await {
            let bytes = reply(cookie(&read[..size]), &[Value::Int(4)]);
            stream.write_all(&bytes).await.unwrap();
        }
    });
    let mut client = Client::new(endpoint, options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap(), [Value::Int(4)]);
    }
}

/// A peer over UDP that answers with these datagrams.
async fn udp_peer(answer: fn(u32) -> Pieces) -> Endpoint {
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
async fn over_udp_a_reply_is_one_datagram() {
    let endpoint = udp_peer(|cookie| vec![reply(cookie, &[Value::Int(4)])]).await;
    let mut client = Client::new(endpoint, options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap(), [Value::Int(4)]);
    }
    let cut = |cookie: u32| {
        let bytes = reply(cookie, &["kamailio".into(), Value::Int(4)]);
        vec![bytes[..12].to_vec(), bytes[12..].to_vec()]
    };
    let mut client = Client::new(udp_peer(cut).await, options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::Cut), "{error:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn over_udp_a_late_reply_is_nobodys() {
    let endpoint = udp_peer(|cookie| vec![reply(cookie.wrapping_sub(1), &[])]).await;
    let mut client = Client::new(endpoint, options(PATIENCE));
    let error = call(&mut client).await.unwrap_err();
    assert!(matches!(error, CallError::WrongCookie), "{error:?}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn over_a_unix_datagram_socket_a_reply_may_be_several_datagrams() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl");
    let socket = UnixDatagram::bind(&path).unwrap();
    // Sends block there while the other end is full, as Kamailio's do.
    std::thread::spawn(move || {
        let mut read = vec![0; 65_536];
        while let Ok((size, sender)) = socket.recv_from(&mut read) {
            let records = vec![Value::from("x".repeat(500).as_str()); 100];
            let bytes = reply(cookie(&read[..size]), &records);
            for datagram in bytes.chunks(4_400) {
                socket.send_to_addr(datagram, &sender).unwrap();
            }
        }
    });
    let mut client = Client::new(Endpoint::UnixDatagram(path), options(PATIENCE));
    for _ in 0..3 {
        assert_eq!(call(&mut client).await.unwrap().len(), 100);
    }
}
