//! The server runs in the test's thread, a turn at a time, with real sockets. The data of a client
//! on the same host is readable as soon as its write returns, or the tests wait for it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use basics::units::Span;
use model::Window;
use socket2::SockRef;
use tempfile::TempDir;

use super::*;
use crate::aggregator::AggregationConfig;
use crate::aggregator::handover::AggregatorEnd;
use crate::aggregator::identity::{AgentConfig, Identifier};
use crate::aggregator::registry::Registry;
use crate::aggregator::store::Store;
use crate::listener::config::{TcpConfig, UnixConfig};
use crate::listener::passed::PassedSockets;
use crate::listener::recorder::RecorderContext;
use crate::listener::rejected::{RejectedLog, RejectedMessage};
use crate::listener::signature::SignatureContext;
use crate::listener::stats::ConnectionCounts;
use crate::listener::stream_config::Framing;
use crate::listener::{tcp, unix};
use crate::protocol::{MessageLimits, SignedGauges};

/// Time by which anything that is waited for has happened, unless it never will.
const PATIENCE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(3600);

/// The aggregator's side of a recorder, and the state that they share.
struct Bench {
    context: RecorderContext,
    tallies: AggregatorEnd,
    waker: Arc<Waker>,
    store: Store,
    updates: flume::Sender<ListenerUpdate>,
}

impl Bench {
    fn new(protocol: Protocol, stats: &Arc<ListenerStats>) -> (Self, Recorder) {
        let aggregation = AggregationConfig::default();
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        let registry = Arc::new(Registry::new(&aggregation, Arc::clone(&identifier)));
        let store = Store::new(&aggregation, Duration::from_secs(10), Arc::clone(&registry));
        let context = RecorderContext {
            identifier,
            registry,
            rejected: Arc::new(RejectedLog::new()),
            started: Instant::now(),
            limits: MessageLimits::default(),
            cells: aggregation.cells(None),
            line_cache: 1 << 20,
            rules: Arc::default(),
            rule_cache: 0,
            signatures: SignatureContext::default(),
        };
        let mut tallies = AggregatorEnd::new();
        let waker = Arc::new(Waker::new().unwrap());
        let end = tallies.add_listener("listen-1", Arc::clone(&waker));
        let (updates, receiver) = flume::unbounded();
        let recorder = Recorder::new(context.clone(), protocol, Arc::clone(stats), end);
        (Self { context, tallies, waker, store, updates }, recorder.with_updates(receiver))
    }

    /// The sums of the counters in all tallies handed over so far.
    fn handed_over(&mut self) -> Vec<String> {
        while let Ok(mut handed) = self.tallies.tallies().try_recv() {
            self.store.merge(handed.listener, &mut handed.tally);
            self.tallies.give_back(handed);
        }
        let window = self.store.flush(Window { end_ms: 0, length: Duration::from_secs(10) });
        let shown =
            |point: &model::Point| format!("{} = {}", point.series.name(), point.value.headline());
        let mut points: Vec<String> = window.points.iter().map(shown).collect();
        points.sort();
        points
    }

    fn rejected(&self) -> Vec<RejectedMessage> {
        self.context.rejected.latest()
    }
}

/// A listener that the test serves itself.
struct TestServer {
    server: Server,
    bench: Bench,
    stats: Arc<ListenerStats>,
    path: PathBuf,
    _folder: TempDir,
}

fn stream_config(max_connections: usize, max_line: usize) -> StreamConfig {
    let idle_timeout = Some(Span::from_secs(IDLE.as_secs()));
    StreamConfig { max_connections, idle_timeout, max_line, ..StreamConfig::default() }
}

fn bound_unix(config: StreamConfig) -> (BoundStream, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = UnixConfig { path: path.clone(), mode: 0o660, stream: config };
    let mut none = PassedSockets::default();
    (unix::bind_stream(Protocol::Statsd, &unix, &mut none).unwrap(), path, folder)
}

fn server_with(config: StreamConfig) -> TestServer {
    let (bound, path, folder) = bound_unix(config);
    let stats = Arc::clone(bound.stats());
    let (bench, recorder) = Bench::new(Protocol::Statsd, &stats);
    let server = Server::new(bound, recorder);
    TestServer { server, bench, stats, path, _folder: folder }
}

