//! The daemon's own metrics in Prometheus' text format 0.0.4.

use forwarders::format::number;

use super::{Family, Kind};

/// What `Content-Type` says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page. A family without samples has its two comments: so whoever reads it sees what there is.
#[must_use]
pub fn write(families: &[Family]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 << 10);
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
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
    use super::super::OwnSample;
    use super::*;

    #[test]
    fn a_label_cannot_break_its_line() {
        let labels = vec![("listener", "unix /run/a\"\\\nb 1".to_owned()), ("reason", "x".into())];
        let family = Family {
            name: "tallyd_x_total",
            kind: Kind::Counter,
            help: "What it is",
            samples: vec![
                OwnSample { labels, value: 3.0 },
                OwnSample { labels: Vec::new(), value: 0.25 },
            ],
        };
        let page = String::from_utf8(write(&[family])).unwrap();
        assert_eq!(
            page,
            "# HELP tallyd_x_total What it is\n# TYPE tallyd_x_total counter\n\
             tallyd_x_total{listener=\"unix /run/a\\\"\\\\\\nb 1\",reason=\"x\"} 3\n\
             tallyd_x_total 0.25\n"
        );
    }
}
