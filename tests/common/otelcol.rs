//! A real OpenTelemetry Collector for one test, and the points that it stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use forwarders::testing::real_server;
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::server_script::run_script;

/// A Collector that appends the received requests to a file. Stopped when dropped.
pub struct Collector {
    script: PathBuf,
    folder: TempDir,
    pub http: String,
    pub grpc: String,
}

/// A data point as the Collector stored it.
#[derive(Clone, Debug)]
pub struct StoredPoint {
    /// The attributes of its resource.
    pub resource: BTreeMap<String, String>,
    pub name: String,
    /// `sum`, `gauge` or `exponentialHistogram`.
    pub form: String,
    /// 1 for delta, 2 for cumulative, 0 for a gauge.
    pub temporality: i64,
    pub is_monotonic: bool,
    pub attributes: BTreeMap<String, String>,
    /// In Unix milliseconds; 0 for a gauge.
    pub start_ms: u64,
    /// In Unix milliseconds.
    pub end_ms: u64,
    /// The point as JSON.
    pub json: Value,
}

impl Collector {
    /// Starts a Collector, which also reads from a Kafka broker if there is one; `None` if the test
    /// must be skipped.
    pub fn start(broker: Option<&str>) -> Option<Self> {
        let script = PathBuf::from(real_server("TALLYD_TEST_OTELCOL")?);
        let folder = tempfile::tempdir().unwrap();
        let mut args = vec!["start", folder.path().to_str().unwrap()];
        args.extend(broker);
        let printed = run_script(&script, &args);
        let (http, grpc) = (printed["OTELCOL_HTTP"].clone(), printed["OTELCOL_GRPC"].clone());
        Some(Self { script, folder, http, grpc })
    }

    /// Stops the Collector.
    pub fn stop(&self) {
        let stop = Command::new(&self.script).args(["stop", self.path()]).status();
        assert!(stop.unwrap().success());
    }

    /// Starts the Collector again at the same addresses.
    pub fn restart(&self) {
        let printed = run_script(&self.script, &["start", self.path()]);
        assert_eq!((&printed["OTELCOL_HTTP"], &printed["OTELCOL_GRPC"]), (&self.http, &self.grpc));
    }

    /// Waits until the stored points meet a condition, and returns them.
    pub fn wait_for(
        &self,
        what: &str,
        is_met: impl Fn(&[StoredPoint]) -> bool,
    ) -> Vec<StoredPoint> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stored = self.stored();
            if is_met(&stored) {
                return stored;
            }
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "timeout waiting for {what}: {stored:#?}\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The points in the file. A line that is not complete yet is left out.
    pub fn stored(&self) -> Vec<StoredPoint> {
        let text = fs::read_to_string(self.folder.path().join("metrics.json")).unwrap_or_default();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.flat_map(|line| points(&serde_json::from_str(line).unwrap())).collect()
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let stop = Command::new(&self.script).args(["stop", self.path()]).status();
        drop(stop);
    }
}

impl StoredPoint {
    /// The number of a sum or a gauge.
    pub fn number(&self) -> f64 {
        self.json["asDouble"].as_f64().unwrap()
    }

    /// The number of samples of a histogram.
    pub fn count(&self) -> u64 {
        whole(&self.json["count"])
    }

    /// The counts of a histogram by index, and its zeros. `sign` is `positive` or `negative`.
    pub fn buckets(&self, sign: &str) -> BTreeMap<i64, u64> {
        let buckets = &self.json[sign];
        let offset = buckets["offset"].as_i64().unwrap_or_default();
        let counts = list(&buckets["bucketCounts"]).iter().map(whole);
        (offset..).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

/// The points of a request in the JSON of OTLP.
pub fn points(request: &Value) -> Vec<StoredPoint> {
    let mut found = Vec::new();
    for resource in list(&request["resourceMetrics"]) {
        let attributes_of_resource = attributes(&resource["resource"]);
        let scopes = list(&resource["scopeMetrics"]).iter();
        for metric in scopes.flat_map(|scope| list(&scope["metrics"])) {
            found.extend(points_of_metric(&attributes_of_resource, metric));
        }
    }
    found
}

fn points_of_metric(resource: &BTreeMap<String, String>, metric: &Value) -> Vec<StoredPoint> {
    let forms = ["sum", "gauge", "exponentialHistogram"];
    let form = forms.into_iter().find(|form| metric.get(form).is_some()).unwrap();
    let data = &metric[form];
    let point = |json: &Value| StoredPoint {
        resource: resource.clone(),
        name: metric["name"].as_str().unwrap().to_owned(),
        form: form.to_owned(),
        temporality: data["aggregationTemporality"].as_i64().unwrap_or_default(),
        is_monotonic: data["isMonotonic"].as_bool().unwrap_or_default(),
        attributes: attributes(json),
        start_ms: whole(&json["startTimeUnixNano"]) / 1_000_000,
        end_ms: whole(&json["timeUnixNano"]) / 1_000_000,
        json: json.clone(),
    };
    list(&data["dataPoints"]).iter().map(point).collect()
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| match value["stringValue"].as_str() {
        Some(text) => text.to_owned(),
        None => value["boolValue"].to_string(),
    };
    let pair = |one: &Value| (one["key"].as_str().unwrap().to_owned(), text(&one["value"]));
    list(&of["attributes"]).iter().map(pair).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A whole number, which the JSON of OTLP writes as text if it has 64 bits; 0 if it is left out.
fn whole(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64().unwrap_or_default(), |text| text.parse().unwrap())
}
