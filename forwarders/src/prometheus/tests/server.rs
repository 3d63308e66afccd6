//! Tests the page over a real socket.

use parking_lot::Mutex;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use basics::address::ListenAddresses;
use basics::host_name::HostName;
use basics::tcp_listeners::TcpListeners;
use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bench, LIMITS, each_kind, timer};
use crate::prometheus::PrometheusConfig;
use crate::prometheus::page::{Page, PageFormat};
use crate::prometheus::server::{PageService, Site, limits};
use basics::units::{ByteSize, Span};
use httpserver::{Access, HttpServer};

struct Serving {
    address: std::net::SocketAddr,
    server: HttpServer,
    site: Arc<Site>,
}

async fn start(config: &PrometheusConfig, page: Page) -> Serving {
    let any = ListenAddresses::parse("127.0.0.1:0").unwrap();
    let socket = TcpListeners::bind(&any).await.unwrap();
    let address = socket.local_addresses().next().unwrap();
    let site = Arc::new(Site::new("/metrics"));
    site.current.replace(page);
    let access = Arc::new(Access::open());
    let server = HttpServer::new("page".to_owned(), limits(config), "hosts", &config.hosts, access);
    let (running, service) = (server.clone(), PageService(Arc::clone(&site)));
    tokio::spawn(async move { running.serve(socket, service).await });
    Serving { address, server, site }
}

struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn has(&self, header: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n"))
    }
}

impl Serving {
    async fn ask(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read(&mut stream).await
    }

    async fn get(&self, headers: &str) -> Reply {
        self.ask(&format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await
    }
}

async fn read(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8(bytes[..(end + 2).min(bytes.len())].to_vec()).unwrap();
    Reply { head, body: bytes.split_off((end + 4).min(bytes.len())) }
}

fn page() -> Page {
    Bench::new(LIMITS).window(each_kind())
}

#[tokio::test]
async fn a_scrape_gets_the_format_that_it_asks_for() {
    let serving = start(&PrometheusConfig::default(), page()).await;
    let expected = page();
    let reply = serving.get("").await;
    assert!(reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
    assert!(reply.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(reply.has("vary: accept, accept-encoding") && reply.has("server: tallyd"));
    assert!(reply.has("connection: close"), "{}", reply.head);
    assert_eq!(reply.body, expected.plain(PageFormat::Text));
    let reply = serving.get("Accept: application/openmetrics-text; version=1.0.0\r\n").await;
    assert!(reply.has("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(reply.body, expected.plain(PageFormat::OpenMetrics));
}

#[tokio::test]
async fn a_large_page_is_compressed_for_scrapers_that_accept_gzip() {
    let points = (0..200).map(|n| super::counter(&format!("c{n}"), &[], 1.0)).collect();
    let serving = start(&PrometheusConfig::default(), Bench::new(LIMITS).window(points)).await;
    let plain = serving.get("").await;
    let packed = serving.get("Accept-Encoding: gzip\r\n").await;
    assert!(packed.has("content-encoding: gzip") && packed.body.len() < plain.body.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
}

#[tokio::test]
async fn replies_to_other_paths_and_methods_name_the_valid_ones() {
    let serving = start(&PrometheusConfig::default(), page()).await;
    let reply = serving.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reply.head.starts_with("HTTP/1.1 200") && reply.body.is_empty(), "{}", reply.head);
    assert!(reply.head.contains("content-length: "), "{}", reply.head);
    let reply = serving.ask("GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
    let reply = serving.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reply.head.starts_with("HTTP/1.1 404"), "{}", reply.head);
    assert_eq!(reply.text(), "the page is at /metrics\n");
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    let reply = serving.ask(post).await;
    assert!(reply.head.starts_with("HTTP/1.1 405") && reply.has("allow: get, head"));
}

#[tokio::test]
async fn a_page_that_breaks_openmetrics_is_text_for_scrapers_that_accept_text() {
    let page = Bench::new(LIMITS).window(vec![timer("t", &[], &[-1.0])]);
    let serving = start(&PrometheusConfig::default(), page).await;
    let reply = serving.get("Accept: application/openmetrics-text, text/plain;q=0.5\r\n").await;
    assert!(reply.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    let reply = serving.get("Accept: application/openmetrics-text\r\n").await;
    assert!(reply.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_reply_is_always_one_whole_page_whenever_it_is_replaced() {
    let serving = Arc::new(start(&PrometheusConfig::default(), Page::default()).await);
    let served = Arc::new(Mutex::new(0));
    let scraping: Vec<_> = (0..4)
        .map(|_| {
            let (serving, served) = (Arc::clone(&serving), Arc::clone(&served));
            tokio::spawn(async move {
                for _ in 0..50 {
                    let reply = serving.get("").await;
                    let values: Vec<&str> =
                        super::samples(reply.text()).iter().map(|line| value(line)).collect();
                    assert!(values.is_empty() || values.len() == 300, "{}", values.len());
                    assert!(values.iter().all(|value| *value == values[0]));
                    *served.lock() += 1;
                }
            })
        })
        .collect();
    let mut bench = Bench::new(LIMITS);
    while scraping.iter().any(|task| !task.is_finished()) {
        let points = (0..300).map(|n| super::counter(&format!("c{n}"), &[], 1.0)).collect();
        serving.site.current.replace(bench.window(points));
        tokio::task::yield_now().await;
    }
    for task in scraping {
        task.await.unwrap();
    }
    assert_eq!(*served.lock(), 200);
}

fn value(line: &str) -> &str {
    line.rsplit(' ').next().unwrap()
}

#[tokio::test]
async fn a_connection_too_many_replaces_the_one_that_did_nothing_for_longest() {
    let config = PrometheusConfig { max_connections: 2, ..PrometheusConfig::default() };
    let serving = start(&config, page()).await;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(TcpStream::connect(serving.address).await.unwrap());
    }
    let reply = serving.get("").await;
    assert!(reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
    assert_eq!(serving.server.stats().cut_full().load(Ordering::Relaxed), 4);
    for stream in &mut idle[..4] {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed without a reply");
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_time_limit() {
    let request_timeout = Span::from_millis(100);
    let config = PrometheusConfig { request_timeout, ..PrometheusConfig::default() };
    let serving = start(&config, page()).await;
    let mut idle = TcpStream::connect(serving.address).await.unwrap();
    let mut rest = Vec::new();
    let _closed_or_reset = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_foreign_host_is_refused_unless_it_is_configured() {
    let config = PrometheusConfig {
        hosts: vec![HostName::try_from("own.example".to_owned()).unwrap()],
        ..PrometheusConfig::default()
    };
    let serving = start(&config, page()).await;
    for (host, status) in [
        ("evil.example:9494", "HTTP/1.1 403"),
        ("own.example:9494", "HTTP/1.1 200"),
        ("127.0.0.1:9494", "HTTP/1.1 200"),
    ] {
        let reply = serving.ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(reply.head.starts_with(status), "{host}: {}", reply.head);
    }
    let twice = "GET /metrics HTTP/1.1\r\nHost: x\r\nHost: evil.example\r\n\r\n";
    assert!(serving.ask(twice).await.head.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_long_request_is_refused() {
    let max_request = ByteSize::from_bytes(2048);
    let config = PrometheusConfig { max_request, ..PrometheusConfig::default() };
    let serving = start(&config, page()).await;
    let reply = serving.get(&format!("X: {}\r\n", "x".repeat(4096))).await;
    assert!(reply.head.starts_with("HTTP/1.1 431"), "{}", reply.head);
}