fn server() -> TestServer {
    server_with(stream_config(10, 64))
}

impl TestServer {
    /// Connects a client, and accepts it.
    fn connect(&mut self) -> UnixStream {
        let client = UnixStream::connect(&self.path).unwrap();
        self.serve();
        client
    }

    /// Serves until no socket is readable.
    fn serve(&mut self) {
        while self.server.turn().unwrap() > 0 {}
    }

    fn send(&mut self, client: &mut UnixStream, bytes: &[u8]) {
        client.write_all(bytes).unwrap();
        self.serve();
    }

    /// The counters of everything that was recorded, after the listener has ended.
    fn finish(mut self) -> Vec<String> {
        self.server.recorder.finish();
        self.bench.handed_over()
    }

    fn connections(&self) -> ConnectionCounts {
        self.stats.connections().unwrap()
    }

    fn closed(&self) -> Vec<(&'static str, u64)> {
        self.connections().closed.into_iter().collect()
    }

    fn received(&self) -> (u64, Vec<(&'static str, u64)>) {
        let counts = self.stats.counts();
        (counts.aggregated, counts.rejected_by_reason().into_iter().collect())
    }

    fn alive(&self) -> Instant {
        self.server.connections.iter().next().unwrap().1.alive
    }
}

/// Whether the server has closed the connection of this client.
fn is_closed(client: &mut UnixStream) -> bool {
    client.set_nonblocking(true).unwrap();
    matches!(client.read(&mut [0]), Ok(0))
}

#[test]
fn a_line_is_recorded_once_it_has_ended() {
    let mut server = server();
    let mut client = server.connect();
    for piece in [b"m:".as_slice(), b"1|", b"c"] {
        server.send(&mut client, piece);
        assert_eq!(server.received(), (0, vec![]), "the line has not ended");
    }
    server.send(&mut client, b"\nn:2|c\r\n\no:");
    assert_eq!(server.received(), (2, vec![]));
    server.send(&mut client, b"4|c\n");
    assert_eq!(server.received(), (3, vec![]));
    assert_eq!(server.stats.counts().bytes, 20);
    assert_eq!(server.stats.counts().datagrams, 0);
    assert_eq!(server.finish(), ["m = 1", "n = 2", "o = 4"]);
}

fn packet(content: &str) -> Vec<u8> {
    [&(content.len() as u32).to_le_bytes(), content.as_bytes()].concat()
}

fn packet_server() -> TestServer {
    server_with(StreamConfig { framing: Framing::LengthPrefixed, ..stream_config(10, 64) })
}

#[test]
fn a_packet_is_recorded_once_it_has_ended() {
    let mut server = packet_server();
    let mut client = server.connect();
    let bytes = [packet("m:1|c\nn:2|c\n"), packet(""), packet("o:3|c|#k:v")].concat();
    for byte in &bytes {
        server.send(&mut client, &[*byte]);
    }
    assert_eq!(server.received(), (3, vec![]));
    server.send(&mut client, &bytes);
    assert_eq!(server.received(), (6, vec![]));
    drop(client);
    server.serve();
    assert_eq!(server.closed(), [("by_peer", 1)]);
    assert_eq!(server.finish(), ["m = 2", "n = 4", "o = 6"]);
}

#[test]
fn a_packet_that_is_too_long_is_one_rejection_and_ends_its_connection() {
    let mut server = packet_server();
    let (mut client, mut other) = (server.connect(), server.connect());
    let bytes = [packet("m:1|c"), packet(&"x".repeat(65)), packet("n:1|c")].concat();
    server.send(&mut client, &bytes);
    assert_eq!(server.received(), (1, vec![("too_long", 1)]));
    assert_eq!(server.closed(), [("bad_packet", 1)]);
    assert!(is_closed(&mut client) && !is_closed(&mut other));
    // Lines without a length are an example.
    server.send(&mut other, b"m:1|c\nm:1|c\n");
    assert_eq!(server.received(), (1, vec![("too_long", 2)]));
    assert_eq!(server.closed(), [("bad_packet", 2)]);
    let rejected = server.bench.rejected();
    assert!(rejected[0].expected.contains("length of a packet"), "{:?}", rejected[0]);
}

#[test]
fn a_packet_without_its_end_is_rejected() {
    let mut server = packet_server();
    for length in [1, 4, 8] {
        let mut client = server.connect();
        server.send(&mut client, &packet("m:1|c")[..length]);
        drop(client);
        server.serve();
    }
    assert_eq!(server.received(), (0, vec![("unfinished", 3)]));
}

#[test]
fn the_lines_of_two_connections_do_not_mix() {
    let mut server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    server.send(&mut a, b"m:1");
    server.send(&mut b, b"n:2");
    server.send(&mut a, b"|c\n");
    server.send(&mut b, b"|c\n");
    assert_eq!(server.received(), (2, vec![]));
    assert_eq!(server.finish(), ["m = 1", "n = 2"]);
}

#[test]
fn a_line_that_is_too_long_is_one_rejection_and_the_next_one_is_recorded() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\nlong");
    for _ in 0..10 {
        server.send(&mut client, &[b'x'; 50]);
    }
    assert_eq!(server.received(), (1, vec![("too_long", 1)]));
    server.send(&mut client, b":1|c\nm:2|c\n");
    assert_eq!(server.received(), (2, vec![("too_long", 1)]));
    let rejected = server.bench.rejected();
    assert!(rejected[0].excerpt.starts_with("longxxx"), "{}", rejected[0].excerpt);
    assert_eq!(rejected[0].offset, 64, "where it became too long");
    assert!(rejected[0].sender.starts_with("unix:"), "{}", rejected[0].sender);
    assert_eq!(server.connections().open, 1);
    assert_eq!(server.finish(), ["m = 3"]);
}

