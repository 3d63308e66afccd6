//! The option that selects the protocol of messages, `--statsd`.

use engine::listener::Protocol;

/// How to run the command for messages of this protocol, after a run for the other one.
pub(crate) fn other_option(protocol: Protocol) -> String {
    match protocol {
        Protocol::Json => "omit --statsd".to_owned(),
        Protocol::Statsd => "use --statsd".to_owned(),
    }
}
