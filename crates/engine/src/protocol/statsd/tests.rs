use std::collections::BTreeMap;

use model::{METRIC_WORDS, TimerType};
use proptest::prelude::*;

use super::values::KNOWN_TYPES;
use super::*;
use crate::protocol::{SampleValue, TagValue};

mod peers;

fn decoded(datagram: &[u8]) -> Vec<Result<Sample<'_>, Rejection>> {
    let mut messages = Vec::new();
    decode(datagram, &MessageLimits::default(), &mut |message| messages.push(message));
    messages
}

fn skipped(datagram: &[u8]) -> u64 {
    decode(datagram, &MessageLimits::default(), &mut |_| {})
}

fn one(line: &str) -> Sample<'_> {
    let mut messages = decoded(line.as_bytes());
    assert_eq!(messages.len(), 1, "{line}");
    messages.remove(0).unwrap_or_else(|rejection| panic!("{line}: {rejection:?}"))
}

/// `name kind value`, then the weight if it is not 1, then the tags.
fn shown(sample: &Sample<'_>) -> String {
    use std::fmt::Write as _;

    let mut shown = match &sample.value {
        SampleValue::Counter(count) => format!("{} counter {count}", sample.name),
        SampleValue::Total { .. } => panic!("no line has a running total"),
        SampleValue::GaugeSet(value) => format!("{} gauge {value}", sample.name),
        SampleValue::GaugeAdd(value) => format!("{} gauge {value:+}", sample.name),
        SampleValue::Timer(value) => format!("{} timer {value}", sample.name),
        SampleValue::Set(member) => format!("{} set {member}", sample.name),
        SampleValue::Trace => format!("{} trace", sample.name),
    };
    if sample.weight != 1.0 {
        write!(shown, " x{}", sample.weight).unwrap();
    }
    for (key, value) in &sample.tags {
        write!(shown, " {key}={value}").unwrap();
    }
    shown
}

/// The samples of a datagram, and its rejections as `reason@offset`.
fn outcome(datagram: impl AsRef<[u8]>) -> Vec<String> {
    decoded(datagram.as_ref())
        .iter()
        .map(|message| match message {
            Ok(sample) => shown(sample),
            Err(rejection) => format!("{}@{}", rejection.reason.as_str(), rejection.offset),
        })
        .collect()
}

#[test]
fn the_types_are_those_of_the_table() {
    for words in METRIC_WORDS {
        for word in words.statsd {
            let line = format!("m:1|{word}");
            assert_eq!(one(&line).value.kind(), words.kind, "{word}");
            assert_eq!(outcome(format!("m:|{word}")), ["missing_value@2"], "{word}");
        }
        for word in words.aliases().map(|alias| alias.word).chain([words.word]) {
            assert_eq!(outcome(format!("m:1|{word}")), ["unknown_type@4"], "{word}");
        }
    }
    let expected: Vec<&str> = KNOWN_TYPES.split('`').skip(1).step_by(2).collect();
    assert_eq!(
        expected,
        METRIC_WORDS.iter().flat_map(|words| words.statsd).copied().collect::<Vec<_>>()
    );
}

