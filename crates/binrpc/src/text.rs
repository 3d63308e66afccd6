//! Prints values as `kamcmd` does.

use crate::packet::Fault;
use crate::value::{BinrpcText, BinrpcValue};

/// Appends the records of a reply, as `kamcmd` prints them.
pub fn write_reply(records: &[BinrpcValue], out: &mut Vec<u8>) {
    records.iter().for_each(|record| write_value(None, record, 0, out));
}

/// Appends a fault, as `kamcmd` prints it.
pub fn write_fault(fault: &Fault, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("error: {} - ", fault.code).as_bytes());
    out.extend_from_slice(fault.reason.as_bytes());
    out.push(b'\n');
}

/// Appends a value. Recurses as deep as the value is nested, which [`decode`](crate::decode())
/// bounds.
fn write_value(name: Option<&BinrpcText>, value: &BinrpcValue, depth: usize, out: &mut Vec<u8>) {
    indent(depth, out);
    if let Some(name) = name {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
    }
    match value {
        BinrpcValue::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
        BinrpcValue::Text(text) => out.extend_from_slice(text.as_bytes()),
        BinrpcValue::Double(double) => write_double(double.to_f64(), out),
        BinrpcValue::Bytes(bytes) => out.extend_from_slice(bytes),
        BinrpcValue::Struct(members) => {
            out.extend_from_slice(b"{\n");
            for member in members {
                write_value(member.name.as_ref(), &member.value, depth + 1, out);
            }
            indent(depth, out);
            out.push(b'}');
        }
        BinrpcValue::Array(values) => {
            out.extend_from_slice(b"[\n");
            values.iter().for_each(|value| write_value(None, value, depth + 1, out));
            indent(depth, out);
            out.push(b']');
        }
    }
    out.push(b'\n');
}

fn indent(depth: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + depth, b'\t');
}

fn write_double(number: f64, out: &mut Vec<u8>) {
    let text = if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.6}") };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Member, Thousandths};

    #[test]
    fn members_are_indented_and_fractions_have_six_decimals() {
        let records = [
            BinrpcValue::Struct(vec![
                Member::named("a", BinrpcValue::Double(Thousandths(1_500))),
                Member::unnamed(BinrpcValue::Array(vec![BinrpcValue::Double(Thousandths(-1_000))])),
            ]),
            BinrpcValue::from(""),
        ];
        let mut text = Vec::new();
        write_reply(&records, &mut text);
        assert_eq!(text, b"{\n\ta: 1.500000\n\t[\n\t\t-1\n\t]\n}\n\n");
    }

    #[test]
    fn a_fault_keeps_its_trailing_newline() {
        let mut text = Vec::new();
        write_fault(&Fault { code: 400, reason: "no such counter\n".into() }, &mut text);
        assert_eq!(text, b"error: 400 - no such counter\n\n");
    }
}
