//! `tallyd kamailio`: calls a method of a Kamailio server and prints the reply.

mod json;

use std::io;
use std::process::ExitCode;

use basics::units::Span;
use binrpc::{
    BinrpcClient, BinrpcEndpoint, BinrpcValue, CallError, CallReply, CallRequest, CallTimeouts,
    ClientOptions, Fault, Thousandths, text,
};
use clap::Args;

use self::json::{JsonFault, JsonValue};
use crate::commands::client::stdout;

/// `tallyd kamailio`.
#[derive(Debug, Args)]
pub struct KamailioArgs {
    /// Address of the server: unix:/path, unixd:/path (datagrams), tcp:host:port or udp:host:port
    pub endpoint: BinrpcEndpoint,
    /// The method; system.listMethods lists all
    pub method: String,
    /// Arguments of the method
    #[arg(allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Print JSON: a list of the records
    #[arg(long)]
    pub json: bool,
    /// Time limit for each step: connecting, sending the request, receiving the reply
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = Span::parse)]
    pub timeout: Span,
}

/// Runs the command: status 0 after a reply, 1 after a fault or without a reply.
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
    let timeouts = CallTimeouts::all(args.timeout.get());
    let mut client = BinrpcClient::new(
        args.endpoint.clone(),
        ClientOptions { timeouts, ..ClientOptions::default() },
    );
    let parameters = args.arguments.iter().map(|argument| parameter(argument)).collect();
    let request = CallRequest { method: args.method.clone(), parameters };
    let (printed, status) = match runtime.block_on(client.call(&request)) {
        Ok(reply) => (show(&reply, args.json), ExitCode::SUCCESS),
        Err(CallError::Fault { fault }) => (show_fault(&fault, args.json), ExitCode::FAILURE),
        Err(error) => {
            eprintln!("{error}{}", next_step(&error));
            return ExitCode::FAILURE;
        }
    };
    if stdout::print(&printed) { status } else { ExitCode::FAILURE }
}

/// Advice to append to the error when there is no reply.
pub(crate) fn next_step(error: &CallError) -> &'static str {
    match error {
        CallError::Connect { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "; the ctl module's `mode`, `user` and `group` control access to the socket: join \
                 that group"
            }
            _ => {
                "; check that Kamailio is running and that the parameter `binrpc` of its ctl module \
                 has this address"
            }
        },
        CallError::TimedOut { .. } => {
            "; check that this is Kamailio's BINRPC socket and that Kamailio is not overloaded; \
             --timeout sets a longer limit"
        }
        _ => "",
    }
}

fn show(reply: &CallReply, as_json: bool) -> Vec<u8> {
    if as_json {
        return json(&reply.records.iter().map(JsonValue).collect::<Vec<_>>());
    }
    let mut printed = Vec::new();
    text::write_reply(&reply.records, &mut printed);
    printed
}

fn show_fault(fault: &Fault, as_json: bool) -> Vec<u8> {
    if as_json {
        return json(&JsonFault(fault));
    }
    let mut printed = Vec::new();
    text::write_fault(fault, &mut printed);
    printed
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut printed = serde_json::to_vec_pretty(value).unwrap_or_default();
    printed.push(b'\n');
    printed
}

/// Types an argument as `kamcmd` does: a whole number is an int, a number with decimals a double, and
/// anything else or anything after `s:` is text. Unlike with `kamcmd`, which truncates it to 32 bits, a
/// number that is too large for an int, such as a telephone number, is text.
fn parameter(argument: &str) -> BinrpcValue {
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
        Ok(number) if is_decimal => BinrpcValue::Double(Thousandths::from_f64(number)),
        _ => argument.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_typed_as_kamcmd_types_them() {
        for (argument, value) in [
            ("7", BinrpcValue::Int(7)),
            ("-7", BinrpcValue::Int(-7)),
            ("s:7", BinrpcValue::from("7")),
            ("2.5", BinrpcValue::Double(Thousandths(2_500))),
            ("-0.5", BinrpcValue::Double(Thousandths(-500))),
            ("1.2.3.4", BinrpcValue::from("1.2.3.4")),
            ("4930123456", BinrpcValue::from("4930123456")),
            ("script:", BinrpcValue::from("script:")),
            ("inf", BinrpcValue::from("inf")),
            (".", BinrpcValue::from(".")),
            ("", BinrpcValue::from("")),
        ] {
            assert_eq!(parameter(argument), value, "{argument}");
        }
    }
}