#[test]
fn lines_on_which_implementations_disagree() {
    let table: &[(&str, &[&str])] = &[
        // Names are kept.
        ("foo/bar baz:1|c", &["foo/bar baz counter 1"]),
        ("gl+ork:1|ms", &["gl+ork timer 1"]),
        ("né:1|c", &["né counter 1"]),
        ("a;b:1|c", &["a;b counter 1"]),
        ("call#5:1|c", &["call#5 counter 1"]),
        ("a=b:1|c", &["a=b counter 1"]),
        // Sections may come in any order, and tags are kept as they are.
        ("a.b:1|c|#env:prod,dc:us", &["a.b counter 1 dc=us env=prod"]),
        ("a:1|c|@0.1|#x:y:z", &["a counter 1 x10 x=y:z"]),
        ("a:1|c|#x:y|@0.1", &["a counter 1 x10 x=y"]),
        // Several values, packed as by DogStatsD and as by the original statsd.
        ("a:1:2|c", &["a counter 1", "a counter 2"]),
        ("a:1:2:3|ms|@0.5", &["a timer 1 x2", "a timer 2 x2", "a timer 3 x2"]),
        ("a:1:+2:-3|g", &["a gauge 1", "a gauge +2", "a gauge -3"]),
        ("a:1|c:2|c", &["a counter 1", "a counter 2"]),
        (
            "a:1|c|@0.1:2:3|ms:x|s|#k:v",
            &["a counter 1 x10 k=v", "a timer 2 k=v", "a timer 3 k=v", "a set x k=v"],
        ),
        // An invalid or empty value is one rejection and does not affect the others.
        ("a:1:x:3|c", &["a counter 1", "bad_value@4", "a counter 3"]),
        ("a:1::3|c", &["a counter 1", "missing_value@4", "a counter 3"]),
        ("a:1:2:x|c", &["a counter 1", "a counter 2", "bad_value@6"]),
        ("a:1:|c", &["a counter 1", "missing_value@4"]),
        ("a:|c", &["missing_value@2"]),
        ("a:|s", &["missing_value@2"]),
        // Types.
        ("a:1|h", &["a timer 1"]),
        ("a:1|d", &["a timer 1"]),
        ("a:1|zz", &["unknown_type@4"]),
        ("a:1|m", &["unknown_type@4"]),
        ("a:1|C", &["unknown_type@4"]),
        ("a:1| c", &["unknown_type@4"]),
        ("a:1|", &["missing_type@4"]),
        // Rates.
        ("a:1|c|@0", &["bad_sample_rate@7"]),
        ("a:1|c|@0x10", &["bad_sample_rate@7"]),
        ("a:1|c|@2", &["bad_sample_rate@7"]),
        ("a:1|c|@-0.5", &["bad_sample_rate@7"]),
        ("a:1|c|@nan", &["bad_sample_rate@7"]),
        ("a:1|c|@", &["bad_sample_rate@7"]),
        ("a:1|c|@5e-324", &["bad_sample_rate@7"]),
        ("a:1:2|c|@0", &["bad_sample_rate@9"]),
        ("a:1|c|@1e-3", &["a counter 1 x1000"]),
        ("a:1|c|@1", &["a counter 1"]),
        ("a:1|c|@0.3", &["a counter 1 x3.3333333333333335"]),
        ("a:5|ms|@0.6", &["a timer 5 x1.6666666666666667"]),
        ("a:5|ms|@1.5", &["bad_sample_rate@8"]),
        ("a:5|ms|@0.000000001", &["a timer 5 x999999999.9999999"]),
        ("a:5|g|@0.1", &["a gauge 5"]),
        ("a:5|s|@0.1", &["a set 5"]),
        ("a:5|g|@0", &["bad_sample_rate@7"]),
        ("a:1|c|@0.5|@0.1", &["a counter 1 x10"]),
        // Values.
        ("a:1.7|c", &["a counter 1.7"]),
        ("a:-1|c", &["a counter -1"]),
        ("a:+1|c", &["a counter 1"]),
        ("a:1e3|c", &["a counter 1000"]),
        ("a:-5|ms", &["a timer -5"]),
        ("a:0x10|c", &["bad_value@2"]),
        ("a:Infinity|g", &["bad_value@2"]),
        ("a:NaN|g", &["bad_value@2"]),
        ("a:1e400|ms", &["bad_value@2"]),
        ("a: 1|c", &["bad_value@2"]),
        ("a:1 |c", &["bad_value@2"]),
        ("a:333|g\na:-10|g\na:+4|g", &["a gauge 333", "a gauge -10", "a gauge +4"]),
        // Members of sets may look like anything.
        ("a:abc|s", &["a set abc"]),
        ("a:+4930123|s\na:-x|s", &["a set +4930123", "a set -x"]),
        ("a:2001:db8::1|s", &["a set 2001:db8::1"]),
        ("a:http://h:80/|s", &["a set http://h:80/"]),
        ("a: b |s", &["a set  b "]),
        // Additional sections of newer clients.
        ("a:1|c|c:ci-0123,in-4|T1656581400", &["a counter 1"]),
        ("a:1|c|#k:v|e:it-false|card:low|T1|@0.5", &["a counter 1 x2 k=v"]),
        ("a:1|g|c:5", &["a gauge 1"]),
        ("a:1|c|future_2:x,y|#k:v", &["a counter 1 k=v"]),
        ("a:1|c|Tnot-a-time", &["a counter 1"]),
        // Empty sections hold nothing that could be lost.
        ("a:1|c|", &["a counter 1"]),
        ("a:1|c||@0.5", &["a counter 1 x2"]),
        ("a:1|c|:|#|c:x", &["a counter 1"]),
        // Values in a section.
        ("a:1|c|:5|c", &["a counter 1", "a counter 5"]),
        (
            "a:1|c|@0.5:2|ms|:3:4|c|#k:v",
            &["a counter 1 x2 k=v", "a timer 2 k=v", "a counter 3 k=v", "a counter 4 k=v"],
        ),
        ("a:1|c|:x|c", &["a counter 1", "bad_value@7"]),
    ];
    for (datagram, expected) in table {
        assert_eq!(outcome(datagram), *expected, "{datagram}");
    }
}

#[test]
fn a_gauge_with_a_sign_is_changed_and_another_one_is_set() {
    use SampleValue::{Counter, GaugeAdd, GaugeSet, Timer};
    for (line, expected) in [
        ("a:2|g", GaugeSet(2.0)),
        ("a:1e3|g", GaugeSet(1_000.0)),
        ("a:+2|g", GaugeAdd(2.0)),
        ("a:-2|g", GaugeAdd(-2.0)),
        ("a:-0.5|g", GaugeAdd(-0.5)),
        ("a:-1e3|g", GaugeAdd(-1_000.0)),
        ("a:-2|c", Counter(-2.0)),
        ("a:-2|ms", Timer(-2.0)),
    ] {
        assert_eq!(one(line).value, expected, "{line}");
    }
    let values: Vec<_> =
        decoded(b"a:1:-2:+3|g").into_iter().map(|one| one.unwrap().value).collect();
    assert_eq!(values, [GaugeSet(1.0), GaugeAdd(-2.0), GaugeAdd(3.0)]);
}

