//! The server over real sockets.

mod rule_changes;
mod slow_readers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use basics::address::ListenAddresses;
use basics::tcp_listeners::TcpListeners;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{
    Access, AccessConfig, AccessToken, HttpLimits, HttpServer, HttpServerCounts, LongReply,
    PasswordHash, PathAccess, SiteService, UserName,
};

const LIMITS: HttpLimits = HttpLimits {
    connections_max: 4,
    head_max: Duration::from_secs(60),
    head_bytes_max: 16 << 10,
    stall_max: Duration::from_secs(60),
    last_reply_after: Duration::from_secs(60),
    age_max: Duration::from_secs(60),
};
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// `/` is a word, `/words` are a few thousand, `/ticks` is a word now and then, `/endless` never ends,
/// `/long` ends after 16 MiB, `/guarded` is for the own site only, `/healthz` needs no credentials.
#[derive(Clone)]
struct Site;

/// Words, or blocks of 64 KiB.
enum Chunks {
    Words(u64),
    Blocks(u64),
    /// A word now and then.
    Ticks(tokio::time::Interval),
}

/// More blocks than the buffers of a connection can hold.
const LONG: u64 = 256;

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (left, chunk): (_, &'static [u8]) = match &mut *self {
            Self::Ticks(ticks) => {
                return ticks.poll_tick(context).map(|_| Some(Ok(Frame::data("word".into()))));
            }
            Self::Words(left) => (left, b"word"),
            Self::Blocks(left) => (left, &[0; 65536]),
        };
        let chunk = (*left > 0).then(|| Ok(Frame::data(Bytes::from_static(chunk))));
        *left = left.saturating_sub(1);
        Poll::Ready(chunk)
    }
}

impl SiteService for Site {
    type Body = Chunks;

