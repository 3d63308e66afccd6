//! The page that Prometheus scrapes, in text format 0.0.4, OpenMetrics 1.0 and protobuf.

use std::collections::HashSet;
use std::io::Write;
use std::ops::Range;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;

use super::names::FamilyName;
use super::protobuf;
use super::sample_lines::SampleWriter;
use super::state::State;
use super::timers::{TimerFamily, TimerForm};
use model::{MetricKind, Percentile};

/// The last line of every OpenMetrics page.
const EOF: &[u8] = b"# EOF\n";

/// The formats of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// Messages of type `io.prometheus.client.MetricFamily`, with their lengths.
    Protobuf,
}

impl PageFormat {
    /// Returns the value of the `Content-Type` header.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }
}

/// The rendered state after one window. The lines of samples are the same in both text formats and
/// are written once. A complete page is assembled at the first scrape that needs it and kept for
/// the next.
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
    /// Rendered with the text and not at the first scrape, because that would need a copy of all
    /// histograms. `None` unless timers are shown as native histograms.
    protobuf: Option<Rendered>,
    /// Filled by [`Page::names`].
    names: OnceLock<HashSet<String>>,
}

/// The positions of a family's parts in `headers` and `samples`.
#[derive(Debug)]
struct FamilyOnPage {
    text_header: Range<usize>,
    openmetrics_header: Range<usize>,
    samples: Range<usize>,
}

/// The complete page in one format, plain and compressed, each from the first request for it on.
#[derive(Debug, Default)]
struct Rendered {
    plain: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl Rendered {
    fn of(page: Vec<u8>) -> Self {
        Self { plain: OnceLock::from(Bytes::from(page)), gzip: OnceLock::new() }
    }
}

impl Page {
    /// Renders the state into `memory`, which an old page no longer needs.
    pub(super) fn of(state: &State, percentiles: &[Percentile], mut memory: Vec<u8>) -> Self {
        memory.clear();
        let forms = &state.timers().forms;
        let protobuf = forms.has(TimerForm::Native).then(|| protobuf::page(state, percentiles));
        let mut page = Self { samples: memory, ..Self::default() };
        let mut writer = SampleWriter::new(percentiles);
        for (name, kind, origin, slots) in state.families() {
            page.breaks_openmetrics |= kind == MetricKind::Timer && !name.typed_in_openmetrics;
            if kind != MetricKind::Timer {
                let start = page.samples.len();
                slots.for_each(|slot| writer.write(&mut page.samples, name, slot));
                page.add_family(name, kind, origin, start);
                continue;
            }
            for (family, suffix) in forms.families() {
                let name = format!("{}{suffix}", name.sample);
                let start = page.samples.len();
                for slot in slots.clone() {
                    writer.write_timer(&mut page.samples, name.as_bytes(), slot, family);
                }
                page.add_timer(&name, family, origin, start);
            }
        }
        page.protobuf = protobuf.map(Rendered::of);
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

    /// Returns whether the page exists in protobuf.
    pub(super) fn has_protobuf(&self) -> bool {
        self.protobuf.is_some()
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
        match (format, &self.protobuf) {
            (PageFormat::OpenMetrics, _) => &self.openmetrics,
            (PageFormat::Protobuf, Some(protobuf)) => protobuf,
            (PageFormat::Text | PageFormat::Protobuf, _) => &self.text,
        }
    }

    fn assemble(&self, format: PageFormat) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.samples.len() + self.headers.len() + EOF.len());
        for family in &self.families {
            let header = match format {
                PageFormat::Text | PageFormat::Protobuf => &family.text_header,
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
            MetricKind::Gauge | MetricKind::Set | MetricKind::Timer => "gauge",
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
            // `unknown` needs no suffix, and no other family has the name of these samples.
            self.add_header(&name.sample, "unknown", help, origin)
        };
        let samples = start..self.samples.len();
        self.families.push(FamilyOnPage { text_header, openmetrics_header, samples });
    }

    fn add_timer(&mut self, name: &str, family: TimerFamily, origin: &str, start: usize) {
        let help = ["tallyd ", MetricKind::Timer.as_str(), " "];
        let text_header = self.add_header(name, family.type_word(), &help, origin);
        let openmetrics_header = text_header.clone();
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
    let families = [TimerFamily::Summary, TimerFamily::Histogram];
    let family = families.into_iter().find(|family| family.type_word() == word);
    let ends = family.map_or(&[""][..], TimerFamily::sample_suffixes);
    ends.iter().map(|end| format!("{name}{end}")).collect()
}