#[test]
fn tags_are_read_in_all_dialects() {
    let table: &[(&str, &[&str])] = &[
        ("a:1|c|#k:v,k2:v2", &["a counter 1 k=v k2=v2"]),
        ("a,k=v,k2=v2:1|c", &["a counter 1 k=v k2=v2"]),
        ("a[k=v,k2=v2]:1|c", &["a counter 1 k=v k2=v2"]),
        ("a;k=v;k2=v2:1|c", &["a counter 1 k=v k2=v2"]),
        ("a#k=v,k2=v2:1|c", &["a counter 1 k=v k2=v2"]),
        ("a[k=v],k2=v2:1|c|#k3:v3", &["a counter 1 k=v k2=v2 k3=v3"]),
        ("a[k=v];k2=v2:1|c|#k3:v3", &["a counter 1 k=v k2=v2 k3=v3"]),
        ("a[k=v]#k2=v2:1|c|#k3:v3", &["a counter 1 k=v k2=v2 k3=v3"]),
        // A `;` or a `#` is a part of the name unless a key and `=` follow it.
        ("a;b;k=v:1|c", &["a;b counter 1 k=v"]),
        ("a#b#k=v:1|c", &["a#b counter 1 k=v"]),
        ("a#b;k=v#w;l=x:1|c", &["a#b counter 1 k=v#w l=x"]),
        ("a#b,k=v:1|c", &["a#b counter 1 k=v"]),
        ("a;b,k=v:1|c", &["a;b counter 1 k=v"]),
        ("a#b[k=v]:1|c", &["a#b counter 1 k=v"]),
        ("a=b;c:1|c", &["a=b;c counter 1"]),
        // Other separators belong to the values.
        ("a;k=v,w;l=x:1|c", &["a counter 1 k=v,w l=x"]),
        ("a#k=v;w,l=#x:1|c", &["a counter 1 k=v;w l=#x"]),
        ("a,k=v;l=w:1|c", &["a counter 1 k=v;l=w"]),
        ("a,k=v#l=w:1|c", &["a counter 1 k=v#l=w"]),
        ("a;k=v[l=w]:1|c", &["a counter 1 k=v[l=w]"]),
        ("a;k=v;urgent:1|c", &["a counter 1 k=v urgent=true"]),
        ("a#k=v,urgent,l=:1|c", &["a counter 1 k=v urgent=true"]),
        ("a,k=v:1:2|c", &["a counter 1 k=v", "a counter 2 k=v"]),
        // The last of equal tags wins, within a dialect and across dialects.
        ("a:1|c|#k:1,k:2", &["a counter 1 k=2"]),
        ("a:1|c|#k:1|#k:2,l:3", &["a counter 1 k=2 l=3"]),
        ("a[k=1],k=2:1|c|#k:3", &["a counter 1 k=3"]),
        // Tags are split at the first separator of their dialect.
        ("a:1|c|#k:v=w:x", &["a counter 1 k=v=w:x"]),
        ("a,k=v=w:1|c", &["a counter 1 k=v=w"]),
        ("a[k=v=w]:1|c", &["a counter 1 k=v=w"]),
        ("a:1|c|#k=v", &["a counter 1 k=v=true"]),
        // In a `#` section, each tag may have the `#` again.
        ("a:1|c|#k:v,#k2:#v2,##k3", &["a counter 1 k=v k2=#v2 k3=true"]),
        ("a:1|c|##k:v,#", &["a counter 1 k=v"]),
        ("a,#k=v:1|c", &["a counter 1 #k=v"]),
        // A tag without a value is true, and one with an empty value is removed.
        ("a:1|c|#urgent,k:v", &["a counter 1 k=v urgent=true"]),
        ("a,urgent:1|c", &["a counter 1 urgent=true"]),
        ("a[urgent]:1|c", &["a counter 1 urgent=true"]),
        ("a:1|c|#k:,l:1", &["a counter 1 l=1"]),
        ("a,k=:1|c", &["a counter 1"]),
        ("a[k=]:1|c", &["a counter 1"]),
        ("a,k=v:1|c|#k:", &["a counter 1"]),
        // Empty text between commas is ignored.
        ("a:1|c|#", &["a counter 1"]),
        ("a:1|c|#,k:v,,l:w,", &["a counter 1 k=v l=w"]),
        ("a,:1|c", &["a counter 1"]),
        ("a[]:1|c", &["a counter 1"]),
        // A tag must have a name.
        ("a:1|c|#k:v,:w", &["bad_tag@11"]),
        ("a,=v:1|c", &["bad_tag@2"]),
        ("a;=v:1|c", &["bad_tag@2"]),
        ("a#=v:1|c", &["bad_tag@2"]),
        ("a[k=v,=w]:1|c", &["bad_tag@6"]),
        // Brackets may contain colons, and may be anywhere in the name.
        ("a[peer=10.0.0.1:80]:1|c", &["a counter 1 peer=10.0.0.1:80"]),
        ("foo.[k=v]test:1|c", &["foo.test counter 1 k=v"]),
        ("[k=v]test:1|c", &["test counter 1 k=v"]),
        // Other brackets are part of a name, a tag or a member.
        ("a[b:1|c", &["a[b counter 1"]),
        ("a]b:1|c", &["a]b counter 1"]),
        ("a[b:x]|s", &["a[b set x]"]),
        ("a[b:]|s", &["a[b set ]"]),
        ("a[b:1|c|#k:]", &["a[b counter 1 k=]"]),
        ("a,k=[0-9]:1|c", &["a counter 1 k=[0-9]"]),
        ("a:[x]|s", &["a set [x]"]),
        ("a[b,k=v]:1|c", &["a counter 1 b=true k=v"]),
        ("a]b,k=v:1|c", &["a]b counter 1 k=v"]),
        ("a[b:[k=v]|s", &["a[b set [k=v]"]),
        // The example in Kamailio's documentation.
        ("methodINVITE:+1|g|#node:10.0.0.1\n", &["methodINVITE gauge +1 node=10.0.0.1"]),
    ];
    for (datagram, expected) in table {
        assert_eq!(outcome(datagram), *expected, "{datagram}");
    }
}

