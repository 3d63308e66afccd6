//! A real Prometheus that scrapes the daemons of a test, and the page that it scrapes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use forwarders::testing::real_server;
use serde_json::{Value, json};

use crate::{Daemon, PATIENCE, http};

/// The protobuf format of the page, as Prometheus requests it.
pub const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Returns the text of a daemon's page in the requested format.
pub fn page(daemon: &Daemon, accept: &str) -> String {
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let reply = http().build().unwrap().get(url).header("Accept", accept).send().unwrap();
    assert_eq!(reply.status(), 200);
    reply.text().unwrap()
}

/// Waits until the page contains all of these lines, and returns it.
pub fn wait_for_lines(daemon: &Daemon, lines: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = page(daemon, "text/plain");
        if lines.iter().all(|wanted| page.lines().any(|line| line == *wanted)) {
            return page;
        }
        assert!(Instant::now() < deadline, "{lines:#?} did not come: {page}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A real Prometheus that scrapes the targets in the files of a folder.
pub struct Prometheus {
    url: String,
    file: PathBuf,
    /// A label of the target that is unique to this run, because the server may outlive a run.
    test: String,
}

impl Prometheus {
    /// Makes it scrape the daemon's page.
    pub fn scraping(daemon: &Daemon, test: &str) -> Option<Self> {
        Self::scraping_all(&[daemon], test)
    }

    /// Makes it scrape the pages of several daemons.
    pub fn scraping_all(daemons: &[&Daemon], test: &str) -> Option<Self> {
        let url = real_server("TALLYD_TEST_PROMETHEUS")?;
        let folder = PathBuf::from(real_server("TALLYD_TEST_PROMETHEUS_TARGETS")?);
        let test = format!("{test}-{}", std::process::id());
        let file = folder.join(format!("{test}.json"));
        let pages: Vec<String> =
            daemons.iter().map(|daemon| daemon.page.unwrap().to_string()).collect();
        let targets = json!([{"targets": pages, "labels": {"test": test}}]);
        fs::write(&file, targets.to_string()).unwrap();
        Some(Self { url, file, test })
    }

    /// Evaluates an expression; returns the value of each series by labels, without those of the target.
    pub fn query(&self, expression: &str) -> BTreeMap<String, f64> {
        query(&self.url, &self.of_this_run(expression))
    }

    /// Returns the stored samples of one series over a range such as `latency{TEST}[5m]`, each as its
    /// time in Unix seconds and its value, or the count of a native histogram.
    pub fn samples(&self, range: &str) -> Vec<(f64, f64)> {
        let found = series(&self.url, &self.of_this_run(range));
        let found = found.first().unwrap_or(&Value::Null);
        let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
        let samples = |key: &str, read: &dyn Fn(&Value) -> f64| -> Vec<(f64, f64)> {
            let samples = found[key].as_array().into_iter().flatten();
            samples.map(|sample| (sample[0].as_f64().unwrap(), read(&sample[1]))).collect()
        };
        let histograms = samples("histograms", &|histogram| number(&histogram["count"]));
        [samples("values", &number), histograms].concat()
    }

    /// Returns whether the server stores a sample of 0 at a created timestamp.
    pub fn stores_created_timestamps(&self) -> bool {
        let flags = crate::get(format!("{}/api/v1/status/flags", self.url)).unwrap();
        flags.text().unwrap().contains("created-timestamp-zero-ingestion")
    }

    fn of_this_run(&self, expression: &str) -> String {
        expression.replace("TEST", &format!("test=\"{}\"", self.test))
    }

    /// Waits until the values of an expression are as wanted.
    pub fn wait_for(&self, expression: &str, is_it: impl Fn(&BTreeMap<String, f64>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.query(expression);
            if is_it(&found) {
                return;
            }
            assert!(Instant::now() < deadline, "{expression}: {found:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Another run may have removed it already.
        let _gone_already = fs::remove_file(&self.file);
    }
}

/// Evaluates an expression; returns the value of each series by labels, without those of a target.
pub fn query(url: &str, expression: &str) -> BTreeMap<String, f64> {
    let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
    series(url, expression).iter().map(|one| (labels(one), value(one))).collect()
}

/// Returns the series that are the result of an expression.
fn series(url: &str, expression: &str) -> Vec<Value> {
    let url = format!("{url}/api/v1/query");
    let url = reqwest::Url::parse_with_params(&url, &[("query", expression)]).unwrap();
    let mut reply: Value = http().build().unwrap().get(url).send().unwrap().json().unwrap();
    assert_eq!(reply["status"], "success", "{reply}");
    serde_json::from_value(reply["data"]["result"].take()).unwrap()
}

fn labels(series: &Value) -> String {
    let mut labels = series["metric"].as_object().unwrap().clone();
    for own in ["test", "instance", "job"] {
        labels.remove(own);
    }
    serde_json::to_string(&labels).unwrap()
}
