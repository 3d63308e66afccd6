//! The addresses and files that each section uses.

use engine::listener::ListenerConfig;
use engine::listener::config::ListenerEndpoint;
use forwarders::HostResource;
use yaml::{Source, SourceSpan};

use super::Config;
use super::admin::AdminListen;

/// The use of a resource by a key of the configuration.
#[derive(Debug)]
pub struct ResourceUse {
    /// The address or the file.
    pub resource: HostResource,
    /// The path of the key.
    pub key: String,
    /// The position of the key; `None` if the resource is a default.
    pub span: Option<SourceSpan>,
    /// The name of the listener in the status; `None` if no listener uses the resource.
    pub label: Option<String>,
}

/// Lists every use, in the order of the sections.
#[must_use]
pub fn all(config: &Config, listeners: &[ListenerConfig], source: &Source) -> Vec<ResourceUse> {
    listener_uses(config, listeners, source)
        .chain(admin_uses(config, source))
        .chain(forwarder_uses(config, source))
        .collect()
}

fn listener_uses(
    config: &Config,
    listeners: &[ListenerConfig],
    source: &Source,
) -> impl Iterator<Item = ResourceUse> {
    let of_list: Vec<_> = positions(config).collect();
    // The listeners of `bind_address` and `bind_port` come before the listeners of the list.
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
        let label = Some(listener.endpoint.label(listener.protocol));
        ResourceUse { resource, key, span, label }
    })
}

/// For each listener of the list, the position of its entry in `listeners`: an entry has a listener for
/// each of its addresses.
pub(super) fn positions(config: &Config) -> impl Iterator<Item = usize> {
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
    let of = |resource, key: &str| ResourceUse {
        resource,
        key: format!("admin.{key}"),
        span: yaml::key_span(source, &["admin"], 0, Some(key)),
        label: None,
    };
    let listen = addresses.iter().map(move |address| of(HostResource::Tcp(*address), "listen"));
    let socket = config.admin.socket.iter();
    listen.chain(socket.map(move |path| of(HostResource::Path(path.0.clone()), "socket")))
}

fn forwarder_uses(config: &Config, source: &Source) -> impl Iterator<Item = ResourceUse> {
    config.forwarders.host_resources().into_iter().map(|used| {
        let section = ["forwarders", used.kind];
        // A default has no key in the file, so its position is that of its section.
        let span = yaml::key_span(source, &section, used.index, Some(used.key))
            .or_else(|| yaml::section_span(source, &section, used.index));
        let index = if used.is_only { String::new() } else { format!("[{}]", used.index) };
        let key = format!("forwarders.{}{index}.{}", used.kind, used.key);
        ResourceUse { resource: used.resource, key, span, label: None }
    })
}