#[test]
fn a_name_with_many_marks_of_tags_is_searched_once() {
    // A quadratic search would take very long.
    for mark in [";", "#", ";#", "#[", ";]"] {
        let line = format!("a{}:1|c", mark.repeat(400_000));
        assert_eq!(decoded(line.as_bytes()).len(), 1);
    }
}

#[test]
fn the_facts_of_a_line_are_the_type_of_its_timer_and_whether_it_has_a_time() {
    for (line, timer_type, is_timestamped) in [
        ("a:1|ms", TimerType::Timing, false),
        ("a:1|h|#k:v", TimerType::Histogram, false),
        ("a:-1|d|@0.5", TimerType::Distribution, false),
        ("a:1|h|T1656581400", TimerType::Histogram, true),
        ("a:1|c|T1|@0.5|#T2", TimerType::Timing, true),
        ("a:1|g|#k:v|Tx|T5", TimerType::Timing, true),
        // Text that is no time.
        ("a:1|c|T", TimerType::Timing, false),
        ("a:1|c|T-1", TimerType::Timing, false),
        ("a:1|c|Tnot-a-time|#T1", TimerType::Timing, false),
    ] {
        assert_eq!(one(line).facts, LineFacts { timer_type, is_timestamped }, "{line}");
    }
    let types: Vec<_> =
        decoded(b"a:1|h:2|ms:3|d").into_iter().map(|one| one.unwrap().facts.timer_type).collect();
    let expected = [TimerType::Histogram, TimerType::Timing, TimerType::Distribution];
    assert_eq!(types, expected);
}

#[test]
fn every_rejection_has_its_position() {
    for (datagram, expected) in [
        ("nonsense", "bad_line@8"),
        // The length of a packet in a DogStatsD stream.
        ("\u{8}\0\0\0hits:1|c", "bad_line@1"),
        ("\r\0\0\0_sc|db|0|m:x", "bad_line@1"),
        ("  nonsense \n", "bad_line@10"),
        ("a|c", "bad_line@1"),
        ("a:1", "bad_line@3"),
        ("a:1|c:2", "bad_line@7"),
        ("{\"metric_name\":\"m\"}", "bad_line@19"),
        ("a,k=v|c", "bad_line@5"),
        ("|", "bad_line@0"),
        (":1|c", "bad_name@0"),
        (" :1|c", "bad_name@1"),
        (",k=v:1|c", "bad_name@0"),
        (";k=v:1|c", "bad_name@0"),
        ("#k=v:1|c", "bad_name@0"),
        ("[k=v]:1|c", "bad_name@0"),
        ("a:1|", "missing_type@4"),
        ("a:1||@0.1", "missing_type@4"),
        ("a:1|x|@0.1", "unknown_type@4"),
        ("a:1|c:2|x", "unknown_type@8"),
        ("a:|g", "missing_value@2"),
        ("a:x|g", "bad_value@2"),
        ("a:1|c|@x", "bad_sample_rate@7"),
        ("a:1|c|#:x", "bad_tag@7"),
        ("a:1|c|#k:v,#:x", "bad_tag@12"),
        // Sections that are neither known nor an extension of a newer client.
        ("a:1|c|0.1", "bad_sample_rate@6"),
        ("a:1|c|.1|#k:v", "bad_sample_rate@6"),
        ("a:345345|ms|0,456456", "bad_sample_rate@12"),
        ("a:1|c|-1", "bad_sample_rate@6"),
        ("a:1|c|c", "bad_line@6"),
        ("a:1|g|c:5|c", "bad_line@10"),
        ("a:1|c|blah", "bad_line@6"),
        ("a:1|c|?", "bad_line@6"),
        ("a:1|c| @0.5", "bad_line@6"),
        ("a:1|c|k=v", "bad_line@6"),
        ("a:1|c|k-v:w", "bad_line@6"),
        ("a:1|c|é:w", "bad_line@6"),
        ("a:1|c|:5", "bad_line@8"),
        // Tags without one of their brackets.
        ("[a=1,b=2foo:1|c", "bad_line@0"),
        ("foo[a=1:1|c", "bad_line@3"),
        ("foo[a=b:x]|s", "bad_line@3"),
        ("tag=bar,tag2=baz]foo.test:100|c", "bad_line@16"),
        ("a=1]foo:1|c", "bad_line@3"),
    ] {
        assert_eq!(outcome(datagram), [expected], "{datagram}");
    }
}

#[test]
fn more_tags_than_the_limit_are_rejected() {
    let tags = |count: usize| (0..count).map(|tag| format!("t{tag}:v,")).collect::<String>();
    assert_eq!(one(&format!("a:1|c|#{}", tags(256))).tags.len(), 256);
    let line = format!("a:1|c|#{}", tags(257));
    let last = line.find("t256").unwrap();
    assert_eq!(outcome(&line), [format!("too_many_tags@{last}")]);
    // All dialects count together.
    let line = format!("a[x=1],y=2:1|c|#{}", tags(255));
    let last = line.find("t254").unwrap();
    assert_eq!(outcome(&line), [format!("too_many_tags@{last}")]);
}