#[test]
fn an_invalid_line_is_counted_with_its_reason_and_its_neighbours_are_recorded() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\nm:x|c\nm:2|c\nm:3|rate\n");
    assert_eq!(server.received(), (2, vec![("bad_value", 1), ("unknown_type", 1)]));
    assert_eq!(server.stats.counts().received(), 4);
}

#[test]
fn a_connection_over_the_limit_takes_the_place_of_the_longest_idle_one() {
    let mut server = server_with(stream_config(2, 64));
    let (mut a, mut b) = (server.connect(), server.connect());
    server.send(&mut a, b"m:1|c\n");
    server.send(&mut b, b"m:");
    let mut c = server.connect();
    assert!(is_closed(&mut b) && !is_closed(&mut a));
    let counts = server.connections();
    assert_eq!((counts.open, counts.accepted), (2, 3));
    assert_eq!(server.closed(), [("evicted", 1)]);
    assert_eq!(server.received(), (1, vec![("unfinished", 1)]));
    drop(a);
    server.serve();
    let mut d = server.connect();
    server.send(&mut c, b"m:2|c\n");
    server.send(&mut d, b"m:4|c\n");
    assert_eq!(server.closed(), [("by_peer", 1), ("evicted", 1)], "there was room for it");
    assert_eq!(server.finish(), ["m = 7"]);
}

#[test]
fn a_connection_whose_line_is_not_read_yet_is_not_idle() {
    let mut server = server_with(stream_config(2, 64));
    let (mut a, b) = (server.connect(), server.connect());
    a.write_all(b"m:1|c\nm:2|").unwrap();
    // The listening socket is served first.
    let _c = UnixStream::connect(&server.path).unwrap();
    server.server.accept(1);
    assert_eq!(server.received(), (1, vec![]));
    assert_eq!(server.closed(), [("evicted", 1)]);
    assert!(is_closed(&mut { b }), "the second one has sent nothing at all");
    server.send(&mut a, b"c\n");
    assert_eq!(server.finish(), ["m = 3"]);
}

#[test]
fn of_busy_connections_one_makes_room_after_its_data_was_read() {
    let mut server = server_with(stream_config(2, 64));
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.write_all(b"m:1|c\nm:2|c").unwrap();
    }
    let _third = UnixStream::connect(&server.path).unwrap();
    server.server.accept(1);
    assert_eq!(server.closed(), [("evicted", 1)]);
    assert_eq!(server.received(), (2, vec![("unfinished", 1)]));
}

#[test]
fn the_last_line_of_a_connection_that_the_peer_closed_needs_no_end() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\nn:2|c");
    assert_eq!(server.received(), (1, vec![]));
    client.shutdown(Shutdown::Write).unwrap();
    server.serve();
    assert_eq!(server.received(), (2, vec![]));
    assert_eq!((server.connections().open, server.closed()), (0, vec![("by_peer", 1)]));
    assert!(is_closed(&mut client));
    assert_eq!(server.finish(), ["m = 1", "n = 2"]);
}

