//! Sections that would use one address or one file.

use std::net::SocketAddr;

use engine::listener::ListenerConfig;
use engine::listener::config::ListenerEndpoint;
use forwarders::HostResource;
use yaml::{ConfigError, Source, SourceSpan};

use super::Config;
use super::admin::AdminListen;

/// The use of a resource by a key of the configuration.
struct ResourceUse {
    resource: HostResource,
    /// The path of the key.
    key: String,
    /// The position of the key; `None` if the resource is a default.
    span: Option<SourceSpan>,
}

/// Finds every key with an address or a file that an earlier section has.
pub(super) fn check(
    config: &Config,
    listeners: &[ListenerConfig],
    source: &Source,
) -> Vec<ConfigError> {
    let uses: Vec<_> = listener_uses(config, listeners, source)
        .chain(admin_use(config, source))
        .chain(forwarder_uses(config, source))
        .collect();
    let conflict = |(index, this): (usize, &ResourceUse)| {
        let other = uses[..index].iter().find(|o| o.resource.conflicts_with(&this.resource))?;
        Some(error(source, this, other))
    };
    uses.iter().enumerate().filter_map(conflict).collect()
}

/// The error stands at the later of the two keys that the file contains.
fn error(source: &Source, one: &ResourceUse, other: &ResourceUse) -> ConfigError {
    let line = |used: &ResourceUse| used.span.map_or(0, |span| span.start.line);
    let (here, there) = if line(one) >= line(other) { (one, other) } else { (other, one) };
    let place = match there.span {
        Some(span) => format!(" in line {}", span.start.line),
        None => ", a default".to_owned(),
    };
    let (thing, advice) = match here.resource {
        HostResource::Path(_) => ("the file", "give each a path of its own"),
        _ => ("an address", "give each another port or address"),
    };
    let taken = match here.resource == there.resource {
        true => String::new(),
        false => format!(" ({})", there.resource),
    };
    let message = format!(
        "`{}`: {} is already {thing} of `{}`{taken}{place}",
        here.key, here.resource, there.key
    );
    source.error_at(here.span.unwrap_or(SourceSpan::START), message).with_help(advice)
}

fn listener_uses(
    config: &Config,
    listeners: &[ListenerConfig],
    source: &Source,
) -> impl Iterator<Item = ResourceUse> {
    // The listener of `bind_address` and `bind_port` comes before those of the list.
    let listed = config.listeners.as_ref().map_or(0, |listed| listed.len());
    let unlisted = listeners.len().saturating_sub(listed);
    listeners.iter().enumerate().flat_map(move |(index, listener)| {
        let (name, resources) = resources(&listener.endpoint);
        let (key, span) = match index.checked_sub(unlisted) {
            None => ("bind_port".to_owned(), bind_span(source)),
            Some(index) => (
                format!("listeners[{index}].{name}"),
                yaml::key_span(source, &["listeners"], index, Some(name)),
            ),
        };
        resources.into_iter().map(move |resource| ResourceUse { resource, key: key.clone(), span })
    })
}

fn bind_span(source: &Source) -> Option<SourceSpan> {
    let span = |key| yaml::key_span(source, &[], 0, Some(key));
    span("bind_port").or_else(|| span("bind_address"))
}

/// The key and the resources of a listener.
fn resources(endpoint: &ListenerEndpoint) -> (&'static str, Vec<HostResource>) {
    let addresses = |address: SocketAddr, resource: fn(SocketAddr) -> HostResource| {
        ("address", vec![resource(address)])
    };
    match endpoint {
        ListenerEndpoint::Udp(udp) => addresses(udp.address, HostResource::Udp),
        ListenerEndpoint::Tcp(tcp) => addresses(tcp.address, HostResource::Tcp),
        ListenerEndpoint::Unix(unix) => ("path", vec![HostResource::Path(unix.path.clone())]),
        ListenerEndpoint::UnixDatagram(unix) => {
            ("path", vec![HostResource::Path(unix.path.clone())])
        }
    }
}

fn admin_use(config: &Config, source: &Source) -> Option<ResourceUse> {
    let AdminListen::Address(address) = config.admin.listen else { return None };
    let span = yaml::key_span(source, &["admin"], 0, Some("listen"));
    Some(ResourceUse { resource: HostResource::Tcp(address), key: "admin.listen".into(), span })
}

fn forwarder_uses(config: &Config, source: &Source) -> impl Iterator<Item = ResourceUse> {
    config.forwarders.host_resources().into_iter().map(|used| {
        let section = ["forwarders", used.kind];
        // A default stands at its section, which is in the file.
        let span = yaml::key_span(source, &section, used.index, Some(used.key))
            .or_else(|| yaml::section_span(source, &section, used.index));
        let index = if used.is_only { String::new() } else { format!("[{}]", used.index) };
        let key = format!("forwarders.{}{index}.{}", used.kind, used.key);
        ResourceUse { resource: used.resource, key, span }
    })
}
