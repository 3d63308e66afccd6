//! The readings of recorded replies, and of replies that no recorded Kamailio sent.
//!
//! `readings/NAME.txt` has the expected readings of the recorded reply `NAME` in
//! `binrpc/tests/captures`, one per line: `level`, `total` (of 64 bits) or `total32`, the number, the name
//! and the tags. `binrpc/tests/captures/NAME.kamcmd.txt` shows the same reply as text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use binrpc::{BinrpcValue, DecodeLimits, Member, PacketHeader, PacketKind, decode};

use super::dispatcher;
use crate::methods::{METHODS, map_reply, parse_call};
use crate::reading::{Reading, ReadingValue, Readings};

/// The folders of recorded exchanges.
const FOLDERS: [&str; 3] = ["", "idle", "big"];

/// A recorded reply.
struct Recorded {
    /// Its file name without the ending.
    name: String,
    /// The method and its arguments.
    command: String,
    records: Vec<BinrpcValue>,
}

fn recorded() -> Vec<Recorded> {
    FOLDERS.iter().flat_map(|folder| recorded_in(folder)).collect()
}

/// The replies in a folder, without the faults.
fn recorded_in(folder: &str) -> Vec<Recorded> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../binrpc/tests/captures");
    let folder = Path::new(folder);
    let index = fs::read_to_string(captures.join(folder).join("index.tsv")).unwrap();
    let rows = index.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let replies = rows.filter_map(|row| {
        let name = folder.join(row[0]).display().to_string();
        let packet = fs::read(captures.join(format!("{name}.reply.bin"))).unwrap();
        let (header, start) = PacketHeader::decode(&packet).unwrap().unwrap();
        let records = decode(&packet[start..], &DecodeLimits::default()).unwrap();
        let is_reply = header.kind == PacketKind::Reply;
        is_reply.then(|| Recorded { name, command: row[1].to_owned(), records })
    });
    replies.collect()
}

fn readings(command: &str, records: &[BinrpcValue]) -> Vec<Reading> {
    let mut readings = Readings::default();
    map_reply(&parse_call(command).unwrap(), records, &mut readings);
    readings.0
}

fn lines(readings: &[Reading]) -> String {
    readings.iter().map(|reading| line(reading) + "\n").collect()
}

fn line(reading: &Reading) -> String {
    let kind = match reading.value {
        ReadingValue::Level(_) => "level",
        ReadingValue::Total { wraps: false, .. } => "total",
        ReadingValue::Total { wraps: true, .. } => "total32",
        ReadingValue::Growth { .. } | ReadingValue::Increment(_) => panic!("{reading:?}"),
    };
    let tags: String =
        reading.tags.iter().map(|(key, value)| format!(" {key}={value:?}")).collect();
    format!("{kind} {} {}{tags}", reading.value.number(), reading.name)
}

/// The folder of expected readings for a folder of recorded exchanges.
fn expected_folder(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mapping/readings").join(folder)
}

fn expected_path(name: &str) -> PathBuf {
    expected_folder("").join(format!("{name}.txt"))
}

/// The method of a command.
fn method(command: &str) -> &str {
    command.split(' ').next().unwrap()
}

#[test]
fn recorded_replies_become_exactly_the_expected_readings() {
    for Recorded { name, command, records } in recorded() {
        let is_known = METHODS.iter().any(|known| known.name() == method(&command));
        let path = expected_path(&name);
        if !is_known && !path.exists() {
            continue;
        }
        let actual = lines(&readings(&command, &records));
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let path = path.display();
        assert!(actual == expected, "`{command}` has other readings than {path}:\n{actual}");
    }
}

#[test]
fn every_method_of_the_table_has_a_recorded_reply_with_readings() {
    let with_readings: BTreeSet<String> = recorded()
        .iter()
        .filter(|recorded| !readings(&recorded.command, &recorded.records).is_empty())
        .map(|recorded| method(&recorded.command).to_owned())
        .collect();
    for known in METHODS {
        assert!(with_readings.contains(known.name()), "{} has no recorded reply", known.name());
    }
}

#[test]
fn every_file_of_expected_readings_belongs_to_a_recorded_reply() {
    let recorded: BTreeSet<PathBuf> =
        recorded().iter().map(|recorded| expected_path(&recorded.name)).collect();
    let entries = FOLDERS.iter().flat_map(|folder| fs::read_dir(expected_folder(folder)).unwrap());
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files: Vec<_> = files.collect();
    assert!(files.len() >= METHODS.len());
    for path in files {
        assert!(recorded.contains(&path), "{} belongs to no reply", path.display());
    }
}

