//! The formats in which clients write values.

use std::fmt;
use std::io::Write;

use engine::listener::Protocol;
use forwarders::testing::load::Metric;
use model::MetricKind;

/// Values on a line that packs several.
const VALUES_PACKED: usize = 5;
/// The default limits on the values and tags of a line.
const VALUES_MAX: usize = 4_096;
const TAGS_MAX: usize = 256;
/// The time of the first round, in seconds as in a `timestamp`.
const FIRST_ROUND_S: usize = 1_490_114_074;

/// A format of messages.
pub struct MessageFormat {
    /// The name in benchmarks.
    pub name: &'static str,
    /// The protocol to which it belongs.
    pub protocol: Protocol,
    /// Metrics per datagram.
    pub metrics: usize,
    /// Samples per metric.
    pub samples: usize,
    write: fn(&mut Vec<u8>, &[Metric], usize),
}

/// A JSON message with four tags, about 130 bytes.
pub const JSON: MessageFormat = MessageFormat {
    name: "json",
    protocol: Protocol::Json,
    metrics: 1,
    samples: 1,
    write: |out, metrics, round| json(out, &metrics[0], round, ""),
};

/// [`JSON`] with a time, so that lines of a series differ in more than their number.
pub const JSON_TIMED: MessageFormat = MessageFormat {
    name: "json-timed",
    write: |out, metrics, round| {
        json(out, &metrics[0], round, &format!(",\"timestamp\":{}", FIRST_ROUND_S + round));
    },
    ..JSON
};

/// Ten messages in an array.
pub const JSON_ARRAY: MessageFormat = MessageFormat {
    name: "json-array",
    metrics: 10,
    write: |out, metrics, round| {
        for (place, metric) in metrics.iter().enumerate() {
            out.push(if place == 0 { b'[' } else { b',' });
            json(out, metric, round, "");
        }
        out.push(b']');
    },
    ..JSON
};

/// A line without tags, as in the original statsd.
pub const STATSD: MessageFormat = MessageFormat {
    name: "statsd",
    protocol: Protocol::Statsd,
    metrics: 1,
    samples: 1,
    write: |out, metrics, round| {
        let metric = &metrics[0];
        // Without tags, the name alone identifies the series.
        let (_, host) = &metric.tags[0];
        write(
            out,
            format_args!("{}.{host}:{}|{}", metric.name, metric.value(round), statsd_type(metric)),
        );
    },
};

/// Ten lines of [`STATSD`] in a datagram.
pub const STATSD_TEN: MessageFormat = MessageFormat {
    name: "statsd-ten",
    metrics: 10,
    write: |out, metrics, round| {
        for metric in metrics {
            (STATSD.write)(out, std::slice::from_ref(metric), round);
            out.push(b'\n');
        }
    },
    ..STATSD
};

/// A line with four tags in DogStatsD's dialect.
pub const DOGSTATSD: MessageFormat = MessageFormat {
    name: "dogstatsd",
    write: |out, metrics, round| dogstatsd(out, &metrics[0], round..round + 1, ""),
    ..STATSD
};

/// [`DOGSTATSD`] with the tags in another order in each of 24 rounds.
pub const DOGSTATSD_REORDERED: MessageFormat = MessageFormat {
    name: "dogstatsd-reordered",
    write: |out, metrics, round| {
        let mut metric = metrics[0].clone();
        let mut order = round;
        for place in 1..metric.tags.len() {
            metric.tags.swap(place, order % (place + 1));
            order /= place + 1;
        }
        dogstatsd(out, &metric, round..round + 1, "");
    },
    ..STATSD
};

/// [`DOGSTATSD`] with a time.
pub const DOGSTATSD_TIMED: MessageFormat = MessageFormat {
    name: "dogstatsd-timed",
    write: |out, metrics, round| {
        let time = format!("|T{}", FIRST_ROUND_S + round);
        dogstatsd(out, &metrics[0], round..round + 1, &time);
    },
    ..STATSD
};

/// [`DOGSTATSD`] with five values on a line.
pub const DOGSTATSD_PACKED: MessageFormat = MessageFormat {
    name: "dogstatsd-packed",
    samples: VALUES_PACKED,
    write: |out, metrics, round| {
        let rounds = round * VALUES_PACKED..(round + 1) * VALUES_PACKED;
        dogstatsd(out, &metrics[0], rounds, "");
    },
    ..STATSD
};

