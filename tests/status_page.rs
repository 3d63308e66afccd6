//! The status page in a real browser, and its protection against other sites.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;
use serde_json::json;

/// Opens the page of a daemon in a browser; returns the document after some seconds of its script, and
/// the messages on the console.
fn opened(browser: &str, address: SocketAddr) -> (String, String) {
    opened_at(browser, &format!("http://{address}/"))
}

fn opened_at(browser: &str, url: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .env("HOME", profile.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let console = text(output.stderr);
    let console = console.lines().filter(|line| line.contains("CONSOLE"));
    (text(output.stdout), console.collect::<Vec<_>>().join("\n"))
}

/// The markup inside the element with this `id`.
fn part<'a>(document: &'a str, id: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("id=\"{id}\"")).unwrap();
    rest.split("<h2>").next().unwrap()
}

#[test]
fn a_browser_shows_the_numbers_of_the_ledger() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let daemon = Daemon::start(
        "interval: 200ms\nforwarders:\n  file: { path: DIR/points }\n  console: { name: screen }\n",
    );
    daemon.send_paced((0..1234).map(|number| {
        format!(r#"{{"metric_name":"m{}","metric_type":"counter","host":"{number}"}}"#, number % 3)
    }));
    daemon.send("nonsense");
    daemon.wait_received(1235);
    daemon.wait_for("all points", |status| {
        let forwarder = &status["forwarders"]["file"];
        forwarder["flushed"] == 1234 && forwarder["delivered"] == 1234
    });
    let (document, console) = opened(&browser, daemon.admin);
    assert_eq!(console, "", "the browser complains");
    let ledger = part(&document, "ledger");
    for number in ["1,235<small>samples received", "1,234<small>aggregated", "1<small>rejected"] {
        assert!(ledger.contains(number), "{number}: {ledger}");
    }
    assert_eq!(ledger.matches("✓ adds up").count(), 2, "{ledger}");
    assert!(ledger.contains("bad_json 1"), "{ledger}");
    let listeners = part(&document, "listeners");
    assert!(listeners.contains(&format!("json/udp {}", daemon.udp)), "{listeners}");
    let forwarders = part(&document, "forwarders");
    assert!(forwarders.contains("screen") && forwarders.contains("1,234"), "{forwarders}");
    assert!(!forwarders.contains('✗'), "{forwarders}");
    let series = part(&document, "series");
    let (loud, wide) = series.split_once("Most series").unwrap();
    for (metric, samples) in [("m0", 412), ("m1", 411), ("m2", 411)] {
        assert!(wide.contains(&format!("{metric}</span>")), "{wide}");
        assert!(wide.contains(&format!(">{samples}</span>")), "{wide}");
    }
    assert!(loud.contains("Most samples, last window"), "{loud}");
    assert!(part(&document, "rejected").contains("nonsense"));
    // All four charts have a line.
    assert_eq!(document.matches("class=\"line\" d=\"M").count(), 4);
    assert!(document.contains("1 thing to look at"), "the rejected message");
}

#[test]
fn a_browser_shows_the_metrics_with_the_most_samples() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let daemon = Daemon::start("interval: 10s\nforwarders: { file: { path: DIR/points } }\n");
    let of = |name: &'static str, count: usize| {
        (0..count).map(move |_| format!(r#"{{"metric_name":"{name}","metric_type":"counter"}}"#))
    };
    let last_window = || {
        let (_, top) = daemon.get("/api/v1/top?parts=metrics");
        let metrics = serde_json::from_str::<serde_json::Value>(&top).unwrap()["metrics"].take();
        let rows = metrics["top"].as_array().unwrap().iter();
        let samples: Vec<_> = rows.map(|row| row["window_samples"].as_u64().unwrap()).collect();
        (samples, metrics["window_end"].clone())
    };
    daemon.wait_for("the end of the first window, which the start cut", |status| {
        status["windows"]["closed"] != 0
    });
    // A window may end during the sending, or while the page is open.
    for _attempt in 0..6 {
        let before = daemon.status()["windows"]["closed"].clone();
        daemon.send_paced(of("quiet", 60).chain(of("loud", 1200)));
        daemon.wait_for("the window", |status| status["windows"]["closed"] != before);
        let (samples, end) = last_window();
        if samples != [1200, 60] {
            continue;
        }
        let (document, console) = opened(&browser, daemon.admin);
        assert_eq!(console, "", "the browser complains");
        if last_window().1 != end {
            continue;
        }
        let series = part(&document, "series");
        let (loud, _) = series.split_once("Most series").unwrap();
        let (first, second) = loud.split_once("quiet</span>").unwrap();
        assert!(first.contains("loud</span>") && first.contains(">120 /s</span>"), "{loud}");
        assert!(second.contains(">6 /s</span>"), "{loud}");
        return;
    }
    panic!("never was all in one window");
}

