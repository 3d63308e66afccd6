//! The self-metrics in Prometheus' text format 0.0.4.

use forwarders::format::number;

use super::{SelfMetricFamily, SelfMetricKind};

/// The `Content-Type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the page. A family without samples still has its two comments, so that a reader sees which
/// metrics exist.
#[must_use]
pub fn write(families: &[SelfMetricFamily]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 << 10);
    for family in families {
        let kind = match family.kind {
            SelfMetricKind::Counter => "counter",
            SelfMetricKind::Gauge => "gauge",
        };
        for part in ["# HELP ", family.name, " ", family.help] {
            out.extend_from_slice(part.as_bytes());
        }
        for part in ["\n# TYPE ", family.name, " ", kind, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        for sample in &family.samples {
            out.extend_from_slice(family.name.as_bytes());
            write_labels(&mut out, &sample.labels);
            out.push(b' ');
            number::write(&mut out, sample.value);
            out.push(b'\n');
        }
    }
    out
}

fn write_labels(out: &mut Vec<u8>, labels: &[(&'static str, String)]) {
    for (number, (name, value)) in labels.iter().enumerate() {
        out.push(if number == 0 { b'{' } else { b',' });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'"' => out.extend_from_slice(b"\\\""),
                b'\n' => out.extend_from_slice(b"\\n"),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    }
    if !labels.is_empty() {
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::SelfMetricSample;
    use super::*;

    #[test]
    fn a_label_cannot_break_its_line() {
        let labels = vec![("listener", "unix /run/a\"\\\nb 1".to_owned()), ("reason", "x".into())];
        let family = SelfMetricFamily {
            name: "tallyd_x_total",
            kind: SelfMetricKind::Counter,
            help: "Some help",
            samples: vec![
                SelfMetricSample { labels, value: 3.0 },
                SelfMetricSample { labels: Vec::new(), value: 0.25 },
            ],
        };
        let page = String::from_utf8(write(&[family])).unwrap();
        assert_eq!(
            page,
            "# HELP tallyd_x_total Some help\n# TYPE tallyd_x_total counter\n\
             tallyd_x_total{listener=\"unix /run/a\\\"\\\\\\nb 1\",reason=\"x\"} 3\n\
             tallyd_x_total 0.25\n"
        );
    }
}