#[test]
fn more_values_than_the_limit_are_rejected() {
    let values = |count: usize| format!("a:{}|ms|#k:v", vec!["1"; count].join(":"));
    assert_eq!(outcome(values(4_096)).len(), 4_096);
    assert_eq!(outcome(values(4_097)), ["too_many_values@2"]);
    let runs = format!("a:{}|c:{}|ms", vec!["1"; 4_000].join(":"), vec!["1"; 97].join(":"));
    assert_eq!(outcome(&runs), ["too_many_values@2"]);
    // A member of a set may contain any number of colons.
    assert_eq!(outcome(format!("a:{}|s", ":".repeat(5_000))).len(), 1);
}

#[test]
fn a_limit_of_no_values_rejects_every_line() {
    let limits = MessageLimits { max_values: 0, ..MessageLimits::default() };
    for line in ["a:1|c", "a:1|c|#k:v", "a:1|c|@0.5", "a:x|s", "a,k=v:1|c"] {
        let mut reasons = Vec::new();
        decode(line.as_bytes(), &limits, &mut |message| {
            reasons.push(message.err().map(|rejection| rejection.reason));
        });
        assert_eq!(reasons, [Some(RejectReason::TooManyValues)], "{line}");
    }
}

fn mark_of(line: &str) -> usize {
    line.find([':', '[']).unwrap_or(line.len())
}

#[test]
fn a_short_line_is_split_like_any_other() {
    for (line, is_short) in [
        ("m:1|c", true),
        ("m:12.5|ms", true),
        ("m:1234567|ms", true),
        (":1|c", true),
        ("m:1|", true),
        ("a long name of more than thirty-two bytes:0.5|g", true),
        ("m:1|c|@1", false),
        ("m:1|c|#k", false),
        ("m:12345678|ms", false),
        ("m:1:2|c", false),
        ("m:-1|c", false),
        ("m:1", false),
        ("m:", false),
        ("m", false),
        ("m[k=1:2]:1|c", false),
    ] {
        let mark = mark_of(line);
        let short = split_short(line.as_bytes(), mark);
        assert_eq!(short.is_some(), is_short, "{line}");
        let Some(short) = short else { continue };
        let mut parts = Split::without_number(line.as_bytes());
        assert!(split(&mut parts, mark), "{line}");
        assert_eq!(parts.pieces_around_number(), Some([short.before, short.after]), "{line}");
        assert_eq!((parts.number, parts.weight), (short.number, 1.0), "{line}");
    }
}

#[test]
fn exactly_the_limit_of_packed_values_is_accepted() {
    let limits = MessageLimits { max_values: 3, ..MessageLimits::default() };
    let values = |line: &'static str, kind| {
        let mut parts = Split::without_number(line.as_bytes());
        assert!(split(&mut parts, mark_of(line)));
        packed_values(&parts, kind, 4.0, &limits).map(|run| {
            let mut shown = Vec::new();
            run.for_each_value(|value| shown.push(value));
            (shown, run.weight())
        })
    };
    let rejected =
        Rejection { reason: RejectReason::BadValue, offset: 4, expected: "a finite number" };
    let expected = vec![Ok(SampleValue::Timer(1.0)), Err(rejected), Ok(SampleValue::Timer(-2.0))];
    assert_eq!(values("m:1:e:-2|ms", MetricKind::Timer), Some((expected, 4.0)));
    assert!(values("m:1:2:3|c", MetricKind::Counter).is_some());
    assert!(values("m:1:2:3|g", MetricKind::Gauge).is_some());
    assert!(values("m:1:2:3:4|c", MetricKind::Counter).is_none());
    assert!(values("m:1:2|s", MetricKind::Set).is_none());
    assert!(values("m:1:2|c", MetricKind::Trace).is_none());
}

#[test]
fn a_line_is_split_around_its_numbers() {
    for (line, expected) in [
        ("m:12|c|#k:1", Some(("m:…|c|#k:1", Some(12.0), 1.0))),
        ("m:1.5|g", Some(("m:…|g", Some(1.5), 1.0))),
        ("m:1:-2:3e1|ms", Some(("m:…|ms", None, 1.0))),
        (":1|c", Some((":…|c", Some(1.0), 1.0))),
        ("m:1|c|@0.5", Some(("m:…|c|@…", Some(1.0), 2.0))),
        ("m:1|c|#k:1|@.1|T12", Some(("m:…|c|#k:1|@…|T…", Some(1.0), 10.0))),
        ("m:1|c|T12|@1|#k:1", Some(("m:…|c|T…|@…|#k:1", Some(1.0), 1.0))),
        ("m:1|c|T|T1", Some(("m:…|c|T|T…", Some(1.0), 1.0))),
        ("m:1|c|Tx|T1|T2", Some(("m:…|c|Tx|T…|T2", Some(1.0), 1.0))),
        ("m:1|@c", Some(("m:…|@c", Some(1.0), 1.0))),
        ("m:1|@0.5|c", Some(("m:…|@0.5|c", Some(1.0), 1.0))),
        ("m:1:2|T12|c", Some(("m:…|T12|c", None, 1.0))),
        ("m:1|c|", Some(("m:…|c|", Some(1.0), 1.0))),
        ("m:1|", Some(("m:…|", Some(1.0), 1.0))),
        // Too short for a rate: decoding rejects it.
        ("m:1|c|@", Some(("m:…|c|@", Some(1.0), 1.0))),
        // Rates that are invalid, or that belong to several runs.
        ("m:1|c|@2", None),
        ("m:1|c|@x", None),
        ("m:1|c|@0.5:2|ms", None),
        ("m:1|c|@0.5|@0.5", None),
        // A change of a gauge, brackets, no type, and text among the numbers.
        ("m:-1|g", None),
        ("m:+1|g", None),
        ("m[k=1:2]:1|c", None),
        ("m:1", None),
        ("m:1:2", None),
        ("m:1;|c", None),
        ("m:1:2;|c", None),
        ("m|c", None),
    ] {
        let mut parts = Split::without_number(line.as_bytes());
        let parts = split(&mut parts, mark_of(line)).then(|| {
            (parts.pieces().shown(), (!parts.is_packed()).then_some(parts.number), parts.weight)
        });
        let expected = expected.map(|(shown, number, weight)| (shown.to_owned(), number, weight));
        assert_eq!(parts, expected, "{line}");
    }
}

