//! The Python client in clients/python, and pystatsd's import path in clients/pystatsd: their unit tests,
//! their messages in the real daemon, their packages and their types.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Daemon, interval_without_an_edge, shown};
use forwarders::testing::{real_client, real_program};

fn root() -> &'static Path {
    common::root()
}

fn client() -> PathBuf {
    root().join("clients/python")
}

fn pystatsd() -> PathBuf {
    root().join("clients/pystatsd")
}

/// Runs Python to its end and returns its output.
fn python(program: &str, folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    // The client is in the path of the package that needs it.
    command
        .current_dir(folder)
        .env("PYTHONPATH", client())
        .args(["-W", "error::ResourceWarning"])
        .args(arguments);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("TALLYD_ADDRESS");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn their_own_tests_pass() {
    if !real_program("python3") {
        return;
    }
    for package in [client(), pystatsd()] {
        let said = python("python3", &package, &["-m", "unittest"]);
        assert!(said.contains("Ran ") && !said.contains("Ran 0 "), "{said}");
        let result = said.lines().last().unwrap();
        // Reading the configuration file needs PyYAML.
        assert!(result == "OK" || result.starts_with("OK (skipped="), "{said}");
    }
}

#[test]
fn a_program_written_for_pystatsd_runs_unchanged() {
    if !real_program("python3") {
        return;
    }
    let daemon = Daemon::start(&format!(
        "agent: {{ tags: {{ environment: stage }} }}\n\
         forwarders: {{ file: {{ path: DIR/out, format: json }} }}\ninterval: {}s\n",
        interval_without_an_edge()
    ));
    let program = format!(
        r#"
import os
os.environ["TALLYD_ADDRESS"] = "{}"

from pystatsd.pystatsagent import PystatAgent

agent = PystatAgent()
for user in ["anna", "bert", "anna"]:
    agent.trace("user.signup", {{"username": user}})
agent.guage("broker.latency", "43", {{"stage": "login"}})
"#,
        daemon.udp
    );
    python("python3", &pystatsd(), &["-c", &program]);
    daemon.wait_received(4);
    let mut points = daemon.stop().points("out");
    for point in &mut points {
        point["tags"].as_object_mut().unwrap().remove("host").unwrap();
        point["fields"].as_object_mut().unwrap().retain(|key, _| key == "count" || key == "value");
    }
    assert_eq!(
        shown(&points),
        [
            "gauge broker.latency {environment:stage,stage:login} {value:43}",
            "trace user.signup {environment:stage,username:anna} {count:2}",
            "trace user.signup {environment:stage,username:bert} {count:1}",
        ]
    );
}

#[test]
fn calls_written_for_pystatsd_and_new_calls_produce_their_series() {
    if !real_program("python3") {
        return;
    }
    let daemon = Daemon::start(&format!(
        "agent: {{ tags: {{ environment: stage }} }}\n\
         forwarders: {{ file: {{ path: DIR/out, format: json }} }}\ninterval: {}s\n",
        interval_without_an_edge()
    ));
    let program = format!(
        r#"
from tallyd import PystatAgent

agent = PystatAgent("{}", tags={{"host": "overwritten"}}, strict=True)
agent.host = agent.tags["host"] = "web1"
for user in ["anna", "bert", "anna"]:
    agent.trace("user.signup", {{"username": user}})
agent.guage("broker.latency", "43", {{"stage": "login"}})
agent.guage("broker.latency", 41, {{"stage": "login"}})
agent.gauge("broker.level", -4)
agent.counter("user.logins", 5, {{"count": "a tag"}})
agent.timer("user.latency", 12.5)
with agent.batch() as batch:
    batch.set("callers", "+4930")
    batch.set("callers", 4930)
"#,
        daemon.udp
    );
    python("python3", &client(), &["-c", &program]);
    let status = daemon.wait_received(10);
    assert_eq!(status["ledger"]["rejected"], serde_json::json!({}));
    let mut points = daemon.stop().points("out");
    for point in &mut points {
        let fields = point["fields"].as_object_mut().unwrap();
        fields.retain(|field, _| field == "count" || field == "value" || field == "sum");
    }
    let tags = "{environment:stage,host:web1";
    assert_eq!(
        shown(&points),
        [
            format!(
                "counter user.logins {{count:a tag,{} {{count:5}}",
                "environment:stage,host:web1}"
            ),
            format!("gauge broker.latency {tags},stage:login}} {{value:41}}"),
            format!("gauge broker.level {tags}}} {{value:-4}}"),
            format!("set callers {tags}}} {{count:2}}"),
            format!("timer user.latency {tags}}} {{count:1,sum:12.5}}"),
            format!("trace user.signup {tags},username:anna}} {{count:2}}"),
            format!("trace user.signup {tags},username:bert}} {{count:1}}"),
        ]
    );
}

#[test]
fn the_package_is_complete_and_passes_type_checks() {
    let Some(program) = real_client("TALLYD_TEST_CLIENTS_PYTHON") else { return };
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let build = ["-m", "build", "--no-isolation", "--outdir", &to("dist")];
    python(&program, &client(), &build);
    let version = env!("CARGO_PKG_VERSION");
    let wheel = to(&format!("dist/tallyd-{version}-py3-none-any.whl"));
    assert!(fs::exists(to(&format!("dist/tallyd-{version}.tar.gz"))).unwrap());

    // The installed package, as users have it.
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"];
    python(&program, folder.path(), &[&install[..], &[&to("site"), &wheel]].concat());
    let show = "import tallyd; print(tallyd.__version__, tallyd.PystatAgent.__mro__[1].__name__)";
    let said = python(&program, Path::new(&to("site")), &["-c", show]);
    assert_eq!(said, format!("{version} Agent\n"));
    assert!(fs::exists(to("site/tallyd/py.typed")).unwrap(), "for type checkers of programs");

    let cache = format!("--cache-dir={}", to("mypy"));
    python(&program, &client(), &["-m", "mypy", &cache, "tallyd", "tests"]);

    // The package with pystatsd's import path, next to the client in the same folder.
    python(&program, &pystatsd(), &build);
    let wheel = to("dist/pystatsd-2.0.0-py3-none-any.whl");
    python(&program, folder.path(), &[&install[..], &[&to("site"), &wheel]].concat());
    let show = "import pystatsd.pystatsagent as p; print(p.PystatAgent.__mro__[2].__name__)";
    assert_eq!(python(&program, Path::new(&to("site")), &["-c", show]), "Agent\n");
    assert!(fs::exists(to("site/pystatsd/py.typed")).unwrap(), "for type checkers of programs");
    python(&program, &pystatsd(), &["-m", "mypy", &cache, "pystatsd", "tests"]);

    let licence = |path: PathBuf| fs::read_to_string(path).unwrap();
    for package in [client(), pystatsd()] {
        assert_eq!(licence(package.join("LICENSE")), licence(root().join("LICENSE")));
    }
}