#[test]
fn blanks_at_the_end_of_a_connection_are_no_message() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\n \t\r");
    drop(client);
    server.serve();
    assert_eq!(server.received(), (1, vec![]));
    assert_eq!(server.closed(), [("by_peer", 1)]);
}

#[test]
fn the_rest_of_a_line_that_is_too_long_is_no_message_at_the_end_either() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, &[b'x'; 65]);
    server.send(&mut client, b"m:1|c");
    drop(client);
    server.serve();
    assert_eq!(server.received(), (0, vec![("too_long", 1)]));
}

#[test]
fn a_connection_that_fails_rejects_the_line_that_it_leaves_unfinished() {
    let address = "127.0.0.1:0".parse().unwrap();
    let (allow, stream) = (AllowList::default(), stream_config(10, 64));
    let tcp = TcpConfig { address, allow, stream, tls: None };
    let bound = tcp::bind(Protocol::Statsd, &tcp, &mut PassedSockets::default()).unwrap();
    let address = rustix::net::getsockname(&bound.socket).unwrap();
    let address = SocketAddr::try_from(address).unwrap();
    let stats = Arc::clone(bound.stats());
    let (bench, recorder) = Bench::new(Protocol::Statsd, &stats);
    let mut server = Server::new(bound, recorder);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"m:1|c\nm:22").unwrap();
    let serve_until = |server: &mut Server, is_done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !is_done() && Instant::now() < deadline {
            server.wait(&bench.waker, Some(deadline));
            server.turn().unwrap();
        }
        assert!(is_done());
    };
    serve_until(&mut server, &|| stats.counts().aggregated == 1);
    // Closing it resets the connection.
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    let peer = client.local_addr().unwrap().to_string();
    drop(client);
    serve_until(&mut server, &|| stats.connections().unwrap().open == 0);
    assert_eq!(stats.connections().unwrap().closed, [("failed", 1)].into());
    assert_eq!(stats.counts().rejected_by_reason(), [("unfinished", 1)].into());
    let rejected = bench.rejected();
    assert_eq!((rejected[0].excerpt.as_str(), rejected[0].sender.as_str()), ("m:22", &*peer));
    assert_eq!(rejected[0].offset, 4);
}

#[test]
fn a_tcp_client_that_is_not_allowed_is_refused_before_anything_is_read() {
    let allow = serde_json::from_str(r#"["192.0.2.0/24"]"#).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let tcp = TcpConfig { address, allow, stream: stream_config(10, 64), tls: None };
    let bound = tcp::bind(Protocol::Statsd, &tcp, &mut PassedSockets::default()).unwrap();
    let address = rustix::net::getsockname(&bound.socket).unwrap();
    let stats = Arc::clone(bound.stats());
    let (bench, recorder) = Bench::new(Protocol::Statsd, &stats);
    let mut server = Server::new(bound, recorder);
    let mut client = TcpStream::connect(SocketAddr::try_from(address).unwrap()).unwrap();
    client.write_all(b"m:1|c\n").unwrap();
    server.wait(&bench.waker, Some(Instant::now() + PATIENCE));
    server.turn().unwrap();
    assert_eq!(stats.refused(), [("not_allowed", 1)].into());
    assert_eq!(stats.connections().unwrap().accepted, 0);
    assert_eq!(stats.counts().bytes, 0);
}

#[test]
fn a_connection_without_a_complete_line_is_closed_once_it_was_idle_for_too_long() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|");
    let idle_at = server.alive() + IDLE;
    server.server.run_timers(idle_at.checked_sub(Duration::from_nanos(1)).unwrap());
    assert_eq!(server.connections().open, 1);
    server.server.run_timers(idle_at + SWEEP_MAX);
    assert_eq!((server.connections().open, server.closed()), (0, vec![("idle", 1)]));
    assert_eq!(server.received(), (0, vec![("unfinished", 1)]), "half a line may mean another");
    assert!(is_closed(&mut client));
    assert_eq!(server.server.next_timer(), None, "without connections nothing is searched");
}