#[test]
fn a_method_yields_exactly_the_readings_of_its_replies() {
    for Recorded { command, records, .. } in recorded() {
        let Some(known) = METHODS.iter().find(|known| known.name() == method(&command)) else {
            continue;
        };
        for reading in readings(&command, &records) {
            assert!(known.yields(&reading.name), "{command}: {}", reading.name);
            let others = METHODS.iter().filter(|other| other.name() != known.name());
            let is_fetch = known.name().starts_with("stats.fetch");
            let shared: Vec<_> = others.filter(|other| other.yields(&reading.name)).collect();
            assert!(shared.is_empty() || is_fetch, "{command}: {}", reading.name);
        }
    }
}

// ---- Replies that no recorded Kamailio sent ------------------------------------------------------

fn record(members: &[(&str, BinrpcValue)]) -> BinrpcValue {
    let members = members.iter().map(|(name, value)| Member::named(name, value.clone()));
    BinrpcValue::Struct(members.collect())
}

fn mapped(command: &str, records: &[BinrpcValue]) -> Vec<String> {
    readings(command, records).iter().map(line).collect()
}

/// A reply of `dispatcher.list` with one gateway.
fn gateway(members: &[(&str, BinrpcValue)]) -> BinrpcValue {
    let targets = record(&[("DEST", record(members))]);
    let set = record(&[("ID", 7.into()), ("TARGETS", targets)]);
    record(&[("RECORDS", record(&[("SET", set)]))])
}

#[test]
fn the_state_of_a_gateway_is_its_first_flag() {
    for (flags, readings) in [
        ("AP", vec!["level 0 state", "level 1 active"]),
        ("TX", vec!["level 1 state", "level 1 active"]),
        ("IX", vec!["level 2 state", "level 0 active"]),
        ("DX", vec!["level 3 state", "level 0 active"]),
        ("?", vec![]),
        ("", vec![]),
    ] {
        let tags = r#"setid="7" uri="sip:a""#;
        let reply = gateway(&[("URI", "sip:a".into()), ("FLAGS", flags.into())]);
        let mut expected =
            vec![format!("level 1 kamailio.dispatcher.list.target flags={flags:?} {tags}")];
        for reading in readings {
            let (number, name) = reading.rsplit_once(' ').unwrap();
            expected.push(format!("{number} kamailio.dispatcher.list.{name} {tags}"));
        }
        assert_eq!(mapped("dispatcher.list", &[reply]), expected);
    }
}

#[test]
fn a_gateway_may_have_a_number_of_dialogs_and_must_have_a_uri() {
    let load = record(&[("DLGLOAD", 3.into())]);
    let reply = gateway(&[("URI", "sip:a".into()), ("RUNTIME", load.clone())]);
    let dialogs = r#"level 3 kamailio.dispatcher.list.dialogs setid="7" uri="sip:a""#.to_owned();
    assert!(mapped("dispatcher.list", &[reply]).contains(&dialogs));
    let without_uri = gateway(&[("URI", "<null string>".into()), ("RUNTIME", load)]);
    assert_eq!(mapped("dispatcher.list", &[without_uri]), [""; 0]);
}

#[test]
fn gateways_of_a_set_with_one_uri_are_told_apart_by_their_attributes() {
    let gateway = |uri: &str, attributes: &[(&str, BinrpcValue)]| {
        let members = [("URI", uri.into()), ("PRIORITY", 1.into()), ("ATTRS", record(attributes))];
        ("DEST", record(&members))
    };
    let null = || BinrpcValue::from("<null string>");
    let targets = record(&[
        gateway("sip:a", &[("DUID", "gw-1".into()), ("SOCKET", null())]),
        gateway("sip:a", &[("DUID", "gw-2".into()), ("SOCKET", "udp:192.0.2.1:5060".into())]),
        gateway("sip:b", &[("DUID", "gw-3".into())]),
    ]);
    let set = record(&[("ID", 7.into()), ("TARGETS", targets)]);
    let reply = record(&[("RECORDS", record(&[("SET", set)]))]);
    let priorities: Vec<_> = mapped("dispatcher.list", &[reply])
        .iter()
        .filter_map(|line| line.strip_prefix("level 1 kamailio.dispatcher.list.priority "))
        .map(str::to_owned)
        .collect();
    let expected = [
        r#"duid="gw-1" setid="7" uri="sip:a""#,
        r#"duid="gw-2" setid="7" socket="udp:192.0.2.1:5060" uri="sip:a""#,
        r#"duid="gw-3" setid="7" uri="sip:b""#,
    ];
    assert_eq!(priorities, expected);
}

