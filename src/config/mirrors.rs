//! Mirror targets that would lead back to a listener of this daemon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

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
             that each datagram would come back forever"
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
    let (ip, own_ip) = (target.ip().to_canonical(), own.ip().to_canonical());
    // The system takes an unspecified target for this host. Only a socket at `::` receives both families.
    let is_both = own.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_same_family = ip.is_ipv4() == own_ip.is_ipv4() || is_both;
    let is_reached = if own_ip.is_unspecified() {
        is_same_family && is_of_this_host(ip)
    } else {
        ip == own_ip || ip.is_unspecified() && is_same_family && own_ip.is_loopback()
    };
    target.port() == own.port() && is_reached
}

/// Whether this host has the address: then the system sends from it to itself. Binding it
/// would prove nothing, because a setting of the system allows that for every address.
fn is_of_this_host(ip: IpAddr) -> bool {
    let any: IpAddr =
        if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 1))?;
        socket.local_addr()
    });
    ip.is_unspecified() || ip.is_loopback() || source.is_ok_and(|source| source.ip() == ip)
}