#[test]
fn a_line_that_arrived_before_the_search_keeps_a_connection() {
    let mut server = server();
    let mut client = server.connect();
    let idle_at = server.alive() + IDLE;
    client.write_all(b"m:1|c\n").unwrap();
    server.server.close_idle(idle_at);
    assert_eq!((server.connections().open, server.received()), (1, (1, vec![])));
}

#[test]
fn only_a_complete_line_keeps_a_connection_alive() {
    let mut server = server();
    let mut client = server.connect();
    let accepted = server.alive();
    for byte in b"m:1|c" {
        server.send(&mut client, &[*byte]);
    }
    assert_eq!(server.alive(), accepted);
    server.send(&mut client, b"\n");
    assert!(server.alive() > accepted);
    server.server.close_idle(accepted + IDLE);
    assert_eq!(server.connections().open, 1);
    let alive = server.alive();
    server.server.close_idle(alive + IDLE);
    assert_eq!(server.connections().open, 0);
    assert_eq!(server.received(), (1, vec![]), "no line was left unfinished");
}

#[test]
fn idle_connections_are_searched_for_as_often_as_their_timeout_requires() {
    let mut server = server();
    assert_eq!(server.server.next_timer(), None);
    let _client = server.connect();
    assert_eq!(server.server.next_timer(), Some(server.alive() + SWEEP_MAX));
    // A search that finds nothing plans the next one.
    let now = server.alive() + SWEEP_MAX;
    server.server.run_timers(now);
    assert_eq!(server.server.next_timer(), Some(now + SWEEP_MAX));
    for (timeout, pause) in [
        (Some(Span::from_secs(8)), Some(Duration::from_secs(2))),
        (Some(Span::from_millis(1)), Some(SWEEP_MIN)),
        (None, None),
    ] {
        server.server.config.idle_timeout = timeout;
        assert_eq!(server.server.next_sweep(now), pause.map(|pause| now + pause));
    }
}

#[test]
fn accepting_resumes_after_a_pause() {
    let mut server = server();
    server.server.pause_accepting(Errno::MFILE);
    let mut client = UnixStream::connect(&server.path).unwrap();
    client.write_all(b"m:1|c\n").unwrap();
    server.serve();
    assert_eq!(server.connections().accepted, 0);
    let resumes_at = server.server.next_timer().expect("a time at which accepting resumes");
    server.server.run_timers(resumes_at);
    server.serve();
    assert_eq!(server.connections().accepted, 1);
    assert_eq!(server.received(), (1, vec![]), "the kernel kept the connection and its data");
}

#[test]
fn a_connection_with_much_data_leaves_a_turn_to_the_others() {
    let mut server = server_with(stream_config(10, 1 << 20));
    let (mut busy, mut other) = (server.connect(), server.connect());
    let lines = b"busy:1|c\n".repeat(10_000);
    busy.write_all(&lines).unwrap();
    other.write_all(b"other:1|c\n").unwrap();
    assert_eq!(server.server.turn().unwrap(), 2);
    assert_eq!(server.stats.counts().bytes, TURN_BYTES as u64 + 10);
    server.serve();
    assert_eq!(server.received(), (10_001, vec![]));
}

#[test]
fn data_that_is_read_after_the_end_of_a_window_counts_in_the_next_one() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\n");
    client.write_all(b"m:2|c\n").unwrap();
    assert_eq!(server.bench.tallies.announce_edge(), 1);
    server.serve();
    assert_eq!(server.bench.handed_over(), ["m = 1"]);
    assert_eq!(server.finish(), ["m = 2"]);
}

#[test]
fn senders_are_counted_by_process_while_they_are_watched() {
    let mut server = server();
    let mut client = server.connect();
    server.send(&mut client, b"m:1|c\n");
    let _watched_from_now_on = server.stats.senders().report(10);
    server.send(&mut client, b"m:1|c\nbad\nm:2|c");
    drop(client);
    server.serve();
    let report = server.stats.senders().report(10);
    let pid = i32::try_from(std::process::id()).unwrap();
    let traffic = SenderTraffic { datagrams: 0, bytes: 15, messages: 3, rejected: 1 };
    assert_eq!(report.by_sender, [(SenderId::Process(pid), traffic)]);
}

