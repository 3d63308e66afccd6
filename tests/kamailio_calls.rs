//! The outcome of calls by carrier and gateway: SIPp calls through a real Kamailio with
//! examples/kamailio/calls.cfg, whose messages tallyd shows on the page for Prometheus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;
use tempfile::TempDir;

/// A process with its children, which ends when it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        command.process_group(0).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // Fails if it has ended already.
        let _killed = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _reaped = self.0.wait();
    }
}

/// A Kamailio with the gateways of two carriers.
struct Carriers {
    folder: TempDir,
    sip: SocketAddr,
    gateways: [SocketAddr; 4],
    _kamailio: Running,
}

/// An address of loopback that is free now.
fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn scenario(name: &str) -> PathBuf {
    common::root().join(format!("tests/servers/kamailio/sipp/{name}.xml"))
}

impl Carriers {
    /// Starts Kamailio with examples/kamailio/carriers.cfg, whose messages go to `tallyd`.
    fn start(script: &str, tallyd: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("k").tempdir().unwrap();
        let (sip, gateways) = (free_address(), [(); 4].map(|()| free_address()));
        let [answers, busy, rings, absent] = gateways;
        let list = folder.path().join("dispatcher.list");
        // Kamailio tries the gateways of set 4 in the order of their priorities.
        let text = format!(
            "1 sip:{answers} 0 0 duid=acme-1;carrier=acme\n\
             2 sip:{busy} 0 0 duid=acme-2;carrier=acme\n\
             3 sip:{rings} 0 0 duid=beta-1;carrier=beta\n\
             4 sip:{absent} 0 20 duid=beta-2;carrier=beta\n\
             4 sip:{answers} 0 10 duid=beta-3;carrier=beta\n\
             5 sip:{answers}\n"
        );
        fs::write(&list, text).unwrap();
        let config = common::root().join("examples/kamailio/carriers.cfg");
        let socket = folder.path().join("ctl.sock");
        let log = fs::File::create(folder.path().join("kamailio.log")).unwrap();
        let mut command = Command::new(script);
        command.arg("run").arg(&config).stdout(log.try_clone().unwrap()).stderr(log);
        for definition in [
            format!("SIP_LISTEN=udp:{sip}"),
            format!("CTL_SOCKET=\"unixs:{}\"", socket.display()),
            format!("GATEWAYS=\"{}\"", list.display()),
            format!("TALLYD_JSON=\"sip:{tallyd};transport=udp\""),
        ] {
            command.args(["-A", &definition]);
        }
        let kamailio = Running::start(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = folder.path().join("kamailio.log");
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(log).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Self { folder, sip, gateways, _kamailio: kamailio }
    }

    fn sipp(&self, name: &str, address: SocketAddr) -> Command {
        let mut command = Command::new("sipp");
        let log = fs::File::create(self.folder.path().join(format!("{name}.log"))).unwrap();
        command.arg("-sf").arg(scenario(name)).args(["-i", "127.0.0.1", "-t", "u1", "-nostdin"]);
        command.args(["-p", &address.port().to_string()]).current_dir(self.folder.path());
        command.env("TERM", "dumb").stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// Starts a gateway with a scenario of SIPp.
    fn gateway(&self, index: usize, name: &str) -> Running {
        let address = self.gateways[index];
        let gateway = Running::start(&mut self.sipp(name, address));
        let deadline = Instant::now() + PATIENCE;
        // The port is taken as soon as the gateway listens.
        while UdpSocket::bind(address).is_ok() {
            assert!(Instant::now() < deadline, "SIPp does not listen on {address}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        gateway
    }

    /// Makes calls to a set of gateways and waits until all have ended as the scenario says.
    fn call(&self, name: &str, set: &str, calls: u32) {
        let mut command = self.sipp(name, free_address());
        command.arg(self.sip.to_string()).args(["-s", set, "-m", &calls.to_string(), "-r", "20"]);
        command.args(["-d", "100", "-timeout", "60", "-timeout_error"]);
        command.args(["-cid_str", &format!("%u-%p-{set}@testbed")]);
        let status = command.stdin(Stdio::null()).status().unwrap();
        let log = self.folder.path().join(format!("{name}.log"));
        assert!(status.success(), "{name}: {}", fs::read_to_string(log).unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("kamailio.log")).unwrap()
    }
}

/// The values of a metric on the page, by their labels.
fn page_values(daemon: &Daemon, metric: &str) -> BTreeMap<String, f64> {
    let page = common::get(format!("http://{}/metrics", daemon.page.unwrap())).unwrap();
    let page = page.text().unwrap();
    let of_metric = |line: &str| {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} ")?;
        Some((labels.replace('"', ""), value.parse().unwrap()))
    };
    page.lines().filter_map(of_metric).collect()
}

#[test]
fn calls_through_a_real_kamailio_have_their_results_by_carrier_and_gateway() {
    let Some(script) = real_server("TALLYD_TEST_KAMAILIO") else { return };
    let daemon =
        Daemon::start("interval: 200ms\nforwarders: { prometheus: { listen: \"127.0.0.1:0\" } }\n");
    let carriers = Carriers::start(&script, daemon.udp);
    let gateways = [(0, "uas"), (1, "uas_busy"), (2, "uas_ringing")];
    let _gateways = gateways.map(|(index, name)| carriers.gateway(index, name));
    carriers.call("call", "1", 20);
    carriers.call("refused", "2", 5);
    carriers.call("abandoned", "3", 4);
    // The first gateway does not respond, so Kamailio tries the second one.
    carriers.call("call", "4", 3);
    carriers.call("call", "5", 2);

    let attempts = |carrier: &str, gateway: &str, result: &str| {
        format!("carrier={carrier},gateway={gateway},result={result}")
    };
    let expected = BTreeMap::from([
        (attempts("acme", "acme-1", "answered"), 20.0),
        (attempts("acme", "acme-2", "busy"), 5.0),
        (attempts("beta", "beta-1", "no_answer"), 4.0),
        (attempts("beta", "beta-2", "failed"), 3.0),
        (attempts("beta", "beta-3", "answered"), 3.0),
        (attempts("none", "none", "answered"), 2.0),
    ]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = page_values(&daemon, "sip_call_attempts_total");
        if shown == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{shown:#?}: {}", carriers.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Every attempt that rang has one delay.
    let delays = page_values(&daemon, "sip_call_pdd_count");
    let rang = [
        ("acme", "acme-1", 20.0),
        ("acme", "acme-2", 5.0),
        ("beta", "beta-1", 4.0),
        ("beta", "beta-3", 3.0),
        ("none", "none", 2.0),
    ];
    let rang = rang
        .map(|(carrier, gateway, count)| (format!("carrier={carrier},gateway={gateway}"), count));
    assert_eq!(delays, BTreeMap::from(rang));
    // The delay is that of the gateway: without the two seconds in which another one did not respond.
    let sums = page_values(&daemon, "sip_call_pdd_sum");
    assert!(sums["carrier=beta,gateway=beta-3"] < 3.0 * 2_000.0, "{sums:?}");
    assert_eq!(daemon.status()["ledger"]["rejected"], serde_json::json!({}));
    assert!(!carriers.log().contains("ERROR"), "{}", carriers.log());
}

#[test]
fn the_rules_use_the_names_and_results_of_the_script() {
    let read = |path: &str| fs::read_to_string(common::root().join(path)).unwrap();
    let (script, rules) = (read("examples/kamailio/calls.cfg"), read("etc/prometheus-calls.yaml"));
    for name in ["sip.call.attempts", "sip.call.pdd"] {
        assert!(script.contains(&format!(r#""metric_name":"{name}""#)), "{name}");
        assert!(rules.contains(&name.replace('.', "_")), "{name}");
    }
    for result in ["answered", "busy", "no_answer", "rejected", "redirected"] {
        assert!(script.contains(&format!(r#"$var(call_result) = "{result}";"#)), "{result}");
        assert!(rules.contains(result), "{result}");
    }
}
