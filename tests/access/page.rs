//! The Prometheus page, also with a real Prometheus, and the warnings about open addresses.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::prometheus::query;
use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;

use super::client::curl;
use super::{HASH, MUTUAL_TLS, PASSWORD, TLS, TOKEN, TOKENS, USERS, check, folder, start_with};

fn page(keys: &str) -> String {
    let keys = keys.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "forwarders:\n  prometheus:\n    listen: 127.0.0.1:0\n    \
         relay: {{ path: /relay, url: \"http://127.0.0.1:1/\" }}\n    \
         probe: {{ targets: [\"unix:/nonexistent\"] }}\n{keys}"
    )
}

#[test]
fn every_path_of_the_page_needs_the_configured_credentials() {
    let (user, bearer) = (format!("alice:{PASSWORD}"), format!("Authorization: Bearer {TOKEN}"));
    for (keys, scheme, good) in [
        (USERS, "http", ["-u", &user]),
        (TOKENS, "http", ["-H", &bearer]),
        (&format!("{TLS}\n{USERS}"), "https", ["-u", &user]),
    ] {
        let daemon = start_with(folder(), "", &page(keys));
        let ca = daemon.path("ca.pem");
        let trusting = ["--cacert", ca.to_str().unwrap()];
        for path in
            ["/metrics", "/relay", "/probe?target=unix:/nonexistent", "/probe?target=x", "/unknown"]
        {
            let url = format!("{scheme}://{}{path}", daemon.page.unwrap());
            assert_eq!(curl(&trusting, &url).status, 401, "{keys} {path}");
            let wrong = [trusting, ["-u", "alice:wrong"]].concat();
            assert_eq!(curl(&wrong, &url).status, 401, "{keys} {path}");
            let good = curl(&[trusting, good].concat(), &url);
            assert!(![0, 401].contains(&good.status), "{keys} {path}: {good:?}");
        }
        let status = daemon.status();
        assert_eq!(status["forwarders"]["prometheus"]["refused_access"], 10, "{status:#}");
        assert_eq!(status["forwarders"]["prometheus"]["refused_probes"], 1, "{status:#}");
    }
}

