//! Sections that would use one address or one file.

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
        .chain(admin_uses(config, source))
        .chain(forwarder_uses(config, source))
        .collect();
    let mut conflicts: Vec<(&ResourceUse, &ResourceUse)> = Vec::new();
    for (index, this) in uses.iter().enumerate() {
        // Two keys with one name have every address of it in common: that is one mistake.
        if conflicts.last().is_some_and(|(reported, _)| reported.key == this.key) {
            continue;
        }
        let others = uses[..index].iter().filter(|other| other.key != this.key);
        let mut taken = others.filter(|other| other.resource.conflicts_with(&this.resource));
        conflicts.extend(taken.next().map(|other| (this, other)));
    }
    conflicts.into_iter().map(|(this, other)| error(source, this, other)).collect()
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
    let of_list: Vec<_> = positions(config).collect();
    // The listeners of `bind_address` and `bind_port` come before those of the list.
    let unlisted = listeners.len().saturating_sub(of_list.len());
    listeners.iter().enumerate().map(move |(number, listener)| {
        let (name, resource) = resource(&listener.endpoint);
        let (key, span) = match number.checked_sub(unlisted) {
            None => ("bind_port".to_owned(), bind_span(source)),
            Some(number) => {
                let index = of_list[number];
                let span = yaml::key_span(source, &["listeners"], index, Some(name));
                (format!("listeners[{index}].{name}"), span)
            }
        };
        ResourceUse { resource, key, span }
    })
}

/// The position in `listeners` of each listener of the list: an entry is a listener for each address.
fn positions(config: &Config) -> impl Iterator<Item = usize> {
    let entries = config.listeners.iter().flat_map(|entries| entries.iter()).enumerate();
    entries.flat_map(|(index, entry)| {
        let addresses = entry.address.as_ref().map_or(1, |addresses| addresses.get().all().len());
        std::iter::repeat_n(index, addresses)
    })
}

fn bind_span(source: &Source) -> Option<SourceSpan> {
    let span = |key| yaml::key_span(source, &[], 0, Some(key));
    span("bind_port").or_else(|| span("bind_address"))
}

/// The key and the resource of a listener.
fn resource(endpoint: &ListenerEndpoint) -> (&'static str, HostResource) {
    match endpoint {
        ListenerEndpoint::Udp(udp) => ("address", HostResource::Udp(udp.address)),
        ListenerEndpoint::Tcp(tcp) => ("address", HostResource::Tcp(tcp.address)),
        ListenerEndpoint::Unix(unix) => ("path", HostResource::Path(unix.path.clone())),
        ListenerEndpoint::UnixDatagram(unix) => ("path", HostResource::Path(unix.path.clone())),
    }
}

fn admin_uses(config: &Config, source: &Source) -> impl Iterator<Item = ResourceUse> {
    let addresses = match &config.admin.listen {
        AdminListen::At(addresses) => addresses.all(),
        AdminListen::None => &[],
    };
    let span = yaml::key_span(source, &["admin"], 0, Some("listen"));
    addresses.iter().map(move |address| ResourceUse {
        resource: HostResource::Tcp(*address),
        key: "admin.listen".into(),
        span,
    })
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
