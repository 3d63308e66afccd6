//! The page that Prometheus scrapes, in text format 0.0.4 and OpenMetrics 1.0.

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;

use super::names::{FamilyName, quantile};
use super::state::{Shown, Slot, State};
use crate::format::number;
use model::{MetricKind, Percentile};

/// The last line of every OpenMetrics page.
const EOF: &[u8] = b"# EOF\n";

/// The formats of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
}

impl PageFormat {
    /// Returns the value of the `Content-Type` header.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The rendered state after one window. The lines of samples are the same in both formats and are
/// written once; a complete page is assembled at the first scrape that needs it and kept for the
/// next.
#[derive(Debug, Default)]
pub(super) struct Page {
    samples: Vec<u8>,
    headers: Vec<u8>,
    families: Vec<FamilyOnPage>,
    /// Whether OpenMetrics does not allow the page, unlike the text format: a timer has negative
    /// values or a name that OpenMetrics reserves, or series are renamed, so that a counter may
    /// lack its suffix.
    breaks_openmetrics: bool,
    text: Rendered,
    openmetrics: Rendered,
    names: OnceLock<HashSet<String>>,
}

/// The positions of a family's parts in `headers` and `samples`.
#[derive(Debug)]
struct FamilyOnPage {
    text_header: Range<usize>,
    openmetrics_header: Range<usize>,
    samples: Range<usize>,
}

#[derive(Debug, Default)]
struct Rendered {
    plain: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl Page {
    /// Renders the state into `memory`, which an old page no longer needs.
    pub(super) fn of(state: &State, percentiles: &[Percentile], mut memory: Vec<u8>) -> Self {
        memory.clear();
        let mut page = Self { samples: memory, ..Self::default() };
        let mut writer = SampleWriter::new(percentiles);
        for (name, kind, origin, slots) in state.families() {
            let start = page.samples.len();
            for slot in slots {
                writer.write(&mut page.samples, name, slot);
            }
            page.breaks_openmetrics |= kind == MetricKind::Timer && !name.typed_in_openmetrics;
            page.add_family(name, kind, origin, start);
        }
        page.breaks_openmetrics |= writer.has_negative_timer || state.has_naming();
        page
    }

    /// Returns the memory for the next [`Page::of`].
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.samples
    }

    /// Returns the size of all samples, in bytes.
    pub(super) fn sample_bytes(&self) -> usize {
        self.samples.len()
    }

    /// Returns the names of all metrics and of their samples.
    pub(super) fn names(&self) -> &HashSet<String> {
        // Only a merged page needs the names, so they are collected at the first scrape with one.
        self.names.get_or_init(|| {
            let header = |family: &FamilyOnPage| {
                String::from_utf8_lossy(&self.headers[family.text_header.clone()]).into_owned()
            };
            let headers = self.families.iter().map(header);
            headers.flat_map(|header| names_of(&header)).collect()
        })
    }

    /// Returns whether the page cannot be shown in OpenMetrics.
    pub(super) fn breaks_openmetrics(&self) -> bool {
        self.breaks_openmetrics
    }

    /// Returns the complete page. The first call for a format assembles it.
    pub(super) fn plain(&self, format: PageFormat) -> Bytes {
        self.rendered(format).plain.get_or_init(|| self.assemble(format).into()).clone()
    }

    /// Returns the complete page, compressed. The first call for a format compresses it.
    pub(super) fn gzip(&self, format: PageFormat) -> Bytes {
        let compressed = || {
            let plain = self.plain(format);
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            let _in_memory = encoder.write_all(&plain);
            encoder.finish().unwrap_or_default().into()
        };
        self.rendered(format).gzip.get_or_init(compressed).clone()
    }

    /// Returns whether the page is already assembled in this form.
    pub(super) fn is_at_hand(&self, format: PageFormat, is_gzip: bool) -> bool {
        let rendered = self.rendered(format);
        let copy = if is_gzip { &rendered.gzip } else { &rendered.plain };
        copy.get().is_some()
    }

    fn rendered(&self, format: PageFormat) -> &Rendered {
        match format {
            PageFormat::Text => &self.text,
            PageFormat::OpenMetrics => &self.openmetrics,
        }
    }

