//! `tallyd convert`: the files that it writes for realistic configurations, and their behaviour next to
//! the original programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::{root, tallyd};

#[path = "convert/real.rs"]
mod real;

/// The variables to which the fixtures refer themselves.
const SOURCE_ENVIRONMENT: [(&str, &str); 2] = [("RACK", "r12"), ("INFLUX_TOKEN", "token")];

/// The environment that the outputs need with `--omit-secrets`.
const ENVIRONMENT: [(&str, &str); 7] = [
    SOURCE_ENVIRONMENT[0],
    SOURCE_ENVIRONMENT[1],
    ("TALLYD_INFLUXDB_PASSWORD", "password"),
    ("TALLYD_KAFKA_PASSWORD", "password"),
    ("TALLYD_KAFKA_APIKEY", "7444"),
    ("TALLYD_OTLP_AUTHORIZATION", "token"),
    ("STATSD_BIND_PORT", "5090"),
];

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/convert").join(name)
}

fn converted(args: &[&str]) -> Output {
    tallyd().arg("convert").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The output for a file, which must succeed.
fn convert_file(kind: &str, file: &Path, flags: &[&str]) -> String {
    let output = converted(&[&[kind, file.to_str().unwrap()][..], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs `tallyd check` for a configuration.
fn check(config: &str) -> Output {
    check_with(config, &ENVIRONMENT)
}

/// The same with these variables.
fn check_with(config: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let state_dir = format!("state_dir: {}\n", folder.path().display());
    fs::write(&path, format!("{state_dir}{config}")).unwrap();
    let mut command = tallyd();
    command.args(["check", "--config"]).arg(&path).envs(variables.iter().copied());
    command.output().unwrap()
}

/// Compares the output for a fixture with the expected file, and checks it.
fn converts(kind: &str, source: &str, flags: &[&str], expected: &str) {
    let config = convert_file(kind, &fixture(source), &[&["--omit-secrets"][..], flags].concat());
    let path = fixture(expected);
    if std::env::var_os("TALLYD_TEST_WRITE").is_some() {
        fs::write(&path, &config).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(config == wanted, "{expected} differs; TALLYD_TEST_WRITE=1 writes it\n{config}");
    let output = check(&config);
    let words = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{words}\n{config}");
    assert!(!words.contains("never applies"), "{words}");
}

#[test]
fn statsds_configuration_is_converted() {
    converts("statsd", "statsd.js", &[], "statsd.yaml");
}

#[test]
fn statsds_servers_and_backends_are_converted() {
    converts("statsd", "statsd-legacy.js", &[], "statsd-legacy.yaml");
}

#[test]
fn telegrafs_inputs_and_outputs_are_converted() {
    converts("telegraf", "telegraf.conf", &[], "telegraf.yaml");
}

#[test]
fn telegrafs_folder_of_files_is_converted() {
    converts("telegraf", "telegraf.d", &[], "telegraf.d.yaml");
}

/// The data formats of Telegraf 1.37, each with an option of its own.
const DATA_FORMATS: [(&str, &str); 14] = [
    ("binary", "entries = [{ read_from = \"name\", data_format = \"string\", string_length = 9 }]"),
    ("carbon2", "carbon2_format = \"metric_includes_field\""),
    ("cloudevents", "cloudevents_source = \"web\""),
    ("csv", "csv_header = true"),
    ("graphite", "graphite_tag_support = true"),
    ("influx", "influx_sort_fields = true"),
    ("json", "json_timestamp_units = \"1ms\""),
    ("msgpack", ""),
    ("nowmetric", "nowmetric_format = \"oi\""),
    ("prometheus", "prometheus_sort_metrics = true"),
    ("prometheusremotewrite", "prometheus_sort_metrics = true"),
    ("splunkmetric", "splunkmetric_multimetric = true"),
    ("template", "template = \"{{ .Name }}\""),
    ("wavefront", "wavefront_use_strict = true"),
];

/// Telegraf's file with a statsd input and this output.
fn with_output(output: &str) -> String {
    format!(
        "[[inputs.statsd]]\n  service_address = \"127.0.0.1:8125\"\n  percentiles = [90.0]\n  \
         datadog_extensions = true\n[[outputs.{output}\n"
    )
}

#[test]
fn each_data_format_of_telegraf_is_converted_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telegraf.conf");
    for (format, option) in DATA_FORMATS {
        for kind in ["file", "kafka"] {
            let output = format!("{kind}]]\n  data_format = \"{format}\"\n  {option}");
            fs::write(&path, with_output(&output)).unwrap();
            let config = convert_file("telegraf", &path, &[]);
            // Comments are wrapped.
            let words = config.replace("\n#  ", "");
            let is_named = words.contains(&format!("outputs.{kind}[0].data_format: `{format}`"));
            assert_eq!(is_named, !["influx", "json"].contains(&format), "{config}");
            assert!(!config.contains("Unknown settings"), "{config}");
            // Telegraf's median is a field of line protocol, and a percentile elsewhere.
            let (written, percentiles) = match format {
                "json" => ("json\n", "[50, 90]"),
                _ => ("influx\n    naming: telegraf\n", "[90]"),
            };
            assert!(config.contains(&format!("    format: {written}")), "{config}");
            assert!(config.contains(&format!("percentiles: {percentiles}\n")), "{config}");
            assert_eq!(words.contains("it is Telegraf's `median`"), format == "json", "{config}");
            assert_eq!(check(&config).status.code(), Some(0), "{config}");
        }
    }
    fs::write(&path, with_output("file]]\n  data_format = \"xml\"")).unwrap();
    let config = convert_file("telegraf", &path, &[]);
    assert!(config.contains("`xml` is no data format of Telegraf"), "{config}");
}

#[test]
fn statsd_exporters_mappings_and_flags_are_converted() {
    let flags = [
        "--",
        "--statsd.listen-udp=127.0.0.1:9125",
        "--statsd.listen-tcp=",
        "--statsd.relay.address",
        "127.0.0.1:8135",
        "--web.listen-address=127.0.0.1:9102",
        "--no-statsd.parse-signalfx-tags",
        "--statsd.cache-size=10",
        "--log.level=warn",
        "--no-such-flag",
    ];
    converts("statsd-exporter", "statsd-exporter.yml", &flags, "statsd-exporter.yaml");
}

#[test]
fn pystatsds_configuration_is_converted() {
    converts("pystatsd", "pystatsd.conf", &[], "pystatsd.yaml");
}

#[test]
fn flags_of_both_exporters_for_kamailio_are_converted() {
    converts("kamailio-exporter", "callr.service", &[], "callr.yaml");
    converts("kamailio-exporter", "pascom.env", &[], "pascom.yaml");
}

#[test]
fn the_output_passes_the_check_without_variables_for_secrets() {
    for (kind, file) in [("pystatsd", "pystatsd.conf"), ("telegraf", "telegraf.conf")] {
        let config = convert_file(kind, &fixture(file), &[]);
        assert!(!config.contains("${TALLYD_"), "{config}");
        let output = check_with(&config, &SOURCE_ENVIRONMENT);
        assert_eq!(output.status.code(), Some(0), "{}\n{config}", text(&output.stderr));
    }
    let config = convert_file("pystatsd", &fixture("pystatsd.conf"), &[]);
    assert!(config.contains("kafka_apikey: 7444"), "{config}");
}

#[test]
fn a_secret_is_omitted_on_request() {
    let file = fixture("telegraf.conf");
    let file = file.to_str().unwrap();
    let output = converted(&["telegraf", file, "--omit-secrets"]);
    let all = text(&output.stdout) + &text(&output.stderr);
    for secret in ["metricsmetricsmetricsmetrics", "password: secret", "0123456789"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert!(text(&output.stderr).contains("set TALLYD_INFLUXDB_PASSWORD"), "{all}");
    let kept = converted(&["telegraf", file]);
    assert!(text(&kept.stdout).contains("password: metricsmetricsmetricsmetrics"));
    assert!(text(&kept.stderr).contains("the output contains secrets"), "{}", text(&kept.stderr));
    assert!(!text(&kept.stderr).contains("metricsmetrics"));
}

#[test]
fn a_configuration_that_is_a_program_is_refused_with_a_command_that_evaluates_it() {
    let source = "{ graphiteHost: 'g', graphite: {\n  globalSuffix: require('os').hostname() } }";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.js");
    fs::write(&path, source).unwrap();
    let output = converted(&["statsd", path.to_str().unwrap()]);
    let words = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("config.js:2:17: is no plain value"), "{words}");
    assert!(output.stdout.is_empty());
    let (_, command) = words.split_once("\n  ").unwrap();
    let node = std::process::Command::new("node").arg("--version").output();
    if node.is_err() {
        return;
    }
    let path = format!(
        "{}:{}",
        Path::new(common::tallyd_path()).parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let shell =
        std::process::Command::new("sh").args(["-c", command]).env("PATH", path).output().unwrap();
    assert!(shell.status.success(), "{command}: {}", text(&shell.stderr));
    assert!(text(&shell.stdout).contains("global_suffix: "), "{}", text(&shell.stdout));
}

#[test]
fn errors_name_the_file_and_the_place() {
    for (kind, source, words) in [
        ("statsd", "{ port: }", "standard input:1:9: is no plain value"),
        ("statsd", "{ port: 'x' }", "standard input: `port` must be a number"),
        ("statsd", "[1]", "standard input: the configuration must consist of named settings"),
        ("telegraf", "[agent]\ninterval = $X\n", "standard input:2:12: is not valid TOML"),
        ("telegraf", "[agent]\n", "standard input: there is no [[inputs.statsd]]"),
        (
            "statsd-exporter",
            "mappings: [{ name: a }]",
            "standard input: `mappings[0]` has no `match`",
        ),
        ("statsd-exporter", "a: [", "standard input:1:"),
        ("pystatsd", "agent: 1", "standard input: `agent` must be a section"),
        ("kamailio-exporter", "--x=1", "standard input: no flag of a known exporter"),
    ] {
        let mut child = tallyd()
            .args(["convert", kind, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kind}: {stderr}");
        assert!(stderr.starts_with(words), "{kind}: {stderr}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.js");
    fs::write(&path, deep).unwrap();
    assert_eq!(converted(&["statsd", path.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
fn wrong_usage_has_status_2() {
    for args in [
        &["statsd"][..],
        &["statsd", "a", "b"],
        &["statsd", "a", "--", "--flag"],
        &["nagios", "a"],
        &["kamailio-exporter"],
    ] {
        assert_eq!(converted(args).status.code(), Some(2), "{args:?}");
    }
    let output = converted(&["telegraf", "/nonexistent.conf"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("/nonexistent.conf: cannot be read"));
}

/// A setting that nobody knows, in every section of each fixture: the output names each.
#[test]
fn an_unknown_setting_of_any_section_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, name, opens, setting) in [
        ("statsd", "statsd.js", "{", " zz_unknown: 1, "),
        ("statsd", "statsd-legacy.js", "{", " zz_unknown: 1, "),
        ("telegraf", "telegraf.conf", "]\n", "zz_unknown = \"1\"\n"),
    ] {
        let source = fs::read_to_string(fixture(name)).unwrap();
        let mut sections = 0;
        for (at, _) in source.match_indices(opens) {
            let (before, after) = source.split_at(at + opens.len());
            // Only the headers of TOML are sections.
            if kind == "telegraf" && !before.lines().last().unwrap().trim_start().starts_with('[') {
                continue;
            }
            let path = folder.path().join("source");
            fs::write(&path, format!("{before}{setting}{after}")).unwrap();
            let config = convert_file(kind, &path, &[]);
            let section = before.lines().last().unwrap();
            // What tallyd lacks is named as a whole.
            let foreign = ["inputs.cpu", "outputs.http", "keyFlush", "influxdb: {"];
            let is_foreign = foreign.iter().any(|name| section.contains(name));
            assert!(is_foreign || config.contains("zz_unknown"), "{name}: {section}\n{config}");
            sections += 1;
        }
        assert!(sections > 5, "{name}: {sections}");
    }
}