#[test]
fn a_browser_shows_a_hint_while_there_is_no_sample_and_groups_equal_rejections() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let daemon = Daemon::start("interval: 200ms\n");
    let (document, console) = opened(&browser, daemon.admin);
    assert_eq!(console, "", "the browser complains");
    let command = format!("tallyd send --to udp://{} user.logins counter", daemon.udp);
    assert!(part(&document, "hint").contains(&command), "{document}");
    for _ in 0..7 {
        daemon.send("nonsense");
    }
    daemon.send("other");
    daemon.wait_received(8);
    let (document, _) = opened(&browser, daemon.admin);
    assert!(document.contains("<div id=\"hint\" data-words=\"\"></div>"), "{document}");
    let rejected = part(&document, "rejected");
    assert_eq!(rejected.matches("class=\"message\"").count(), 2, "{rejected}");
    assert!(rejected.contains("7 times"), "{rejected}");
    assert!(part(&document, "ledger").contains("not valid JSON"), "{document}");
}

#[test]
fn a_browser_searches_a_hundred_thousand_series_and_shows_a_chart_of_one() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let daemon = Daemon::start(
        "interval: 1s\naggregation: { max_series: 200000, max_series_per_metric: 200000 }\nbind_port: 0\n\
         listeners: [{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }]\n\
         forwarders: { file: { path: DIR/points } }\n",
    );
    let mut lines: String =
        (0..100_000).map(|n| format!("m.{}:{n}|g|#host:web-{n}\n", n % 1000)).collect();
    lines += "queue.depth:42|g|#host:web-1\n";
    let mut tcp = TcpStream::connect(daemon.address("statsd/tcp")).unwrap();
    tcp.write_all(lines.as_bytes()).unwrap();
    daemon.wait_for("all series", |status| status["series"]["total"] == 100_001);
    daemon.wait_for("a window", |status| status["windows"]["points"].as_u64() > Some(0));
    let (document, console) = opened_at(&browser, &format!("http://{}/#values=m.77", daemon.admin));
    assert_eq!(console, "", "the browser complains");
    let values = part(&document, "values");
    // `m.77` and `m.770` to `m.779`, each with 100 series.
    assert!(values.contains("and 1,080 other series"), "{values}");
    assert!(values.contains(">m.77<small>host=web-"), "{values}");
    assert!(part(&document, "chart").find("class=\"line\"").is_none(), "nothing is chosen");
    // The chart of the only series that matches: its level, while further values are recorded.
    let sending = std::thread::spawn(move || {
        for _ in 0..200 {
            if tcp.write_all(b"queue.depth:+1|g|#host:web-1\n").is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let (document, console) =
        opened_at(&browser, &format!("http://{}/#values=queue", daemon.admin));
    assert_eq!(console, "", "the browser complains");
    let chart = part(&document, "chart");
    assert!(chart.contains("queue.depth") && chart.contains("host=web-1"), "{chart}");
    assert_eq!(daemon.status()["values"]["watched"], 1);
    drop(daemon);
    sending.join().unwrap();
}

#[test]
fn a_chart_is_recorded_while_it_is_watched() {
    let daemon = Daemon::start(
        "interval: 200ms\nadmin: { listen: \"127.0.0.1:0\", series: { max_watched: 1 } }\n",
    );
    let chart = |query: &str| -> (u16, serde_json::Value) {
        let (status, body) = daemon.get(&format!("/api/v1/chart?{query}"));
        (status, serde_json::from_str(&body).unwrap_or_default())
    };
    let query = "name=m&type=gauge&tag=host%3Da";
    assert_eq!(chart(query), (200, json!({ "interval_s": 0.2, "points": [] })));
    assert_eq!(chart("name=m&type=gauge&tag=host%3Db").0, 429);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        daemon.send(r#"{"metric_name":"m","metric_type":"gauge","value":7,"host":"a"}"#);
        daemon.send(r#"{"metric_name":"m","metric_type":"gauge","value":8,"host":"b"}"#);
        let points = chart(query).1["points"].take();
        let values: Vec<_> = points.as_array().unwrap().iter().map(|one| &one["value"]).collect();
        assert!(values.iter().all(|value| value.is_null() || **value == 7.0), "{points}");
        if values.iter().filter(|value| value.is_number()).count() > 2 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{points}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let values = daemon.status()["values"].take();
    assert_eq!((&values["watched"], &values["watches_refused"]), (&json!(1), &json!(1)));
}

#[test]
fn a_browser_folds_the_notices_of_many_destinations() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let down: String = (0..7)
        .map(|number| {
            format!("  - {{ name: d{number}, url: \"http://127.0.0.1:1\", database: d }}\n")
        })
        .collect();
    let daemon = Daemon::start(&format!("interval: 200ms\nforwarders:\n  influxdb:\n{down}"));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    daemon.wait_for("seven failures", |status| {
        let forwarders = status["forwarders"].as_object().unwrap();
        forwarders.values().filter(|one| one["up"] == false).count() == 7
    });
    let (document, console) = opened(&browser, daemon.admin);
    assert_eq!(console, "", "the browser complains");
    let (shown, rest) = document.split_once("<details>").unwrap();
    let (folded, _) = rest.split_once("</details>").unwrap();
    let notices = |text: &str| text.matches("cannot deliver: ").count();
    assert_eq!((notices(shown), notices(folded)), (4, 3));
    assert!(folded.contains("and 3 more</summary>") && shown.contains("7 things to look at"));
}

#[test]
fn client_data_is_shown_as_text_only() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let daemon = Daemon::start("interval: 200ms\n");
    let attack =
        r#"<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>"#;
    daemon.send(json!({"metric_name": attack, "metric_type": "counter"}).to_string());
    daemon.send(attack);
    daemon.send(format!("{{\"metric_name\": \"m\", \"metric_type\": \"{attack}"));
    daemon.wait_received(3);
    let (document, console) = opened(&browser, daemon.admin);
    assert_eq!(console, "", "nothing had to be kept from running");
    assert!(document.contains("<title>tallyd</title>"));
    assert!(!document.contains("<img"), "{document}");
    assert_eq!(document.matches("<script").count(), 1, "the page's own");
    let shown = "&lt;img src=x onerror=";
    assert!(part(&document, "series").contains(shown), "{document}");
    assert!(part(&document, "rejected").matches(shown).count() == 2, "{document}");
}

#[test]
fn the_page_reports_that_the_daemon_does_not_answer() {
    let Some(browser) = real_server("TALLYD_TEST_CHROMIUM") else { return };
    let page = get(&Daemon::start(""), "/", "localhost");
    // The page was loaded from a daemon that no longer exists.
    let left = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = left.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in left.incoming().map_while(Result::ok) {
            let mut head = [0; 6];
            if stream.read_exact(&mut head).is_ok() && head == *b"GET / " {
                // The browser may close the connection early.
                let _enough = stream.write_all(page.as_bytes());
            }
        }
    });
    let (document, _) = opened(&browser, address);
    assert!(document.contains("The daemon has not answered since "), "{document}");
    assert!(document.contains("no answer</p>"), "{document}");
}

