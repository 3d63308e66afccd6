//! Chooses the format and the encoding of a reply from the request's headers.

use super::page::PageFormat;

/// Returns the format for an `Accept` header. It is text unless the scraper prefers OpenMetrics, or
/// protobuf if there is such a page: it names that format with a greater weight than text, or with
/// the same weight and earlier. A request for an unknown format gets text too: a scraper may be
/// able to read it, but can do nothing with an error.
pub(super) fn format(accept: &str, has_protobuf: bool) -> PageFormat {
    // Weight and position in the list. Of equal weights the first wins, and a name wins over a
    // wildcard.
    let (mut openmetrics, mut text) = ((0.0, 0), (0.0, usize::MAX));
    let mut protobuf = (0.0, 0);
    for (index, (media, weight)) in weighted(accept).enumerate() {
        let name = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/openmetrics-text" if is_version_1(media) && weight > openmetrics.0 => {
                openmetrics = (weight, index);
            }
            "application/vnd.google.protobuf"
                if has_protobuf && is_delimited_family(media) && weight > protobuf.0 =>
            {
                protobuf = (weight, index);
            }
            "text/plain" if weight > text.0 => text = (weight, index),
            "text/*" | "*/*" if weight > text.0 => text = (weight, usize::MAX),
            _ => {}
        }
    }
    let is_preferred =
        |a: (f64, usize), b: (f64, usize)| a.0 > 0.0 && (a.0 > b.0 || (a.0 == b.0 && a.1 < b.1));
    if is_preferred(protobuf, openmetrics) && is_preferred(protobuf, text) {
        PageFormat::Protobuf
    } else if is_preferred(openmetrics, text) {
        PageFormat::OpenMetrics
    } else {
        PageFormat::Text
    }
}

/// Returns whether the element accepts messages `MetricFamily`, each preceded by its length.
fn is_delimited_family(media: &str) -> bool {
    parameter(media, "proto") == Some("io.prometheus.client.MetricFamily")
        && parameter(media, "encoding") == Some("delimited")
}

/// Returns whether the scraper accepts text, which an empty `Accept` header does.
pub(super) fn accepts_text(accept: &str) -> bool {
    let takes = |(media, weight): (&str, f64)| {
        let name = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        weight > 0.0 && matches!(name.as_str(), "text/plain" | "text/*" | "*/*")
    };
    accept.trim().is_empty() || weighted(accept).any(takes)
}

/// Returns whether an `Accept-Encoding` header allows gzip.
pub(super) fn gzip(accept_encoding: &str) -> bool {
    let mut any = false;
    for (coding, weight) in weighted(accept_encoding) {
        match coding.split(';').next().unwrap_or_default().trim() {
            // An explicit `gzip` decides, even with weight 0 next to `*`.
            name if name.eq_ignore_ascii_case("gzip") => return weight > 0.0,
            "*" => any = weight > 0.0,
            _ => {}
        }
    }
    any
}

/// Iterates over the elements of a header with their weights (`q`).
fn weighted(header: &str) -> impl Iterator<Item = (&str, f64)> {
    header.split(',').map(|element| {
        // No weight means 1; a weight that is not a number excludes the element.
        let weight = parameter(element, "q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        (element, weight)
    })
}

/// Returns whether the element accepts OpenMetrics 1.0, which is also the default for a missing
/// version. 0.0.1 is an early draft.
fn is_version_1(media: &str) -> bool {
    parameter(media, "version").is_none_or(|version| version == "1.0.0")
}

fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_text_unless_openmetrics_is_requested() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.2";
        for accept in [
            prometheus_2,
            prometheus_3,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
            "application/openmetrics-text, */*",
            "*/*, application/openmetrics-text",
            "application/openmetrics-text, text/plain",
            "text/plain;q=0.5, application/openmetrics-text;q=0.6",
        ] {
            assert_eq!(format(accept, true), PageFormat::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/html, */*;q=0.8",
            "text/plain, application/openmetrics-text",
            "application/openmetrics-text;q=0.2, text/plain;q=0.3",
            "application/openmetrics-text;q=0.2, */*;q=0.3",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/json",
            ";;;=,,q=",
        ] {
            assert_eq!(format(accept, true), PageFormat::Text, "{accept}");
        }
    }

    #[test]
    fn protobuf_is_used_only_if_it_is_preferred_and_exists() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited";
        let prometheus = format!(
            "{protobuf};q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(super::format(&prometheus, true), PageFormat::Protobuf);
        assert_eq!(super::format(&prometheus, false), PageFormat::OpenMetrics);
        assert_eq!(super::format(protobuf, true), PageFormat::Protobuf);
        assert_eq!(super::format(&format!("text/plain,{protobuf}"), true), PageFormat::Text);
        let text = protobuf.replace("delimited", "text");
        assert_eq!(super::format(&text, true), PageFormat::Text);
    }

    #[test]
    fn gzip_is_used_only_if_the_client_accepts_it() {
        for header in ["gzip", "GZIP;q=0.1", "deflate, gzip", "br;q=1.0, *;q=0.5"] {
            assert!(gzip(header), "{header}");
        }
        for header in ["", "identity", "gzip;q=0", "*, gzip;q=0", "*;q=0", "gzipped"] {
            assert!(!gzip(header), "{header}");
        }
    }
}
