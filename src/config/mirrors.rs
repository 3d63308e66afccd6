//! Mirror targets that would lead back to a listener of this daemon.

use std::net::{SocketAddr, UdpSocket};

use engine::listener::config::ListenerEndpoint;
use engine::listener::mirror::MirrorTarget;
use engine::listener::{ListenerConfig, ListenerSection};
use yaml::{ConfigError, Source, Spanned};

/// Finds targets at the address of a listener: a datagram would go in circles forever.
pub(super) fn check(
    sections: &[Spanned<ListenerSection>],
    listeners: &[ListenerConfig],
    source: &Source,
) -> Vec<ConfigError> {
    let own: Vec<SocketAddr> = listeners.iter().filter_map(udp_address).collect();
    let each = |(index, section): (usize, &Spanned<ListenerSection>)| {
        let mirror = section.mirror.as_ref()?;
        let is_own = |target: &&MirrorTarget| own.iter().any(|own| reaches(target.address(), *own));
        let target = mirror.get().targets().iter().find(is_own)?;
        let message = format!(
            "`listeners[{index}].mirror`: {target} is the address of a listener of this configuration, so \
             that each datagram would return forever"
        );
        let help =
            "name the address of another daemon; give this one another port if both want the same";
        Some(source.error_at(mirror.span(), message).with_help(help))
    };
    sections.iter().enumerate().filter_map(each).collect()
}

fn udp_address(listener: &ListenerConfig) -> Option<SocketAddr> {
    match &listener.endpoint {
        ListenerEndpoint::Udp(udp) => Some(udp.address),
        _ => None,
    }
}

/// Whether datagrams to `target` reach a listener at `own`.
fn reaches(target: SocketAddr, own: SocketAddr) -> bool {
    target.port() == own.port()
        && (target.ip() == own.ip() || own.ip().is_unspecified() && is_of_this_host(target))
}

/// Whether this host has the address: only then it can be bound.
fn is_of_this_host(address: SocketAddr) -> bool {
    address.ip().is_unspecified() || UdpSocket::bind((address.ip(), 0)).is_ok()
}