/// [`DOGSTATSD_PACKED`] with a time.
pub const DOGSTATSD_PACKED_TIMED: MessageFormat = MessageFormat {
    name: "dogstatsd-packed-timed",
    write: |out, metrics, round| {
        let rounds = round * VALUES_PACKED..(round + 1) * VALUES_PACKED;
        dogstatsd(out, &metrics[0], rounds, &format!("|T{}", FIRST_ROUND_S + round));
    },
    ..DOGSTATSD_PACKED
};

/// The line with the most values and tags that the default limits allow: 9 KB.
pub const DOGSTATSD_LONGEST: MessageFormat = MessageFormat {
    name: "dogstatsd-longest",
    samples: VALUES_MAX,
    write: |out, metrics, round| {
        out.extend_from_slice(metrics[0].name.as_bytes());
        for value in round..round + VALUES_MAX {
            write(out, format_args!(":{}", value % 10));
        }
        out.extend_from_slice(b"|c|#");
        let tags: Vec<String> = (0..TAGS_MAX).map(|tag| format!("{tag:02x}")).collect();
        out.extend_from_slice(tags.join(",").as_bytes());
    },
    ..STATSD
};

/// A line with four tags in Telegraf's dialect.
pub const TELEGRAF: MessageFormat = MessageFormat {
    name: "telegraf",
    write: |out, metrics, round| {
        let metric = &metrics[0];
        out.extend_from_slice(metric.name.as_bytes());
        for (key, value) in &metric.tags {
            write(out, format_args!(",{key}={value}"));
        }
        write(out, format_args!(":{}|{}", metric.value(round), statsd_type(metric)));
    },
    ..STATSD
};

/// A line with four tags in SignalFx's dialect.
pub const SIGNALFX: MessageFormat = MessageFormat {
    name: "signalfx",
    write: |out, metrics, round| {
        let metric = &metrics[0];
        out.extend_from_slice(metric.name.as_bytes());
        for (place, (key, value)) in metric.tags.iter().enumerate() {
            write(out, format_args!("{}{key}={value}", if place == 0 { '[' } else { ',' }));
        }
        write(out, format_args!("]:{}|{}", metric.value(round), statsd_type(metric)));
    },
    ..STATSD
};

/// All formats.
pub const ALL: [&MessageFormat; 9] = [
    &JSON,
    &JSON_TIMED,
    &JSON_ARRAY,
    &STATSD,
    &DOGSTATSD,
    &DOGSTATSD_TIMED,
    &DOGSTATSD_PACKED,
    &TELEGRAF,
    &SIGNALFX,
];

impl MessageFormat {
    /// Appends a datagram with the values of metrics in a round.
    pub fn write(&self, out: &mut Vec<u8>, metrics: &[Metric], round: usize) {
        (self.write)(out, metrics, round);
    }
}

impl fmt::Display for MessageFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

fn json(out: &mut Vec<u8>, metric: &Metric, round: usize, more: &str) {
    let field = if metric.kind == MetricKind::Counter { "count" } else { "value" };
    let (name, kind, value) = (metric.name, metric.kind, metric.value(round));
    write(
        out,
        format_args!(r#"{{"metric_name":"{name}","metric_type":"{kind}","{field}":{value}"#),
    );
    for (key, value) in &metric.tags {
        write(out, format_args!(r#","{key}":"{value}""#));
    }
    write(out, format_args!("{more}}}"));
}

fn dogstatsd(out: &mut Vec<u8>, metric: &Metric, rounds: std::ops::Range<usize>, more: &str) {
    out.extend_from_slice(metric.name.as_bytes());
    for round in rounds {
        write(out, format_args!(":{}", metric.value(round)));
    }
    write(out, format_args!("|{}", statsd_type(metric)));
    for (place, (key, value)) in metric.tags.iter().enumerate() {
        write(out, format_args!("{}{key}:{value}", if place == 0 { "|#" } else { "," }));
    }
    out.extend_from_slice(more.as_bytes());
}

/// The statsd type of the metric; a trace is sent as a counter.
fn statsd_type(metric: &Metric) -> &'static str {
    let counter = MetricKind::Counter.statsd_type();
    metric.kind.statsd_type().or(counter).unwrap_or_default()
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a vector cannot fail");
}
