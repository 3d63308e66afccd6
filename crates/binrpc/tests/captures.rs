//! Recorded replies of a real Kamailio, compared with the output of its own `kamcmd`.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use binrpc::{BinrpcValue, DecodeLimits, Fault, PacketHeader, PacketKind, decode, encode, text};

/// The recorded files with this ending, in all folders.
fn recorded(ending: &str) -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut found = Vec::new();
    let mut folders = vec![top];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Decodes a file that holds exactly one packet.
fn packet(bytes: &[u8]) -> (PacketHeader, Vec<BinrpcValue>) {
    let (header, start) = PacketHeader::decode(bytes).unwrap().unwrap();
    assert_eq!(bytes.len(), start + header.length);
    (header, decode(&bytes[start..], &DecodeLimits::default()).unwrap())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let stem = path.to_str().unwrap();
    PathBuf::from(stem.replace(".reply.bin", ending))
}

#[test]
fn every_recorded_reply_has_a_row_in_the_index_of_its_folder() {
    let rows = recorded("index.tsv").into_iter().flat_map(|index| {
        let text = fs::read_to_string(&index).unwrap();
        let names = text.lines().skip(1).map(|row| row.split('\t').next().unwrap().to_owned());
        names.map(|name| index.with_file_name(name + ".reply.bin")).collect::<Vec<_>>()
    });
    let rows: BTreeSet<PathBuf> = rows.collect();
    let replies: BTreeSet<PathBuf> = recorded(".reply.bin").into_iter().collect();
    let lone: Vec<_> = rows.symmetric_difference(&replies).collect();
    assert!(lone.is_empty(), "only a file, or only a row in index.tsv: {lone:?}");
}

#[test]
fn every_recorded_reply_is_printed_as_kamcmd_printed_it() {
    let replies = recorded(".reply.bin");
    assert!(replies.len() >= 79, "{}", replies.len());
    for path in replies {
        let (header, records) = packet(&fs::read(&path).unwrap());
        let mut printed = Vec::new();
        match header.kind {
            PacketKind::Reply => text::write_reply(&records, &mut printed),
            PacketKind::Fault => {
                text::write_fault(&Fault::from_records(&records).unwrap(), &mut printed);
            }
            PacketKind::Request => panic!("{} is a request", path.display()),
        }
        let expected = fs::read(beside(&path, ".kamcmd.txt")).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&printed),
            String::from_utf8_lossy(&expected),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_recorded_reply_is_encoded_as_kamailio_encoded_it() {
    for path in recorded(".reply.bin") {
        let bytes = fs::read(&path).unwrap();
        let (header, records) = packet(&bytes);
        let mut payload = Vec::new();
        records.iter().for_each(|record| encode(record, &mut payload));
        let again = encode::packet(header.kind, header.cookie, &payload);
        assert_eq!(again, bytes, "{}", path.display());
    }
}

#[test]
fn every_recorded_request_is_encoded_as_kamcmd_encoded_it() {
    for path in recorded(".request.bin") {
        let bytes = fs::read(&path).unwrap();
        let (header, mut records) = packet(&bytes);
        assert_eq!(header.kind, PacketKind::Request);
        let parameters = records.split_off(1);
        let method = records[0].text().unwrap().into_owned();
        let again = binrpc::CallRequest { method, parameters }.encode(header.cookie);
        // kamcmd always sends four bytes for the cookie.
        assert_eq!(packet(&again), packet(&bytes), "{}", path.display());
    }
}

/// The replies to handmade requests: several packets in a row, faults, odd cookies.
#[test]
fn replies_to_odd_requests_are_decoded() {
    let answers = recorded(".received.bin");
    assert_eq!(answers.len(), 26);
    for path in answers {
        let bytes = fs::read(&path).unwrap();
        let expected = fs::read(path.to_str().unwrap().replace(".received.bin", ".expect.json"));
        let expected: serde_json::Value = serde_json::from_slice(&expected.unwrap()).unwrap();
        let mut rest = bytes.as_slice();
        for packet in expected["packets"].as_array().unwrap() {
            let (header, start) = PacketHeader::decode(rest).unwrap().unwrap();
            let end = start + header.length;
            let records = decode(&rest[start..end], &DecodeLimits::default()).unwrap();
            let kind = match header.kind {
                PacketKind::Request => 0,
                PacketKind::Reply => 1,
                PacketKind::Fault => 3,
            };
            assert_eq!(packet[0], kind, "{}", path.display());
            let cookie = u32::from_str_radix(packet[1].as_str().unwrap(), 16).unwrap();
            assert_eq!(cookie, header.cookie, "{}", path.display());
            let records: Vec<_> = records.iter().map(json).collect();
            assert_eq!(packet[2], serde_json::Value::from(records), "{}", path.display());
            rest = &rest[end..];
        }
        assert!(rest.is_empty(), "{}", path.display());
    }
}

/// Converts a value to the form of the expectations: a struct is a list, a named member a pair.
fn json(value: &BinrpcValue) -> serde_json::Value {
    match value {
        BinrpcValue::Int(int) => (*int).into(),
        BinrpcValue::Double(double) => double.to_f64().into(),
        BinrpcValue::Text(text) => text.to_str().into(),
        BinrpcValue::Bytes(bytes) => format!("{bytes:02x?}").into(),
        BinrpcValue::Array(values) => values.iter().map(json).collect(),
        BinrpcValue::Struct(members) => members
            .iter()
            .map(|member| match &member.name {
                Some(name) => vec![name.to_str().into(), json(&member.value)].into(),
                None => json(&member.value),
            })
            .collect(),
    }
}