#[test]
fn a_reload_changes_the_limits_and_keeps_open_connections() {
    let mut server = server();
    let (mut a, _b) = (server.connect(), server.connect());
    let endpoint = ListenerEndpoint::Unix(UnixConfig {
        path: server.path.clone(),
        mode: 0o660,
        stream: stream_config(1, 8),
    });
    let context = server.bench.context.clone();
    server
        .bench
        .updates
        .send(ListenerUpdate {
            context,
            endpoint,
            gauges: SignedGauges::default(),
            receive_buffer: None,
        })
        .unwrap();
    server.bench.tallies.call();
    server.server.recorder.hand_over_at_edge();
    let update = server.server.recorder.take_update().expect("an update");
    server.server.apply_update(update);
    assert_eq!(server.connections().open, 2);
    server.send(&mut a, b"m:1|c\nlonger:1|c\n");
    assert_eq!(server.received(), (1, vec![("too_long", 1)]));
    let _third = server.connect();
    assert_eq!(server.connections().open, 1, "it made room until the new limit holds");
    assert_eq!(server.closed(), [("evicted", 2)]);
}

/// Runs a listener that was asked to stop before it started, after `prepare` has used its socket.
fn stopped<C>(prepare: impl FnOnce(&PathBuf) -> C) -> (Bench, Arc<ListenerStats>, C) {
    let (bound, path, _folder) = bound_unix(stream_config(10, 64));
    let stats = Arc::clone(bound.stats());
    let (bench, recorder) = Bench::new(Protocol::Statsd, &stats);
    let clients = prepare(&path);
    bench.waker.stop();
    bound.run(recorder, &bench.waker);
    assert!(!path.exists(), "senders would still find the socket");
    (bench, stats, clients)
}

#[test]
fn a_stop_accepts_waiting_connections_and_reads_what_they_have_sent() {
    let (mut bench, stats, _clients) = stopped(|path| {
        let mut open = UnixStream::connect(path).unwrap();
        open.write_all(&b"m:1|c\n".repeat(20_000)).unwrap();
        let mut closed = UnixStream::connect(path).unwrap();
        closed.write_all(b"n:2|c").unwrap();
        open
    });
    assert_eq!(bench.handed_over(), ["m = 20000", "n = 2"]);
    assert_eq!(stats.connections().unwrap().closed, [("by_peer", 1), ("stopped", 1)].into());
    assert_eq!(bench.tallies.unresponsive().count(), 0, "it handed over its last tally");
}

#[test]
fn a_stop_rejects_the_line_that_an_open_connection_has_not_finished() {
    let (mut bench, stats, mut client) = stopped(|path| {
        let mut client = UnixStream::connect(path).unwrap();
        client.write_all(b"m:1|c\nm:2").unwrap();
        client
    });
    assert_eq!(bench.handed_over(), ["m = 1"]);
    assert_eq!(stats.counts().rejected_by_reason(), [("unfinished", 1)].into());
    assert_eq!(bench.rejected()[0].excerpt, "m:2");
    assert!(is_closed(&mut client));
}

#[test]
fn a_stop_without_connections_waits_for_nothing() {
    let start = Instant::now();
    let (_, stats, ()) = stopped(|_| ());
    assert!(start.elapsed() < DRAIN_QUIET + PATIENCE);
    assert_eq!(stats.connections().unwrap().accepted, 0);
}

#[test]
fn a_running_listener_serves_clients_and_ends_when_it_is_stopped() {
    let (bound, path, _folder) = bound_unix(stream_config(10, 64));
    let stats = Arc::clone(bound.stats());
    let (mut bench, recorder) = Bench::new(Protocol::Statsd, &stats);
    let waker = Arc::clone(&bench.waker);
    let running = std::thread::spawn(move || bound.run(recorder, &waker));
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"m:1|c\n").unwrap();
    // A client that waits for the end of its connection has waited for its data.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.tallies.announce_edge(), 1);
    let mut handed = bench.tallies.tallies().recv_timeout(PATIENCE).unwrap();
    assert!(!handed.is_last && !handed.tally.is_empty());
    bench.store.merge(handed.listener, &mut handed.tally);
    bench.tallies.give_back(handed);
    bench.waker.stop();
    running.join().unwrap();
    assert_eq!(bench.handed_over(), ["m = 1"]);
    assert_eq!(stats.counts().aggregated, 1);
}