/// Sends a raw request and returns the raw response.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn get(daemon: &Daemon, path: &str, host: &str) -> String {
    raw(daemon, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

#[test]
fn the_page_is_one_document_that_runs_only_its_own_script() {
    let daemon = Daemon::start("");
    let reply = get(&daemon, "/", "localhost");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
    let policy = policy.unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(nonce.len(), 32);
    assert_eq!(body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!body.contains("NONCE") && !body.contains("/* SCRIPT */"));
    let outside = body.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"), "from elsewhere");
    assert!(!get(&daemon, "/", "localhost").contains(nonce), "used once");
}

#[test]
fn client_data_is_not_served_under_a_foreign_name() {
    let daemon = Daemon::start("admin: { listen: \"127.0.0.1:0\", hosts: [metrics.example] }\n");
    for path in ["/", "/api/v1/status", "/api/v1/rejected", "/api/v1/history"] {
        let reply = get(&daemon, path, "evil.example:9495");
        assert!(reply.starts_with("HTTP/1.1 403"), "{path}: {reply}");
        assert!(reply.contains("admin: {hosts: […]}"), "it says what to change: {reply}");
        for own in ["metrics.example", "127.0.0.1:9495", "localhost"] {
            assert!(get(&daemon, path, own).starts_with("HTTP/1.1 200"), "{path} by {own}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(get(&daemon, path, "evil.example").starts_with("HTTP/1.1 200"), "{path}");
    }
}

#[test]
fn the_endpoint_is_read_only() {
    let daemon = Daemon::start("");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = format!(
            "{method} /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(raw(&daemon, &request).starts_with("HTTP/1.1 405"), "{method}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(40_000));
    let reply = raw(&daemon, &long);
    assert!(reply.starts_with("HTTP/1.1 4"), "{reply}");
}

#[test]
fn silent_connections_are_closed_and_lock_no_client_out() {
    let daemon = Daemon::start("");
    // More connections than the limit, each with half a request.
    let mut idle: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.admin).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    assert!(get(&daemon, "/healthz", "localhost").starts_with("HTTP/1.1 200"));
    // The first connections had to make room. With unread bytes, that is a reset.
    idle[0].set_read_timeout(Some(PATIENCE)).unwrap();
    match idle[0].read(&mut [0]) {
        Ok(0) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        Ok(_) => panic!("answered without a request"),
    }
}

#[test]
fn the_history_is_available_when_the_page_is_opened() {
    let daemon = Daemon::start("");
    daemon.send("nonsense");
    daemon.wait_received(1);
    let reply: serde_json::Value = serde_json::from_str(&daemon.get("/api/v1/history").1).unwrap();
    let totals = reply["totals"].as_array().unwrap();
    let last = totals.last().unwrap();
    assert_eq!((&last["received"], &last["rejected"]), (&json!(1), &json!(1)));
    let times: Vec<f64> = totals.iter().map(|one| one["uptime_s"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}