#[test]
fn each_sample_of_a_line_has_its_tags() {
    let tags = TextTags::from_iter([("k", "v")]);
    let run = || ValueRun {
        values: TextPart { text: "1:2", at: 2 },
        number: None,
        kind: StatsdKind::Counter,
        weight: 1.0,
    };
    let mut samples = Vec::new();
    let line =
        StatsdLine { name: "m".into(), tags: &tags, runs: &[run(), run()], is_timestamped: false };
    EachSample(&mut |sample: Result<_, Rejection>| samples.push(shown(&sample.unwrap())))
        .line(line);
    assert_eq!(
        samples,
        ["m counter 1 k=v", "m counter 2 k=v", "m counter 1 k=v", "m counter 2 k=v"]
    );
}

#[test]
fn nothing_is_copied() {
    let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    for line in ["a:x|s|#k:v,bare", "a,k=v,bare:x|s", "a[k=v,bare]:x|s"] {
        let sample = one(line);
        assert!(is_borrowed(&sample.name));
        assert!(matches!(sample.value, SampleValue::Set(Cow::Borrowed("x"))));
        let is_borrowed_value =
            |value: &TagValue<'_>| matches!(value, TagValue::Text(text) if is_borrowed(text));
        assert!(
            sample.tags.iter().all(|(key, value)| is_borrowed(key) && is_borrowed_value(value))
        );
        assert!(!sample.tags.spilled());
    }
    for sample in decoded(b"a:1:2:3|c|#k:v") {
        assert!(is_borrowed(&sample.unwrap().name));
    }
}

#[test]
fn each_line_is_a_message_and_an_invalid_one_does_not_affect_the_others() {
    assert_eq!(
        outcome("\r\na:1|c\r\n\n  b:2|c  \nbad\nc:x|g\n:\nd:3|s"),
        ["a counter 1", "b counter 2", "bad_line@23", "bad_value@26", "bad_name@30", "d set 3"]
    );
    for nothing in ["", " ", "\n", "\r\n\t\n"] {
        assert_eq!(outcome(nothing), [""; 0]);
    }
    assert_eq!(outcome("a:x|s\r\n"), ["a set x"], "a carriage return is not part of the value");
}

#[test]
fn invalid_utf8_affects_only_its_own_line() {
    assert_eq!(
        outcome(b"\xff:1|c\na:1|c\nb\xc3:1|c\nc:1|x\nd:\xe2\x82|s\n"),
        ["bad_line@0", "a counter 1", "bad_line@13", "unknown_type@23", "bad_line@27"]
    );
}

#[test]
fn events_and_service_checks_are_skipped_and_counted() {
    let datagram = "_e{5,9}:title|te\\nxt|x|t:error|#k:v\na:1|c\n\
        _sc|Redis connection|2|#env:dev|m:Error: timeout|retrying\r\n_e{broken\n";
    assert_eq!(outcome(datagram), ["a counter 1"]);
    assert_eq!(skipped(datagram.as_bytes()), 3);
    // Their text may be anything.
    assert_eq!((outcome(b"_e{1,1}:\xff|x"), skipped(b"_e{1,1}:\xff|x")), (vec![], 1));
    // Names that only resemble events and service checks.
    assert_eq!(
        outcome("_score:1|c\n_sc:1|c\n_e:2|c\n_events:3|g"),
        ["_score counter 1", "_sc counter 1", "_e counter 2", "_events gauge 3"]
    );
    assert_eq!(skipped(b"_score:1|c"), 0);
}

#[test]
fn a_single_line_says_whether_it_was_skipped() {
    for (line, is_read, becomes) in [
        ("_sc|db|0", false, vec![]),
        ("_e{1,1}:a|b", false, vec![]),
        ("a:1|c", true, vec!["a counter 1".to_owned()]),
        ("_sc:1|c", true, vec!["_sc counter 1".to_owned()]),
        ("a:1|x", true, vec!["unknown_type".to_owned()]),
    ] {
        let mut messages = Vec::new();
        let mut each = |message: Result<Sample<'_>, Rejection>| {
            messages.push(match message {
                Ok(sample) => shown(&sample),
                Err(rejection) => rejection.reason.as_str().to_owned(),
            });
        };
        let limits = MessageLimits::default();
        assert_eq!(decode_line(line.as_bytes(), &limits, &mut EachSample(&mut each)), is_read);
        assert_eq!(messages, becomes, "{line}");
    }
}

