//! Values as `kamcmd` prints them.

use crate::packet::Fault;
use crate::value::{Text, Value};

/// Appends each record, as `kamcmd` prints a reply.
pub fn write_reply(records: &[Value], out: &mut Vec<u8>) {
    records.iter().for_each(|record| write_value(None, record, 0, out));
}

/// Appends a fault, as `kamcmd` prints it.
pub fn write_fault(fault: &Fault, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("error: {} - ", fault.code).as_bytes());
    out.extend_from_slice(fault.reason.as_bytes());
    out.push(b'\n');
}

/// It goes as deep as the value does: that of a value which [`decode`](crate::decode()) gave is
/// bounded.
fn write_value(name: Option<&Text>, value: &Value, depth: usize, out: &mut Vec<u8>) {
    indent(depth, out);
    if let Some(name) = name {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
    }
    match value {
        Value::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Double(double) => write_double(double.to_f64(), out),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Struct(members) => {
            out.extend_from_slice(b"{\n");
            for member in members {
                write_value(member.name.as_ref(), &member.value, depth + 1, out);
            }
            indent(depth, out);
            out.push(b'}');
        }
        Value::Array(values) => {
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
    fn members_are_indented_and_numbers_have_six_decimals_if_any() {
        let records = [
            Value::Struct(vec![
                Member::named("a", Value::Double(Thousandths(1_500))),
                Member::bare(Value::Array(vec![Value::Double(Thousandths(-1_000))])),
            ]),
            Value::from(""),
        ];
        let mut text = Vec::new();
        write_reply(&records, &mut text);
        assert_eq!(text, b"{\n\ta: 1.500000\n\t[\n\t\t-1\n\t]\n}\n\n");
    }

    #[test]
    fn a_fault_keeps_the_newline_that_kamailio_gave_it() {
        let mut text = Vec::new();
        write_fault(&Fault { code: 400, reason: "no such counter\n".into() }, &mut text);
        assert_eq!(text, b"error: 400 - no such counter\n\n");
    }
}