    fn assemble(&self, format: PageFormat) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.samples.len() + self.headers.len() + EOF.len());
        for family in &self.families {
            let header = match format {
                PageFormat::Text => &family.text_header,
                PageFormat::OpenMetrics => &family.openmetrics_header,
            };
            whole.extend_from_slice(&self.headers[header.clone()]);
            whole.extend_from_slice(&self.samples[family.samples.clone()]);
        }
        if format == PageFormat::OpenMetrics {
            whole.extend_from_slice(EOF);
        }
        whole
    }

    fn add_family(&mut self, name: &FamilyName, kind: MetricKind, origin: &str, start: usize) {
        let word = match kind {
            MetricKind::Counter | MetricKind::Trace => "counter",
            MetricKind::Gauge | MetricKind::Set => "gauge",
            MetricKind::Timer => "summary",
        };
        let words = ["tallyd ", kind.as_str(), " "];
        // The origin of a renamed family is its complete description.
        let help = if name.is_renamed { &[][..] } else { &words };
        let text_header = self.add_header(&name.sample, word, help, origin);
        // Only the headers of counters differ: OpenMetrics names the family without `_total`.
        let openmetrics_header = if word != "counter" {
            text_header.clone()
        } else if name.typed_in_openmetrics && !name.is_renamed {
            self.add_header(&name.base, word, help, origin)
        } else {
            // `unknown` needs no suffix, and the name of the only sample is unique already.
            self.add_header(&name.sample, "unknown", help, origin)
        };
        let samples = start..self.samples.len();
        self.families.push(FamilyOnPage { text_header, openmetrics_header, samples });
    }

    fn add_header(&mut self, name: &str, word: &str, help: &[&str], origin: &str) -> Range<usize> {
        let start = self.headers.len();
        let out = &mut self.headers;
        for part in ["# HELP ", name, " "].iter().chain(help) {
            out.extend_from_slice(part.as_bytes());
        }
        for byte in origin.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                // Both formats share the header, but only OpenMetrics allows an escaped quote.
                b'"' => out.push(b'\''),
                _ => out.push(byte),
            }
        }
        for part in ["\n# TYPE ", name, " ", word, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        start..out.len()
    }
}

/// Returns the sample names of the family with this header.
fn names_of(header: &str) -> Vec<String> {
    let of_type = header.lines().find_map(|line| line.strip_prefix("# TYPE "));
    let Some((name, word)) = of_type.and_then(|line| line.split_once(' ')) else { return vec![] };
    let ends: &[&str] = if word == "summary" { &["", "_sum", "_count"] } else { &[""] };
    ends.iter().map(|end| format!("{name}{end}")).collect()
}

/// Writes the lines of samples; its buffers are shared by all series.
struct SampleWriter {
    /// `quantile="0.9"} ` for each percentile, the same for all summaries.
    quantiles: Vec<String>,
    /// The labels of the current series, with braces and the trailing blank.
    labels: Vec<u8>,
    /// The start of each quantile line of the current summary: its name and its labels without the
    /// closing brace.
    before_quantile: Vec<u8>,
    has_negative_timer: bool,
}

impl SampleWriter {
    fn new(percentiles: &[Percentile]) -> Self {
        let label = |percentile| format!("quantile=\"{}\"}} ", quantile(percentile));
        Self {
            quantiles: percentiles.iter().map(label).collect(),
            labels: Vec::new(),
            before_quantile: Vec::new(),
            has_negative_timer: false,
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, name: &FamilyName, slot: &Slot) {
        let (name, is_renamed) = (name.sample.as_bytes(), name.is_renamed);
        self.take_labels(slot);
        match &slot.shown {
            Shown::Total { shown: value, .. } | Shown::Last(value) if is_renamed => {
                // The format of Go, in which the exporters print their values.
                line_of(out, &[name, &self.labels], |out| number::write_as_go(out, *value));
            }
            Shown::Total { shown, .. } => line(out, &[name, &self.labels], *shown),
            Shown::Last(value) => line(out, &[name, &self.labels], *value),
            Shown::Summary { count, sum, percentiles } => {
                // OpenMetrics forbids negative values and sums in summaries.
                let least = percentiles.iter().copied().fold(sum.value(), f64::min);
                self.has_negative_timer |= least < 0.0;
                self.take_before_quantile(name);
                for (quantile, value) in self.quantiles.iter().zip(percentiles) {
                    line(out, &[&self.before_quantile, quantile.as_bytes()], *value);
                }
                line(out, &[name, b"_sum", &self.labels], sum.value());
                line(out, &[name, b"_count", &self.labels], whole(count.value()));
            }
        }
    }

    fn take_labels(&mut self, slot: &Slot) {
        self.labels.clear();
        for (label, value) in slot.series.tags() {
            self.labels.push(if self.labels.is_empty() { b'{' } else { b',' });
            self.labels.extend_from_slice(label.as_bytes());
            self.labels.extend_from_slice(b"=\"");
            write_escaped(&mut self.labels, value);
            self.labels.push(b'"');
        }
        let end: &[u8] = if self.labels.is_empty() { b" " } else { b"} " };
        self.labels.extend_from_slice(end);
    }

    fn take_before_quantile(&mut self, name: &[u8]) {
        self.before_quantile.clear();
        self.before_quantile.extend_from_slice(name);
        match self.labels.strip_suffix(b"} ") {
            Some(labels) => {
                self.before_quantile.extend_from_slice(labels);
                self.before_quantile.push(b',');
            }
            None => self.before_quantile.push(b'{'),
        }
    }
}

fn line(out: &mut Vec<u8>, before: &[&[u8]], value: f64) {
    line_of(out, before, |out| number::write(out, value));
}

fn line_of(out: &mut Vec<u8>, before: &[&[u8]], number: impl FnOnce(&mut Vec<u8>)) {
    before.iter().for_each(|piece| out.extend_from_slice(piece));
    number(out);
    out.push(b'\n');
}

/// Rounds the count of a summary to a whole number, as both formats require. Only the total is
/// rounded, so the error never exceeds half a sample.
pub(super) fn whole(count: f64) -> f64 {
    count.round()
}

fn write_escaped(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        out.extend_from_slice(&rest[..at]);
        let escape: &[u8] = match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        };
        out.extend_from_slice(escape);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
