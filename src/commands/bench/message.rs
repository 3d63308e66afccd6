//! The messages of a load.

use model::MetricKind;

use super::options::Load;
use engine::listener::Protocol;

/// The keys of the first tags; further keys are numbered. The first tag tells the series apart. The
/// agent must not have a tag of this key, which would make one series of all.
const TAG_KEYS: [&str; 8] =
    ["series", "stage", "region", "service", "version", "zone", "team", "route"];
/// Series of one metric name: below the default of `aggregation.max_series_per_metric`.
const SERIES_PER_NAME: u32 = 1_000;
/// Mean of the values of timers, which are distributed exponentially.
const TIMER_MEAN: f64 = 10.0;

/// Writes the messages of a load.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    load: &'a Load,
    /// The type of each series.
    kinds: Vec<MetricKind>,
}

impl<'a> Messages<'a> {
    /// Assigns types to the series.
    pub(super) fn new(load: &'a Load) -> Self {
        Self { load, kinds: interleaved(load.types.shares(), load.series as usize) }
    }

    /// Appends a message: a sample of this series with this one of the distinct values.
    pub(super) fn write(&self, out: &mut Vec<u8>, series: u32, value: u32) {
        let start = out.len();
        let kind = self.kinds[series as usize];
        let name = self.name(series, kind);
        let value = self.value(kind, value);
        match self.load.protocol {
            Protocol::Json => {
                // No character needs an escape.
                put(out, &format!(r#"{{"metric_name":"{name}","metric_type":"{kind}""#));
                put(out, &json_value(kind, &value));
                self.each_tag(series, |key, value| put(out, &format!(r#","{key}":"{value}""#)));
                self.fill(out, start, r#","padding":""#, "\"}");
            }
            Protocol::Statsd => {
                // `BenchArgs` refuses a trace, which statsd does not have.
                let word = kind.statsd_type().unwrap_or_default();
                put(out, &format!("{name}:{value}|{word}"));
                let mut sign = "|#";
                self.each_tag(series, |key, value| {
                    put(out, &format!("{sign}{key}:{value}"));
                    sign = ",";
                });
                self.fill(out, start, &format!("{sign}padding:"), "");
            }
        }
    }

    fn name(&self, series: u32, kind: MetricKind) -> String {
        let number = series / SERIES_PER_NAME;
        match self.load.tags {
            0 => format!("bench.{kind}.{number}.s{series}"),
            _ => format!("bench.{kind}.{number}"),
        }
    }

    fn value(&self, kind: MetricKind, value: u32) -> String {
        match kind {
            MetricKind::Counter | MetricKind::Trace => "1".to_owned(),
            MetricKind::Gauge => value.to_string(),
            MetricKind::Set => format!("member-{value}"),
            MetricKind::Timer => {
                let rank = (f64::from(value) + 0.5) / f64::from(self.load.values);
                format!("{:.2}", -TIMER_MEAN * (1.0 - rank).ln())
            }
        }
    }

    fn each_tag(&self, series: u32, mut each: impl FnMut(&str, &str)) {
        for index in 0..u32::from(self.load.tags) {
            let numbered;
            let key = match TAG_KEYS.get(index as usize) {
                Some(key) => *key,
                None => {
                    numbered = format!("tag{index}");
                    &numbered
                }
            };
            let value = match index {
                0 => format!("s{series}"),
                _ => format!("{key}-{}", series / index % 7),
            };
            each(key, &value);
        }
    }

    /// Ends a message, after a padding tag if it is too short.
    fn fill(&self, out: &mut Vec<u8>, start: usize, tag: &str, end: &str) {
        let is_json = self.load.protocol == Protocol::Json;
        let plain_end = if is_json { "}" } else { "" };
        let short = self.load.message_bytes.saturating_sub(out.len() - start + plain_end.len());
        if short == 0 {
            return put(out, plain_end);
        }
        put(out, tag);
        let missing = self.load.message_bytes.saturating_sub(out.len() - start + end.len());
        out.resize(out.len() + missing.max(1), b'x');
        put(out, end);
    }
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn json_value(kind: MetricKind, value: &str) -> String {
    match kind {
        MetricKind::Counter => format!(r#","count":{value}"#),
        MetricKind::Gauge | MetricKind::Timer => format!(r#","value":{value}"#),
        MetricKind::Set => format!(r#","value":"{value}""#),
        MetricKind::Trace => String::new(),
    }
}

/// `count` types in these shares, evenly mixed: the next type is always the one furthest below its
/// share.
fn interleaved(shares: &[(MetricKind, u32)], count: usize) -> Vec<MetricKind> {
    let total: i64 = shares.iter().map(|(_, share)| i64::from(*share)).sum();
    let mut credit = vec![0_i64; shares.len()];
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let mut chosen = 0;
        for (index, (_, share)) in shares.iter().enumerate() {
            credit[index] += i64::from(*share);
            if credit[index] > credit[chosen] {
                chosen = index;
            }
        }
        credit[chosen] -= total;
        kinds.push(shares[chosen].0);
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::protocol::{MessageLimits, Sample, json, statsd};

    fn load(protocol: Protocol, types: &str) -> Load {
        Load {
            protocol,
            gso: false,
            is_datagram: true,
            types: types.parse().unwrap(),
            series: 2500,
            tags: 4,
            values: 1000,
            message_bytes: 0,
            batch: 1,
            seed: 1,
        }
    }

    fn message(load: &Load, series: u32, value: u32) -> String {
        let mut out = Vec::new();
        Messages::new(load).write(&mut out, series, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_are_as_clients_write_them() {
        let json = load(Protocol::Json, "counter");
        assert_eq!(
            message(&json, 17, 3),
            r#"{"metric_name":"bench.counter.0","metric_type":"counter","count":1,"series":"s17","stage":"stage-3","region":"region-1","service":"service-5"}"#
        );
        let mut statsd = load(Protocol::Statsd, "timer");
        statsd.tags = 2;
        assert_eq!(
            message(&statsd, 1017, 499),
            "bench.timer.1:6.92|ms|#series:s1017,stage:stage-2"
        );
        statsd.tags = 0;
        assert_eq!(message(&statsd, 1017, 0), "bench.timer.1.s1017:0.01|ms");
    }

    #[test]
    fn each_type_of_each_protocol_is_accepted_at_any_size() {
        for (protocol, kind) in [Protocol::Json, Protocol::Statsd]
            .into_iter()
            .flat_map(|protocol| MetricKind::ALL.map(|kind| (protocol, kind)))
            .filter(|pair| *pair != (Protocol::Statsd, MetricKind::Trace))
        {
            for (tags, message_bytes) in [(0, 0), (0, 30), (3, 100), (255, 8000), (4, 65_507)] {
                let load = Load { tags, message_bytes, ..load(protocol, kind.as_str()) };
                let text = message(&load, 2499, 999);
                assert!(text.len() >= message_bytes, "{text}");
                let mut samples = 0;
                let mut each = |sample: Result<Sample<'_>, _>| {
                    assert_eq!(sample.unwrap().value.kind(), kind, "{text}");
                    samples += 1;
                };
                let limits = MessageLimits::default();
                match protocol {
                    Protocol::Json => json::decode(text.as_bytes(), &limits, &mut each),
                    Protocol::Statsd => {
                        statsd::decode(text.as_bytes(), &limits, &mut each);
                    }
                }
                assert_eq!(samples, 1, "{text}");
            }
        }
        let padded = Load { message_bytes: 200, ..load(Protocol::Json, "set") };
        assert_eq!(message(&padded, 0, 0).len(), 200);
    }

    #[test]
    fn shares_are_kept_and_mixed() {
        let shares = [(MetricKind::Counter, 8), (MetricKind::Gauge, 1), (MetricKind::Timer, 1)];
        let kinds = interleaved(&shares, 100);
        for ten in kinds.chunks(10) {
            for (kind, share) in shares {
                assert_eq!(ten.iter().filter(|other| **other == kind).count() as u32, share);
            }
        }
    }
}
