//! The programs in examples/, in each language, produce their documented points in the real daemon.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, interval_without_an_edge, shown, tallyd};
use forwarders::testing::{real_program, real_server};
use serde_json::{Value, json};

fn examples() -> PathBuf {
    common::root().join("examples")
}

// ---- Clients ---------------------------------------------------------------------------------

/// How to run an example: the program that it needs, and its command. `command` takes the steps
/// before it, such as a build.
struct Example {
    needs: &'static str,
    command: fn(folder: &Path) -> Command,
}

const PYTHON: Example = Example {
    needs: "python3",
    command: |_| {
        let mut command = Command::new("python3");
        command.arg(examples().join("python/plain.py"));
        command
    },
};

const PYTHON_CLIENT: Example = Example {
    needs: "python3",
    command: |_| {
        let mut command = Command::new("python3");
        command.arg(examples().join("python/shop.py"));
        command.env("PYTHONPATH", examples().join("../clients/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    },
};

const NODE: Example = Example {
    needs: "node",
    command: |_| {
        let mut command = Command::new("node");
        command.arg(examples().join("node/shop.mjs"));
        command
    },
};

const GO: Example = Example {
    needs: "go",
    command: |folder| {
        let shop = folder.join("shop");
        let mut go = Command::new("go");
        go.current_dir(examples().join("go")).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        go.env("GOFLAGS", "").env("GOWORK", "off").env("CGO_ENABLED", "0");
        for arguments in [&["vet", "./..."][..], &["build", "-o", shop.to_str().unwrap(), "."]] {
            let mut go = copy(&go);
            let output = go.args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Command::new(shop)
    },
};

const RUST: Example = Example {
    needs: "cargo",
    command: |_| {
        let mut command = Command::new("cargo");
        command.current_dir(examples().join("rust"));
        command.args(["run", "--quiet", "--offline", "--locked"]);
        command
    },
};

const BASH: Example =
    Example { needs: "bash", command: |_| Command::new(examples().join("shell/shop.sh")) };

const NC: Example =
    Example { needs: "nc", command: |_| Command::new(examples().join("shell/nc.sh")) };

/// A command with the same program, folder and environment, without arguments.
fn copy(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.current_dir(command.get_current_dir().unwrap());
    copy.envs(command.get_envs().map(|(key, value)| (key, value.unwrap())));
    copy
}

/// Runs an example to its end. It must print nothing, whether or not its messages arrive.
fn run(example: &Example, json: &str, statsd: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = (example.command)(folder.path());
    command.env("TALLYD_ADDRESS", json).env("STATSD_ADDRESS", statsd);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {}\n{said}", output.status);
}

/// The points of an example that sends this number of samples in at most this number of datagrams. The
/// daemon listens on 127.0.0.2, which messages to the unspecified address (0.0.0.0) do not reach.
fn arrives(example: &Example, samples: u64, datagrams: u64) -> Vec<String> {
    arrives_at("127.0.0.2", example, samples, datagrams)
}

fn arrives_at(host: &str, example: &Example, samples: u64, datagrams: u64) -> Vec<String> {
    let daemon = Daemon::start(&format!(
        "# bind_port: is not opened\n\
         listeners:\n- {{ address: '127.0.0.1:0' }}\n- {{ address: '{host}:0' }}\n\
         - {{ protocol: statsd, address: '{host}:0' }}\n\
         forwarders: {{ file: {{ path: DIR/out, format: json }} }}\n\
         interval: {}s\n",
        interval_without_an_edge()
    ));
    let address = |protocol: &str| daemon.address(&format!("{protocol}/udp {host}")).to_string();
    run(example, &address("json"), &address("statsd"));
    let status = daemon.wait_received(samples);
    let ledger = &status["ledger"];
    let rejected = daemon.get("/api/v1/rejected").1;
    assert_eq!(
        (&ledger["aggregated"], &ledger["rejected"]),
        (&samples.into(), &json!({})),
        "{rejected}"
    );
    assert!(ledger["datagrams"].as_u64().unwrap() <= datagrams, "{ledger}");
    let mut points = daemon.stop().points("out");
    for point in &mut points {
        let fields = point["fields"].as_object_mut().unwrap();
        // Durations differ from run to run, and rates follow from the other fields.
        fields.retain(|field, _| field == "count" || field == "value");
    }
    shown(&points)
}

/// The points of each program except the shell programs, whose points are [`SHOP_TWICE`].
const SHOP: [&str; 6] = [
    r"counter shop.items {product:Käse \alt\} {count:4950}",
    "counter shop.orders {payment:card} {count:3}",
    "gauge shop.carts {} {value:15}",
    "set shop.customers {} {count:2}",
    "timer shop.checkout {payment:card} {count:1}",
    "trace shop.signup {browser:firefox,step:confirm} {count:1}",
];

/// The samples of these programs: nine single ones, and a hundred in about ten datagrams.
const SHOP_SAMPLES: u64 = 109;
const SHOP_DATAGRAMS: u64 = 9 + 12;

#[test]
fn the_python_program_without_a_library() {
    if !real_program(PYTHON.needs) {
        return;
    }
    assert_eq!(arrives(&PYTHON, SHOP_SAMPLES, SHOP_DATAGRAMS), SHOP);
}

#[test]
fn the_python_program_with_our_client() {
    if !real_program(PYTHON_CLIENT.needs) {
        return;
    }
    assert_eq!(arrives(&PYTHON_CLIENT, SHOP_SAMPLES, SHOP_DATAGRAMS), SHOP);
}

#[test]
fn the_node_program() {
    if !real_program(NODE.needs) {
        return;
    }
    assert_eq!(arrives(&NODE, SHOP_SAMPLES, SHOP_DATAGRAMS), SHOP);
}

#[test]
fn the_go_program() {
    if !real_program(GO.needs) {
        return;
    }
    assert_eq!(arrives(&GO, SHOP_SAMPLES, SHOP_SAMPLES), SHOP);
}

#[test]
fn the_rust_program() {
    if !real_program(RUST.needs) {
        return;
    }
    assert_eq!(arrives(&RUST, SHOP_SAMPLES, SHOP_DATAGRAMS), SHOP);
}

/// The points of the shell programs, which send once as JSON and, without the trace and the items, once
/// as statsd; both contribute to the same series.
const SHOP_TWICE: [&str; 6] = [
    r"counter shop.items {product:Käse \alt\} {count:4950}",
    "counter shop.orders {payment:card} {count:6}",
    "gauge shop.carts {} {value:15}",
    "set shop.customers {} {count:2}",
    "timer shop.checkout {status:0} {count:2}",
    "trace shop.signup {browser:firefox,step:confirm} {count:1}",
];

#[test]
fn the_bash_program() {
    if !real_program(BASH.needs) {
        return;
    }
    assert_eq!(arrives(&BASH, 10 + 8, 10 + 1), SHOP_TWICE);
}

#[test]
fn the_program_with_nc() {
    if !real_program(NC.needs) {
        return;
    }
    assert_eq!(arrives(&NC, 7 + 5, 2), SHOP_TWICE);
}

#[test]
fn the_programs_with_a_client_send_over_ipv6_too() {
    for example in [&PYTHON, &PYTHON_CLIENT, &NODE, &GO, &RUST] {
        if real_program(example.needs) {
            assert_eq!(arrives_at("[::1]", example, SHOP_SAMPLES, SHOP_SAMPLES), SHOP);
        }
    }
}

#[test]
fn no_program_fails_without_a_daemon() {
    // The socket is closed again at once, so no program listens there.
    let unused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for example in [&PYTHON, &PYTHON_CLIENT, &NODE, &GO, &RUST, &BASH, &NC] {
        if real_program(example.needs) {
            run(example, &unused, &unused);
        }
    }
}

#[test]
fn the_readme_of_the_examples_lists_each_folder() {
    let readme = fs::read_to_string(examples().join("README.md")).unwrap();
    for entry in examples().read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if entry.file_type().unwrap().is_dir() {
            let link = format!("({}", name.to_str().unwrap());
            assert!(readme.contains(&link), "examples/README.md lacks {name:?}");
        }
    }
}

// ---- Configurations --------------------------------------------------------------------------

/// All files named tallyd.yaml below examples/.
fn configurations() -> Vec<PathBuf> {
    let folders = examples().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        folders.map(|folder| folder.join("tallyd.yaml")).filter(|file| file.exists()).collect();
    found.sort();
    found
}

#[test]
fn each_example_configuration_is_valid() {
    let found = configurations();
    assert!(!found.is_empty());
    let demo = tempfile::tempdir().unwrap();
    for file in found {
        let mut check = tallyd();
        // The variables that examples/demo/run.sh sets.
        check.env("DEMO_DIR", demo.path());
        let output = check.args(["check", "--config"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
}

// ---- Kamailio --------------------------------------------------------------------------------

/// A Kamailio with the configuration of the example. Stopped when dropped.
struct Kamailio(std::process::Child);

impl Drop for Kamailio {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        let _ended_already = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _reaped = self.0.wait();
    }
}

/// Sends a request and waits up to `wait` for its reply.
fn ask(socket: &UdpSocket, method: &str, number: usize, wait: Duration) -> Option<String> {
    let port = socket.local_addr().unwrap().port();
    let request = format!(
        "{method} sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:b@127.0.0.1>;tag={number}\r\nTo: <sip:a@127.0.0.1>\r\n\
         Call-ID: {number}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    socket.set_read_timeout(Some(wait)).unwrap();
    let mut answer = [0; 4096];
    socket.send(request.as_bytes()).ok()?;
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// A free address below the range of ephemeral ports, so that no other program is given it before
/// Kamailio binds it.
fn free_address() -> std::net::SocketAddr {
    let first = 20_000 + std::process::id() % 10_000;
    let free = (first..30_000).chain(20_000..first).find_map(|port| {
        UdpSocket::bind(("127.0.0.1", u16::try_from(port).unwrap())).ok()?.local_addr().ok()
    });
    free.unwrap()
}

#[test]
fn kamailio_script_counters_and_polled_statistics_arrive_together() {
    let Some(script) = real_server("TALLYD_TEST_KAMAILIO") else { return };
    let config = fs::read_to_string(examples().join("kamailio/tallyd.yaml")).unwrap();
    // The path of a socket must be short.
    let folder = tempfile::Builder::new().prefix("k").tempdir().unwrap();
    let ctl = folder.path().join("ctl");
    let config = config
        .replace("127.0.0.1:8125", "127.0.0.1:0")
        .replace("127.0.0.1:9494", "127.0.0.1:0")
        .replace("/run/kamailio/kamailio_ctl", &format!("{}\n    interval: 200ms", ctl.display()));
    let daemon = Daemon::start(&format!("# bind_port: is not opened\ninterval: 500ms\n{config}"));

    let sip = free_address();
    let child = Command::new(script)
        .arg("run")
        .arg(examples().join("kamailio/kamailio.cfg"))
        .arg(format!("-ASTATSD_PORT=\"{}\"", daemon.udp.port()))
        .arg(format!("-ASIP_LISTEN=udp:{sip}"))
        .arg(format!("-ACTL_SOCKET=\"unixs:{}\"", ctl.display()))
        .arg("-w")
        .arg(folder.path())
        .arg("-Y")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let _kamailio = Kamailio(child);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sip).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while ask(&socket, "INFO", 0, Duration::from_millis(200)).is_none() {
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(Instant::now() < deadline, "Kamailio does not answer: {log}");
    }

    let requests =
        [("OPTIONS", "200"), ("OPTIONS", "200"), ("INVITE", "486"), ("ACK", ""), ("BYE", "501")];
    for (number, (method, code)) in requests.into_iter().enumerate() {
        if code.is_empty() {
            ask(&socket, method, number + 1, Duration::from_millis(1));
            continue;
        }
        // Late replies to INFO are skipped.
        let expected = format!("SIP/2.0 {code}");
        let mut answer = ask(&socket, method, number + 1, PATIENCE).unwrap();
        while !answer.contains(&format!("Call-ID: {}\r\n", number + 1)) {
            let mut more = [0; 4096];
            let length = socket.recv(&mut more).unwrap();
            answer = String::from_utf8_lossy(&more[..length]).into_owned();
        }
        assert!(answer.starts_with(&expected), "{method}: {answer}");
    }

    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let wanted = [
        r#"sip_requests_total{method="OPTIONS",role="edge"} 2"#,
        r#"sip_requests_total{method="INVITE",role="edge"} 1"#,
        r#"sip_requests_total{method="BYE",role="edge"} 1"#,
        r#"kamailio_up{node="edge-1",role="edge"} 1"#,
        r#"kamailio_sl_stats_codes_total{code="4xx",node="edge-1",role="edge"} 1"#,
    ];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = common::get(&url).unwrap().text().unwrap();
        if wanted.iter().all(|line| page.lines().any(|there| there == *line))
            && page.contains("sip_request_time_count{role=\"edge\"}")
        {
            break;
        }
        assert!(Instant::now() < deadline, "{wanted:#?} did not come: {page}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status: Value = daemon.status();
    assert_eq!(status["ledger"]["rejected"], json!({}));
}