#[test]
fn gateways_have_the_configured_name_of_their_set() {
    let destination = record(&[("URI", "sip:a".into()), ("PRIORITY", 1.into())]);
    let set = |id: i32| {
        record(&[("ID", id.into()), ("TARGETS", record(&[("DEST", destination.clone())]))])
    };
    let reply = record(&[("RECORDS", record(&[("SET", set(7)), ("SET", set(8))]))]);
    let mut readings = readings("dispatcher.list", &[reply]);
    dispatcher::name_sets(&mut readings, &[("7".to_owned(), "acme".to_owned())].into());
    let lines = lines(&readings);
    let lines: Vec<_> = lines.lines().filter(|line| line.contains("priority")).collect();
    assert_eq!(
        lines,
        [
            r#"level 1 kamailio.dispatcher.list.priority setid="7" uri="sip:a" set_name="acme""#,
            r#"level 1 kamailio.dispatcher.list.priority setid="8" uri="sip:a""#,
        ]
    );
}

#[test]
fn a_media_proxy_is_enabled_unless_it_is_disabled_or_not_active() {
    for (disabled, active, enabled) in [
        ("0", None, 1),
        ("1", None, 0),
        ("1(permanent)", None, 0),
        ("0", Some(1), 1),
        ("0", Some(0), 0),
        ("1", Some(1), 0),
    ] {
        let mut members = vec![("url", "udp:a".into()), ("disabled", disabled.into())];
        members.extend(active.map(|active: i32| ("active", active.into())));
        let readings = mapped("rtpengine.show", &[record(&members)]);
        let tags = r#"index="" set="" url="udp:a" weight="""#;
        assert_eq!(readings, [format!("level {enabled} kamailio.rtpengine.show.enabled {tags}")]);
    }
}

#[test]
fn totals_have_32_bits_only_where_kamailio_sends_an_int() {
    let reply = record(&[("created", (-1).into()), ("404", "18446744073709551149".into())]);
    let expected = [
        "total32 4294967295 kamailio.tm.stats.created",
        r#"total -467 kamailio.tm.stats.codes code="404""#,
    ];
    assert_eq!(mapped("tm.stats", &[reply]), expected);
}

#[test]
fn a_statistic_is_a_total_or_a_level_by_its_group_and_name() {
    let statistics = [
        ("core.rcv_replies", "total"),
        ("shmem.fragments", "level"),
        ("usrloc.registered_users", "level"),
        ("tcp.established", "total"),
        ("tcp.current_opened_connections", "level"),
        ("tmx.2xx_transactions", "total"),
        ("tmx.active_transactions", "level"),
        ("dialog.processed_dialogs", "total"),
        ("dialog.early_dialogs", "level"),
        ("registrar.max_expires", "level"),
        ("registrar.accepted_regs", "total"),
        ("script.calls_total", "total"),
        ("script.call_seconds", "total"),
        ("script.calls", "level"),
        ("script.CALLS_TOTAL", "level"),
        ("nogroup", "level"),
    ];
    for (name, kind) in statistics {
        let readings = mapped("stats.fetch", &[record(&[(name, "7".into())])]);
        assert_eq!(readings, [format!("{kind} 7 kamailio.{name}")]);
    }
    let below_zero = BinrpcValue::Double(binrpc::Thousandths(i64::MIN));
    assert_eq!(mapped("stats.fetchn", &[record(&[("script.x", below_zero)])]), [""; 0]);
}

#[test]
fn headroom_is_between_0_and_1_and_needs_a_total() {
    let memory =
        |total: i32, used: i32| record(&[("total", total.into()), ("real_used", used.into())]);
    for (total, used, headroom) in [(4, 1, Some("0.75")), (4, 5, Some("0")), (0, 0, None)] {
        let readings = mapped("shm.stats", &[memory(total, used)]);
        let shown =
            readings.iter().find_map(|line| line.strip_suffix(" kamailio.shm.stats.headroom"));
        assert_eq!(shown.map(|line| line.trim_start_matches("level ")), headroom);
    }
}

#[test]
fn structs_of_a_list_without_identifying_fields_get_their_place() {
    let element = |number: i32| record(&[("size", number.into()), ("text", "t".into())]);
    let readings = mapped("other.list", &[element(5), element(-6)]);
    let expected = [(5, 0), (-6, 1)].map(|(number, place)| {
        format!("level {number} kamailio.other.list.size place=\"{place}\"")
    });
    assert_eq!(readings, expected);
    // A single struct is no list, and several numbers without names would be the same series.
    assert_eq!(mapped("other.list", &[element(5)]), ["level 5 kamailio.other.list.size"]);
    assert_eq!(mapped("other.list", &[1.into(), 2.into()]), [""; 0]);
}

#[test]
fn replies_of_another_form_yield_at_most_readings_of_the_method() {
    let forms = [7.into(), "text".into(), record(&[]), BinrpcValue::Array(vec![record(&[])])];
    for known in METHODS {
        for form in &forms {
            for reading in readings(known.name(), std::slice::from_ref(form)) {
                assert!(known.yields(&reading.name), "{}: {reading:?}", known.name());
            }
        }
        assert_eq!(mapped(known.name(), &[]), [""; 0]);
    }
}
