//! A reference decoder for statsd lines, which splits text step by step.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::{MetricKind, TimerType};

use super::{assert_invariants, assert_same_sample};
use crate::protocol::{LineFacts, MessageLimits, RejectReason, Sample, SampleValue, Tags, statsd};

/// Low limits, so that short inputs reach them, but more tags than fit without an allocation.
const LIMITS: MessageLimits = MessageLimits { max_tags: 12, max_values: 12 };

/// The expected sample or rejection of a line or value.
type ExpectedMessage = Result<Sample<'static>, RejectReason>;

/// Compares the decoder with the reference, line by line.
pub fn check(input: &[u8]) {
    let mut ours = Vec::new();
    let ours_skipped = statsd::decode(input, &LIMITS, &mut |message| ours.push(message));
    let (mut expected, mut skipped) = (Vec::new(), 0);
    for line in input.split(|byte| *byte == b'\n').map(super::trim) {
        if line.starts_with(b"_e{") || line.starts_with(b"_sc|") {
            skipped += 1;
        } else if !line.is_empty() {
            expected.extend(decode_line(line));
        }
    }
    assert_eq!(ours_skipped, skipped, "skipped lines");
    assert_eq!(ours.len(), expected.len(), "messages: {ours:#?}, not {expected:#?}");
    for (ours, expected) in ours.iter().zip(&expected) {
        match (ours, expected) {
            (Ok(ours), Ok(expected)) => {
                assert_invariants(ours);
                assert_eq!(ours.facts, expected.facts, "{ours:?}");
                assert_same_sample(ours, expected);
            }
            (Err(rejection), Err(reason)) => {
                assert!(rejection.offset <= input.len(), "{rejection:?}");
                assert_eq!(rejection.reason, *reason, "{rejection:?}");
            }
            _ => panic!("{ours:#?}, not {expected:#?}"),
        }
    }
}

/// Decodes each value of a line; one rejection if the whole line is invalid.
fn decode_line(line: &[u8]) -> Vec<ExpectedMessage> {
    let text = std::str::from_utf8(line).ok().filter(|line| !line.contains('\0'));
    let Some(line) = text else { return vec![Err(RejectReason::BadLine)] };
    values(line).unwrap_or_else(|reason| vec![Err(reason)])
}

fn values(line: &str) -> Result<Vec<ExpectedMessage>, RejectReason> {
    let (front, sections) = line.split_once('|').map_or((line, None), |(f, s)| (f, Some(s)));
    let (name, tags, values) = read_front(front)?;
    let mut tags = tag_list(tags)?;
    if name.is_empty() {
        return Err(RejectReason::BadName);
    }
    let runs = runs(values, sections.ok_or(RejectReason::BadLine)?, &mut tags)?;
    let values: Vec<(&Run<'_>, &str)> = runs
        .iter()
        .flat_map(|run| split_values(run).into_iter().map(move |value| (run, value)))
        .collect();
    if values.len() > LIMITS.max_values {
        return Err(RejectReason::TooManyValues);
    }
    // The last of equal keys wins; an empty value means no tag.
    let mut set: BTreeMap<&str, &str> = tags.into_iter().collect();
    set.retain(|_, value| !value.is_empty());
    let owned = |text: &str| Cow::Owned(text.to_owned());
    let tags: Tags<'static> =
        set.into_iter().map(|(k, v)| (owned(k), v.to_owned().into())).collect();
    let is_timestamped = line.split('|').skip(2).any(|section| {
        section.len() > 1
            && section.starts_with('T')
            && section[1..].bytes().all(|b| b.is_ascii_digit())
    });
    let sample = |(run, text): (&Run<'_>, &str)| {
        let value = value(run.kind, text)?;
        let facts = LineFacts { timer_type: run.timer_type, is_timestamped };
        let name = name.clone().into();
        Ok(Sample { name, value, weight: run.weight, tags: tags.clone(), facts })
    };
    Ok(values.into_iter().map(sample).collect())
}

/// The name, the tag lists, and the first values.
type Front<'a> = (String, Vec<TagText<'a>>, &'a str);

/// Tags as they are written, with the character between them and that after a key.
struct TagText<'a> {
    text: &'a str,
    between: char,
    after_key: char,
}

impl<'a> TagText<'a> {
    fn new(text: &'a str, between: char) -> Self {
        Self { text, between, after_key: '=' }
    }
}

/// Splits the part before the first `|`.
fn read_front(front: &str) -> Result<Front<'_>, RejectReason> {
    let mut tags = Vec::new();
    let (mut start, mut rest) = ("", front);
    if let Some(open) = front.find(['[', ',', ':'])
        && let Some((inside, after)) =
            front[open..].strip_prefix('[').and_then(|t| t.split_once(']'))
        && after.contains(':')
        && split_name(&front[..open], &front[open..]).is_none()
    {
        tags.push(TagText::new(inside, ','));
        (start, rest) = (&front[..open], after);
    } else if has_half_of_brackets(front) {
        return Err(RejectReason::BadLine);
    }
    let (name, values) = rest.split_once(':').ok_or(RejectReason::BadLine)?;
    let name = match split_name(name, "") {
        Some((name, text)) => {
            tags.push(text);
            name
        }
        None => name,
    };
    Ok((format!("{start}{name}"), tags, values))
}