#[test]
fn a_name_without_tags_and_brackets_is_plain() {
    for (line, expected) in [
        ("a:1|c", Some(("a", 1))),
        ("né.b:1|c", Some(("né.b", 5))),
        ("a::", Some(("a", 1))),
        ("a:1|c|#k:v,l[m]", Some(("a", 1))),
        (":1|c", None),
        ("a,k=v:1|c", None),
        ("a;k=v:1|c", None),
        ("a#b:1|c", None),
        ("a[k=v]:1|c", None),
        ("a]:1|c", None),
        ("a|c:1", None),
        ("a", None),
        ("", None),
    ] {
        let text = LineText { text: CutText::of_text(line), at: 0 };
        let found = plain_name(text);
        assert_eq!(found.as_ref().map(|(name, colon)| (&**name, *colon)), expected, "{line}");
    }
}

#[test]
fn datagrams_of_a_real_kamailio_are_decoded() {
    macro_rules! capture {
        ($name:literal) => {
            include_bytes!(concat!("../../../../../tests/fixtures/statsd/kamailio_", $name, ".bin"))
        };
    }
    let captures: [(&[u8], &str); 11] = [
        (capture!("counter"), "testbed.requests counter 1"),
        (capture!("set"), "testbed.aor set 4711"),
        (capture!("gauge"), "testbed.load gauge 42"),
        (capture!("timer"), "testbed.route_time timer 0"),
        (capture!("negative_counter"), "testbed.credit counter -1"),
        (capture!("gauge_up"), "testbed.level gauge +3"),
        (capture!("histogram"), "testbed.size timer 250"),
        (capture!("other_counter"), "testbed.other counter 1"),
        (capture!("gauge_down"), "testbed.level gauge -1"),
        (capture!("fraction"), "testbed.ratio gauge 0.75"),
        // A script that forgot to expand its variables: `method.$rm:$ml|g`.
        (capture!("unexpanded"), "bad_value@11"),
    ];
    for (datagram, expected) in captures {
        assert_eq!(outcome(datagram), [expected]);
        // Some of its datagrams end without a newline.
        assert_eq!(outcome(datagram.trim_ascii_end()), [expected]);
    }
}

#[test]
fn repetitive_datagrams_are_decoded_to_their_end() {
    for byte in 0..=255_u8 {
        let datagram = vec![byte; 65_507];
        assert!(decoded(&datagram).len() <= 1);
    }
    for piece in ["a:1|c\n", "a:", "|#", ",", "a|c:", "1:", "[", "a[]", "@1|"] {
        decoded(piece.repeat(65_507 / piece.len()).as_bytes());
        decoded(format!("a:1|c|#{}", piece.repeat(20_000)).as_bytes());
        decoded(format!("a:1|c:{}|c", piece.repeat(20_000)).as_bytes());
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    DogStatsD,
    Influx,
    SignalFx,
}

/// Any non-empty text without these characters, and without blanks at its ends.
fn text(without: &'static [char]) -> impl Strategy<Value = String> {
    "[\\PC\\t]{1,8}|[a-z.]{1,12}".prop_map(move |text| {
        let text = text.replace(without, "_");
        format!("{}.", text.trim_matches([' ', '\t']))
    })
}

/// A tag and its dialect.
fn tag() -> impl Strategy<Value = (Dialect, String, String)> {
    prop_oneof![
        (text(&[',', '|', ':', '#']), text(&[',', '|'])).prop_map(|(key, value)| (
            Dialect::DogStatsD,
            key,
            value
        )),
        (text(&[',', '|', ':', '=']), text(&[',', '|', ':'])).prop_map(|(key, value)| (
            Dialect::Influx,
            key,
            value
        )),
        (text(&[',', '|', ']', '=']), text(&[',', '|', ']'])).prop_map(|(key, value)| (
            Dialect::SignalFx,
            key,
            value
        )),
    ]
}

/// A type, values of this type, and the expected sample value of each.
fn values() -> impl Strategy<Value = (&'static str, Vec<(String, SampleValue<'static>)>)> {
    let number = || {
        prop_oneof![any::<f64>(), (-1000..1000).prop_map(f64::from), 0.0..1.0]
            .prop_filter("finite", |number| number.is_finite())
    };
    let written = |number: f64| number.to_string();
    let counter = number().prop_map(move |n| (written(n), SampleValue::Counter(n)));
    let gauge = number().prop_map(move |n| {
        let value =
            if n.is_sign_negative() { SampleValue::GaugeAdd(n) } else { SampleValue::GaugeSet(n) };
        (written(n), value)
    });
    let delta = number().prop_map(|n| (format!("{n:+}"), SampleValue::GaugeAdd(n)));
    let timer = number().prop_map(move |n| (written(n), SampleValue::Timer(n)));
    let member = text(&['|']).prop_map(|m| (m.clone(), SampleValue::Set(Cow::Owned(m))));
    prop_oneof![
        prop::collection::vec(counter, 1..4).prop_map(|values| ("c", values)),
        prop::collection::vec(prop_oneof![gauge, delta], 1..4).prop_map(|values| ("g", values)),
        (
            prop::sample::select(MetricKind::Timer.words().statsd),
            prop::collection::vec(timer, 1..4)
        ),
        member.prop_map(|member| ("s", vec![member])),
    ]
}