    fn access(&self, path: &str) -> PathAccess {
        match path {
            "/guarded" => PathAccess::OwnSite,
            "/healthz" => PathAccess::Health,
            _ => PathAccess::Open,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Chunks> {
        let blocks = match request.uri().path() {
            "/endless" => u64::MAX,
            "/long" => LONG,
            "/ticks" => {
                let ticks = tokio::time::interval(Duration::from_millis(10));
                return Response::new(Chunks::Ticks(ticks));
            }
            "/words" => return Response::new(Chunks::Words(3_000)),
            _ => return Response::new(Chunks::Words(1)),
        };
        let mut reply = Response::new(Chunks::Blocks(blocks));
        reply.extensions_mut().insert(LongReply);
        reply
    }
}

struct Serving {
    address: SocketAddr,
    server: HttpServer,
}

async fn start(limits: HttpLimits) -> Serving {
    start_with(limits, Access::open()).await
}

async fn start_with(limits: HttpLimits, access: Access) -> Serving {
    let any = ListenAddresses::parse("127.0.0.1:0").unwrap();
    let sockets = TcpListeners::bind(&any).await.unwrap();
    let address = sockets.local_addresses().next().unwrap();
    let server = HttpServer::new("test".to_owned(), limits, "hosts", &[], Arc::new(access));
    let running = server.clone();
    tokio::spawn(async move { running.serve(sockets, Site).await });
    Serving { address, server }
}

impl Serving {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn open(&self, request: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        stream
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.open(request.as_bytes()).await;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    fn counts(&self) -> HttpServerCounts {
        self.server.stats().counts()
    }

    async fn wait_until(&self, is_met: impl Fn(HttpServerCounts) -> bool) {
        let began = Instant::now();
        while !is_met(self.counts()) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", self.counts());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Whether the server has closed a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(60), reading).await.is_ok()
}

#[tokio::test]
async fn a_new_connection_replaces_the_one_that_did_nothing_for_longest() {
    let serving = start(LIMITS).await;
    let mut first = serving.connect().await;
    serving.wait_until(|counts| counts.open == 1).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(serving.open(REQUEST).await);
    }
    for stream in &mut others {
        let mut reply = [0; 15];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"HTTP/1.1 200 OK");
    }
    let reply = serving.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(is_closed(&mut first).await);
    assert_eq!(serving.counts().cut_full, 1);
}

#[tokio::test]
async fn clients_that_do_nothing_delay_no_other_client() {
    let serving = start(LIMITS).await;
    let mut held = Vec::new();
    for number in 0..40 {
        let request: &[u8] = if number % 2 == 0 { b"" } else { b"GET /endless HTTP/1.1\r\n\r\n" };
        held.push(serving.open(request).await);
    }
    serving.wait_until(|counts| counts.accepted == 40).await;
    let began = Instant::now();
    let reply = serving.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(serving.counts().cut_full, 37);
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_closed_in_time() {
    let serving = start(HttpLimits { head_max: Duration::from_millis(50), ..LIMITS }).await;
    let mut silent = serving.connect().await;
    let mut slow = serving.open(b"GET / HT").await;
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
    serving.wait_until(|counts| counts.cut_slow == 2 && counts.open == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_in_time() {
    let serving = start(HttpLimits { stall_max: Duration::from_millis(50), ..LIMITS }).await;
    let _reads_nothing = serving.open(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    serving.wait_until(|counts| counts.cut_slow == 1 && counts.open == 0).await;
}

#[tokio::test]
async fn a_long_reply_lasts_as_long_as_its_client_reads() {
    let limits = HttpLimits { age_max: Duration::from_millis(200), ..LIMITS };
    let serving = start(limits).await;
    let mut reader = serving.open(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (mut buffer, began) = (vec![0; 65536], Instant::now());
    while began.elapsed() < limits.age_max * 5 {
        assert!(reader.read(&mut buffer).await.unwrap() > 0);
    }
    assert_eq!(serving.counts().cut_slow, 0);
    let mut idle = serving.connect().await;
    assert!(is_closed(&mut idle).await, "an idle one is closed at that age");
}

#[tokio::test]
async fn a_long_reply_has_ended_when_the_kernel_has_all_of_it() {
    let serving = start(LIMITS).await;
    let _other = serving.open(REQUEST).await;
    let request = b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut reader = serving.open(request).await;
    let (mut received, mut buffer) = (reader.read(&mut [0; 1]).await.unwrap(), vec![0; 65536]);
    let mut ended = Box::pin(serving.server.long_replies_ended());
    let soon = tokio::time::timeout(Duration::from_millis(20), &mut ended).await;
    assert!(soon.is_err(), "the client has read one byte");
    let reading = async {
        loop {
            match reader.read(&mut buffer).await.unwrap() {
                0 => return received,
                bytes => received += bytes,
            }
        }
    };
    let (received, ()) = tokio::join!(reading, ended);
    assert!(received > LONG as usize * 65536, "{received}");
}

#[tokio::test]
async fn a_refused_request_is_answered_and_counted() {
    let serving = start(LIMITS).await;
    for (headers, status) in [
        ("Host: evil.example\r\n", "HTTP/1.1 403"),
        ("Host: x\r\nHost: x\r\n", "HTTP/1.1 400"),
        ("Host: x\r\nSec-Fetch-Site: cross-site\r\n", "HTTP/1.1 403"),
        ("Host: x\r\n", "HTTP/1.1 200"),
    ] {
        let request = format!("GET /guarded HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let reply = serving.ask(&request).await;
        assert!(reply.starts_with(status), "{headers}: {reply}");
    }
    assert_eq!(serving.counts().refused_requests, 3);
}

/// Access for a user `a` with this password, and for a token.
fn restricted(password: &str) -> Access {
    Access::load(&restriction(password)).unwrap()
}

fn restriction(password: &str) -> AccessConfig {
    let hash = bcrypt::hash_with_salt(password, 4, [3; 16]).unwrap().to_string();
    let user = UserName::try_from("a".to_owned()).unwrap();
    AccessConfig {
        users: [(user, PasswordHash::parse(&hash).unwrap())].into(),
        tokens: vec![AccessToken::parse("0123456789abcdef").unwrap()],
        ..AccessConfig::default()
    }
}

#[tokio::test]
async fn a_request_needs_the_credentials_of_the_latest_configuration() {
    let serving = start_with(LIMITS, restricted("old")).await;
    let status = async |path: &str, credentials: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n{credentials}Connection: close\r\n\r\n");
        serving.ask(&request).await[9..12].to_owned()
    };
    let [old, new] =
        ["YTpvbGQ=", "YTpuZXc="].map(|pair| format!("Authorization: Basic {pair}\r\n"));
    let token = "Authorization: Bearer 0123456789abcdef\r\n";
    for (credentials, expected) in
        [("", "401"), (&old, "200"), (&old, "200"), (&new, "401"), (token, "200")]
    {
        assert_eq!(status("/", credentials).await, expected, "{credentials}");
    }
    assert_eq!(status("/healthz", "").await, "200");
    serving.server.reconfigure(LIMITS, &[], Arc::new(restricted("new")));
    assert_eq!((status("/", &old).await, status("/", &new).await), ("401".into(), "200".into()));
    serving.server.reconfigure(LIMITS, &[], Arc::new(Access::open()));
    assert_eq!(status("/", "").await, "200");
    let denied = serving.counts().denied_requests;
    assert_eq!(denied[..2], [("no_credentials", 1), ("wrong_credentials", 2)]);
    assert_eq!(
        serving.server.stats().refused_access().load(std::sync::atomic::Ordering::Relaxed),
        3
    );
}