/// Splits a name before its tags of Telegraf, Graphite or Librato. `None` if it has none. `after` is the
/// text after the name.
fn split_name<'a>(name: &'a str, after: &str) -> Option<(&'a str, TagText<'a>)> {
    for (place, mark) in name.match_indices([',', ';', '#']) {
        let rest = &name[place + 1..];
        let text = |between| Some((&name[..place], TagText::new(rest, between)));
        let whole = format!("{rest}{after}");
        let begins_tag = || {
            let key = whole.find(['=', ',', ';', '#', '[', ']', ':']);
            key.is_some_and(|end| whole[end..].starts_with('='))
        };
        match mark {
            "," => return text(','),
            ";" if begins_tag() => return text(';'),
            "#" if begins_tag() => return text(','),
            _ => {}
        }
    }
    None
}

/// Whether the first bracket before the values begins or ends something like tags, but its partner
/// is missing.
fn has_half_of_brackets(front: &str) -> bool {
    let Some((own, _)) = front.split_once(':') else { return false };
    let name = split_name(own, "").map_or(own, |(name, _)| name);
    let Some(bracket) = own.find(['[', ']']) else { return false };
    if own[bracket..].starts_with('[') {
        bracket < name.len() && own[bracket..].contains('=')
    } else {
        own[..bracket.min(name.len())].contains('=')
    }
}

fn tag_list(texts: Vec<TagText<'_>>) -> Result<Vec<(&str, &str)>, RejectReason> {
    let mut tags = Vec::new();
    for text in texts {
        read_tags(&text, &mut tags)?;
    }
    Ok(tags)
}

fn read_tags<'a>(
    text: &TagText<'a>,
    tags: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), RejectReason> {
    let TagText { text, between, after_key } = *text;
    let strip = |tag: &'a str| if after_key == ':' { tag.trim_start_matches('#') } else { tag };
    for tag in text.split(between).map(strip).filter(|tag| !tag.is_empty()) {
        let (key, value) = tag.split_once(after_key).unwrap_or((tag, "true"));
        if key.is_empty() {
            return Err(RejectReason::BadTag);
        }
        if tags.len() == LIMITS.max_tags {
            return Err(RejectReason::TooManyTags);
        }
        tags.push((key, value));
    }
    Ok(())
}

/// A run of values with a common type and rate.
struct Run<'a> {
    values: &'a str,
    kind: MetricKind,
    timer_type: TimerType,
    weight: f64,
}

/// Reads the part after the first `|`.
fn runs<'a>(
    values: &'a str,
    sections: &'a str,
    tags: &mut Vec<(&'a str, &'a str)>,
) -> Result<Vec<Run<'a>>, RejectReason> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    // Values whose type comes next. After a type or a rate, a colon may start another run.
    let mut untyped = Some(values);
    for section in sections.split('|') {
        let head = section.split(':').next().unwrap_or_default();
        let behind = section.split_once(':').map(|(_, behind)| behind);
        if let Some(values) = untyped.take() {
            let kind = match MetricKind::from_statsd_type(head) {
                Some(kind) => kind,
                None if head.is_empty() => return Err(RejectReason::MissingType),
                None => return Err(RejectReason::UnknownType),
            };
            let timer_type = match (kind, head) {
                (MetricKind::Timer, "h") => TimerType::Histogram,
                (MetricKind::Timer, "d") => TimerType::Distribution,
                _ => TimerType::Timing,
            };
            runs.push(Run { values, kind, timer_type, weight: 1.0 });
            untyped = behind;
        } else if let Some(rate) = head.strip_prefix('@') {
            let rate = number(rate).filter(|rate| *rate > 0.0 && *rate <= 1.0);
            let weight = rate.map(f64::recip).filter(|weight| weight.is_finite());
            let weight = weight.ok_or(RejectReason::BadSampleRate)?;
            if let Some(Run {
                kind: MetricKind::Counter | MetricKind::Timer, weight: rated, ..
            }) = runs.last_mut()
            {
                *rated = weight;
            }
            untyped = behind;
        } else if let Some(text) = section.strip_prefix('#') {
            read_tags(&TagText { text, between: ',', after_key: ':' }, tags)?;
        } else if section.starts_with(':') && section != ":" {
            untyped = behind;
        } else {
            extension(section)?;
        }
    }
    if untyped.is_some() { Err(RejectReason::BadLine) } else { Ok(runs) }
}

/// Whether a section may be ignored.
fn extension(section: &str) -> Result<(), RejectReason> {
    let word = section.split_once(':').map_or("", |(word, _)| word);
    let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic())
        && word.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    if matches!(section, "" | ":") || section.starts_with('T') || is_word {
        return Ok(());
    }
    let is_rate = section.starts_with(|first: char| "0123456789.+-".contains(first));
    Err(if is_rate { RejectReason::BadSampleRate } else { RejectReason::BadLine })
}

fn split_values<'a>(run: &Run<'a>) -> Vec<&'a str> {
    if run.kind == MetricKind::Set { vec![run.values] } else { run.values.split(':').collect() }
}

fn value(kind: MetricKind, text: &str) -> Result<SampleValue<'static>, RejectReason> {
    if text.is_empty() {
        return Err(RejectReason::MissingValue);
    }
    if kind == MetricKind::Set {
        return Ok(SampleValue::Set(text.to_owned().into()));
    }
    let number = number(text).ok_or(RejectReason::BadValue)?;
    Ok(match kind {
        MetricKind::Counter => SampleValue::Counter(number),
        MetricKind::Gauge if text.starts_with(['+', '-']) => SampleValue::GaugeAdd(number),
        MetricKind::Gauge => SampleValue::GaugeSet(number),
        _ => SampleValue::Timer(number),
    })
}

/// A finite number. The standard library also accepts `inf` and `nan`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