fn list(tags: &[(Dialect, String, String)], dialect: Dialect, separator: &str) -> String {
    let of_dialect = tags.iter().filter(|tag| tag.0 == dialect);
    let written: Vec<_> =
        of_dialect.map(|(_, key, value)| format!("{key}{separator}{value}")).collect();
    written.join(",")
}

/// Fragments that make up valid and almost valid lines.
fn fragment() -> impl Strategy<Value = String> {
    let words = [
        "a", "né", "_e{", "_sc|", ":", ":", ":", "|", "|", "|", "|c", "|g", "|ms", "|h", "|d",
        "|s", "|x", "|@0.5", "|@", "|@0", "|#", ",", "=", "[", "]", "1", "-2.5", "+3", "x", " ",
        "\r", "\n", "\n", "k:v", "k=v", "|c:id", "|T1", "|:", "|0.1", "|#a,#b", ";", "#", ";k=v",
        "#k=v",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_line_decodes_to_the_values_that_were_written(
        // With `=` and `]`, it would end with tags whose `[` is missing.
        name in text(&[':', '|', ',', '[', '=']),
        (kind, values) in values(),
        rate in prop::option::of(0.001..=1.0),
        tags in prop::collection::vec(tag(), 0..6),
        is_rate_first in any::<bool>(),
        // The character before and between the tags after a name.
        (mark, between) in prop::sample::select(vec![(',', ','), (';', ';'), ('#', ',')]),
    ) {
        prop_assume!(!name.starts_with("_e{"));
        let mut line = name.clone();
        let signalfx = list(&tags, Dialect::SignalFx, "=");
        let after_name = list(&tags, Dialect::Influx, "=");
        // Telegraf's tags may contain more characters than those of Graphite and Librato.
        let (mark, between) =
            if after_name.contains([';', '#', '[', ']']) { (',', ',') } else { (mark, between) };
        let after_name = after_name.replace(',', &between.to_string());
        let dogstatsd = list(&tags, Dialect::DogStatsD, ":");
        if !signalfx.is_empty() {
            line += &format!("[{signalfx}]");
        }
        if !after_name.is_empty() {
            line += &format!("{mark}{after_name}");
        }
        let written: Vec<&str> = values.iter().map(|(text, _)| text.as_str()).collect();
        line += &format!(":{}|{kind}", written.join(":"));
        let rate_section = rate.map_or_else(String::new, |rate: f64| format!("|@{rate}"));
        let tag_section =
            if dogstatsd.is_empty() { String::new() } else { format!("|#{dogstatsd}") };
        line += &if is_rate_first {
            rate_section + &tag_section
        } else {
            tag_section + &rate_section
        };

        let weight = if kind == "g" || kind == "s" { 1.0 } else { rate.map_or(1.0, f64::recip) };
        let mut meant = BTreeMap::new();
        for dialect in [Dialect::SignalFx, Dialect::Influx, Dialect::DogStatsD] {
            for (_, key, value) in tags.iter().filter(|tag| tag.0 == dialect) {
                meant.insert(key.as_str(), value.as_str());
            }
        }
        let messages = decoded(line.as_bytes());
        prop_assert_eq!(messages.len(), values.len(), "{}", line);
        for (message, (_, value)) in messages.into_iter().zip(values) {
            let sample = message.unwrap();
            prop_assert_eq!(&sample.name, &name);
            prop_assert_eq!(&sample.value, &value);
            prop_assert_eq!(sample.weight, weight);
            let tags: Vec<_> = sample.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
            prop_assert_eq!(tags, meant.clone().into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn lines_decode_the_same_together_and_alone(
        lines in prop::collection::vec(prop::collection::vec(fragment(), 0..12), 0..6),
        newline in prop::sample::select(vec!["\n", "\r\n", "\n\n"]),
    ) {
        let lines: Vec<String> = lines.iter().map(|pieces| pieces.concat()).collect();
        let datagram = lines.join(newline);
        let (mut messages, mut skips, mut start) = (Vec::new(), 0, 0);
        for line in &lines {
            messages.extend(decoded(line.as_bytes()).into_iter().map(|message| {
                message.map_err(|bad| Rejection { offset: bad.offset + start, ..bad })
            }));
            skips += skipped(line.as_bytes());
            start += line.len() + newline.len();
        }
        prop_assert_eq!(decoded(datagram.as_bytes()), messages);
        prop_assert_eq!(skipped(datagram.as_bytes()), skips);
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decoded(&bytes);
    }

    #[test]
    fn every_offset_lies_in_the_datagram_and_every_sample_is_valid(
        pieces in prop::collection::vec(fragment(), 0..30),
    ) {
        let datagram = pieces.concat();
        for message in decoded(datagram.as_bytes()) {
            match message {
                Ok(sample) => {
                    prop_assert!(!sample.name.is_empty());
                    prop_assert!(sample.weight.is_finite() && sample.weight >= 1.0);
                    prop_assert!(sample.tags.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    prop_assert!(sample.tags.iter().all(|(k, v)| !k.is_empty() && !v.is_empty()));
                }
                Err(rejection) => prop_assert!(rejection.offset <= datagram.len()),
            }
        }
    }
}