#[test]
fn a_reload_with_another_password_keeps_the_totals_of_the_page() {
    let daemon = start_with(folder(), "", &page(USERS));
    daemon.send("{\"metric_name\": \"a\", \"metric_type\": \"counter\"}");
    let user = format!("alice:{PASSWORD}");
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let wait_for_total = |args: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = curl(args, &url);
            if page.text.contains("\na_total 1\n") {
                return;
            }
            assert!(Instant::now() < deadline, "{page:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for_total(&["-u", &user]);
    let status = daemon.reload(&super::config("", &page(TOKENS)));
    assert_eq!(status["reload"]["applied"], 1, "{status:#}");
    assert_eq!(curl(&["-u", &user], &url).status, 401);
    wait_for_total(&["-H", &format!("Authorization: Bearer {TOKEN}")]);
}

#[test]
fn a_page_that_refuses_a_check_is_recognised() {
    for keys in [USERS, TLS, MUTUAL_TLS] {
        let daemon = start_with(folder(), "", &page(keys));
        let config = fs::read_to_string(daemon.path("tallyd.yaml")).unwrap();
        let address = daemon.page.unwrap().to_string();
        let path = daemon.path("other.yaml");
        fs::write(
            &path,
            config.replace("    listen: 127.0.0.1:0", &format!("    listen: {address}")),
        )
        .unwrap();
        let output = common::tallyd().args(["check", "--connect", "--config"]).arg(&path).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat().escape_ascii().to_string();
        assert!(text.contains("prometheus: answers"), "{keys}: {text}");
    }
}

#[test]
fn an_open_address_gives_a_warning_that_says_what_to_do() {
    let at_all = |keys: &str| page(keys).replace("listen: 127.0.0.1:0", "listen: \":0\"");
    for (keys, words) in [
        ("", Some("no authentication")),
        (TLS, Some("no authentication")),
        (USERS, Some("unencrypted")),
        (TOKENS, Some("unencrypted")),
        (&format!("{TLS}\n{USERS}"), None),
        (MUTUAL_TLS, None),
    ] {
        let (is_good, text) = check(&folder(), "", &at_all(keys));
        assert!(is_good, "{keys}: {text}");
        let words_of = |text: &str| {
            let found = ["no authentication", "unencrypted"];
            found.into_iter().find(|words| text.contains(words)).map(str::to_owned)
        };
        assert_eq!(words_of(&text).as_deref(), words, "{keys}: {text}");
        assert_eq!(text.contains("`forwarders.prometheus.listen`"), words.is_some(), "{text}");
    }
    let daemon = start_with(folder(), "", &at_all(""));
    daemon.reload(&super::config("", &at_all("")));
    let warnings = daemon.stop().warnings().join("\n");
    assert_eq!(warnings.matches("no authentication").count(), 2, "{warnings}");
    assert!(warnings.contains("set `users` or `tokens`, and `tls`"), "{warnings}");
}

/// A Prometheus that scrapes one page. Killed when dropped.
struct Scraper {
    child: Child,
    url: String,
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _is_killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn scraper(daemon: &Daemon, program: &str, keys: &str) -> Scraper {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n- job_name: tallyd\n  \
         static_configs: [{{ targets: [\"{}\"] }}]\n{keys}",
        daemon.page.unwrap()
    );
    let file = daemon.path("prometheus.yml");
    let folder = daemon.path("");
    fs::write(&file, config.replace("DIR/", folder.to_str().unwrap())).unwrap();
    let mut prometheus = Command::new(program);
    prometheus.arg(format!("--config.file={}", file.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", daemon.path("data").display()));
    prometheus.arg(format!("--web.listen-address={port}"));
    let child = prometheus.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let scraper = Scraper { child, url: format!("http://{port}") };
    wait_until_ready(port);
    scraper
}

fn wait_until_ready(port: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while curl(&[], &format!("http://{port}/-/ready")).status != 200 {
        assert!(Instant::now() < deadline, "Prometheus does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The value of `up`, as soon as there is one that is wanted.
fn wait_for_up(scraper: &Scraper, wanted: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let up: Vec<f64> = query(&scraper.url, "up").into_values().collect();
        if up == [wanted] {
            return;
        }
        assert!(Instant::now() < deadline, "{up:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_real_prometheus_scrapes_with_each_way_to_authenticate() {
    let Some(promtool) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let program = PathBuf::from(promtool).with_file_name("prometheus");
    let web = format!(
        "tls_server_config: {{ cert_file: server.pem, key_file: server.key }}\nbasic_auth_users: {{ alice: {HASH} }}\n"
    );
    let tls = "  scheme: https\n  tls_config: { ca_file: DIR/ca.pem }\n";
    let basic = format!("  basic_auth: {{ username: alice, password: {PASSWORD} }}\n");
    let bearer = format!("  authorization: {{ credentials: {TOKEN} }}\n");
    let certificate = "  scheme: https\n  tls_config: { ca_file: DIR/ca.pem, cert_file: DIR/client.pem, key_file: DIR/client.key }\n";
    for (keys, scrape, wrong) in [
        (format!("{TLS}\n{USERS}"), format!("{tls}{basic}"), tls.to_owned()),
        (TOKENS.to_owned(), bearer.clone(), String::new()),
        ("web_config_file: DIR/web.yml".to_owned(), format!("{tls}{basic}"), basic.clone()),
        (MUTUAL_TLS.to_owned(), certificate.to_owned(), tls.to_owned()),
    ] {
        let folder = folder();
        fs::write(folder.path().join("web.yml"), &web).unwrap();
        let daemon = start_with(folder, "", &page(&keys));
        for (scrape, wanted) in [(&scrape, 1.0), (&wrong, 0.0)] {
            let scraper = scraper(&daemon, program.to_str().unwrap(), scrape);
            wait_for_up(&scraper, wanted);
        }
    }
}
