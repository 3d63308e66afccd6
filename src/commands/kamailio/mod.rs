//! `tallyd kamailio`: one method of a Kamailio, printed.

mod json;

use basics::units::Span;
use binrpc::Endpoint;
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;

use binrpc::{CallError, Client, Options, Reply, Request, Thousandths, Timeouts, Value, text};

use self::json::{Json, JsonFault};

/// `tallyd kamailio`.
#[derive(Debug, Args)]
pub struct KamailioArgs {
    /// Where it answers: unix:/path, unixd:/path (datagrams), tcp:host:port or udp:host:port
    pub endpoint: Endpoint,
    /// The method; system.listMethods tells which there are
    pub method: String,
    /// What the method is given
    #[arg(allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Answer in JSON: a list of the records
    #[arg(long)]
    pub json: bool,
    /// How long it may take, for each of connecting, asking and the reply
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = Span::parse)]
    pub timeout: Span,
}

/// Runs the command: status 0 after a reply, 1 after a fault or without an answer.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &KamailioArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let timeouts = Timeouts::all(args.timeout.get());
    let mut client = Client::new(args.endpoint.clone(), Options { timeouts, ..Options::default() });
    let parameters = args.arguments.iter().map(|argument| parameter(argument)).collect();
    let request = Request { method: args.method.clone(), parameters };
    let (printed, status) = match runtime.block_on(client.call(&request)) {
        Ok(reply) => (show(&reply, args.json), ExitCode::SUCCESS),
        Err(CallError::Fault { fault }) => {
            let mut printed = Vec::new();
            if args.json {
                printed = json(&JsonFault(&fault));
            } else {
                text::write_fault(&fault, &mut printed);
            }
            (printed, ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("{error}{}", next_step(&error));
            return ExitCode::FAILURE;
        }
    };
    // A reader that has seen enough is no failure.
    let _reader_left = io::stdout().write_all(&printed);
    status
}

/// What to do where nobody answers, behind the error.
pub(crate) fn next_step(error: &CallError) -> &'static str {
    match error {
        CallError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "; the module ctl says who may use its socket (`mode`, `user`, `group`): join that \
                 group"
            }
            _ => {
                "; does Kamailio run, with the module ctl and this address as its parameter `binrpc`?"
            }
        },
        CallError::TimedOut { .. } => {
            "; is that Kamailio's BINRPC, and does it have time? --timeout waits longer"
        }
        _ => "",
    }
}

fn show(reply: &Reply, as_json: bool) -> Vec<u8> {
    if as_json {
        return json(&reply.records.iter().map(Json).collect::<Vec<_>>());
    }
    let mut printed = Vec::new();
    text::write_reply(&reply.records, &mut printed);
    printed
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut printed = serde_json::to_vec_pretty(value).unwrap_or_default();
    printed.push(b'\n');
    printed
}

/// An argument as `kamcmd` takes it: a whole number is an int, one with decimals a double, and all
/// else text, as is whatever stands behind `s:`. A number that is too large for an int, such as that
/// of a telephone, is text; `kamcmd` would send its last 32 bits.
fn parameter(argument: &str) -> Value {
    if let Some(text) = argument.strip_prefix("s:") {
        return text.into();
    }
    if let Ok(int) = argument.parse::<i32>() {
        return int.into();
    }
    let is_decimal = argument.contains('.')
        && argument.bytes().any(|byte| byte.is_ascii_digit())
        && argument.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    match argument.parse::<f64>() {
        Ok(number) if is_decimal => Value::Double(Thousandths::from_f64(number)),
        _ => argument.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_typed_as_kamcmd_types_them() {
        for (argument, value) in [
            ("7", Value::Int(7)),
            ("-7", Value::Int(-7)),
            ("s:7", Value::from("7")),
            ("2.5", Value::Double(Thousandths(2_500))),
            ("-0.5", Value::Double(Thousandths(-500))),
            ("1.2.3.4", Value::from("1.2.3.4")),
            ("4930123456", Value::from("4930123456")),
            ("script:", Value::from("script:")),
            ("inf", Value::from("inf")),
            (".", Value::from(".")),
            ("", Value::from("")),
        ] {
            assert_eq!(parameter(argument), value, "{argument}");
        }
    }
}
