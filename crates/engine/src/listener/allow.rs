//! The `allow` list: who may send to a listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use basics::log_throttle::LogThrottle;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tracing::warn;

use super::stats::{ListenerStats, RefusalReason};

/// The networks that may send. An empty list admits everyone who can reach the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AllowList(Vec<Network>);

impl AllowList {
    /// Whether an address is in one of the networks. The address must be canonical: an IPv4 address
    /// mapped into IPv6 counts as IPv6.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        // Lists are short and comparisons cheap, so a search tree would gain nothing.
        self.0.is_empty() || self.0.iter().any(|network| network.contains(address))
    }
}

/// A network: the addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    V4 { first: u32, mask: u32 },
    V6 { first: u128, mask: u128 },
}

impl Network {
    /// Parses `10.1.0.0/16`, `fd00::/8` or a single address.
    ///
    /// # Errors
    /// A message for the user, which shows the correct form.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected a network such as 10.1.0.0/16 or fd00::/8, or a single address, \
                 not `{text}`"
            )
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(bits.parse::<u32>().map_err(|_| wrong())?))
            }
            Some(_) => return Err(wrong()),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (network, first) = match address {
            IpAddr::V4(address) => {
                let bits = bits.unwrap_or(32);
                let mask = leading_ones(bits, 32).ok_or_else(wrong)? as u32;
                let first = address.to_bits() & mask;
                (Self::V4 { first, mask }, IpAddr::V4(Ipv4Addr::from_bits(first)))
            }
            IpAddr::V6(address) => {
                let bits = bits.unwrap_or(128);
                let mask = leading_ones(bits, 128).ok_or_else(wrong)?;
                let first = address.to_bits() & mask;
                (Self::V6 { first, mask }, IpAddr::V6(Ipv6Addr::from_bits(first)))
            }
        };
        if first != address {
            // Probably a mistake, and only the user knows whether the address or the length is
            // wrong.
            let bits = text.rsplit('/').next().unwrap_or_default();
            return Err(format!(
                "`{text}` has bits set after the first {bits}: for the network write {first}/{bits}"
            ));
        }
        Ok(network.canonical())
    }

    /// Converts IPv4 networks mapped into IPv6 to IPv4, as is done with the addresses of senders.
    fn canonical(self) -> Self {
        const MAPPED: u128 = 0xffff << 32;
        match self {
            Self::V6 { first, mask }
                if mask >> 32 == u128::MAX >> 32 && first >> 32 << 32 == MAPPED =>
            {
                Self::V4 { first: first as u32, mask: mask as u32 }
            }
            network => network,
        }
    }

    /// Whether a canonical address is in the network.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { first, mask }, IpAddr::V4(address)) => address.to_bits() & mask == first,
            (Self::V6 { first, mask }, IpAddr::V6(address)) => address.to_bits() & mask == first,
            _ => false,
        }
    }
}

/// A number of `width` bits that starts with this many ones, followed by zeros.
fn leading_ones(bits: u32, width: u32) -> Option<u128> {
    let zeros = width.checked_sub(bits)?;
    let all = u128::MAX >> (128 - width);
    Some(all.checked_shl(zeros).unwrap_or(0) & all)
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// Checks each sender before any of its bytes are read, and counts and logs refused ones.
#[derive(Debug)]
pub(super) struct Gate {
    allow: AllowList,
    stats: Arc<ListenerStats>,
    throttle: LogThrottle,
}

impl Gate {
    pub(super) fn new(allow: AllowList, stats: Arc<ListenerStats>) -> Self {
        Self { allow, stats, throttle: LogThrottle::default() }
    }

    /// Applies another list from now on.
    pub(super) fn set_allow(&mut self, allow: AllowList) {
        self.allow = allow;
    }

    /// Whether the list restricts who may send.
    pub(super) fn is_restricted(&self) -> bool {
        !self.allow.0.is_empty()
    }

    /// Whether this sender may send. `sender` is called only if the list restricts that.
    #[inline]
    pub(super) fn admits(&mut self, sender: impl FnOnce() -> Option<SocketAddr>) -> bool {
        self.allow.0.is_empty() || self.is_allowed(sender())
    }

    /// Whether this sender may send, without counting a refusal.
    pub(super) fn allows(&self, sender: Option<SocketAddr>) -> bool {
        self.allow.0.is_empty() || sender.is_some_and(|sender| self.allow.allows(sender.ip()))
    }

    fn is_allowed(&mut self, sender: Option<SocketAddr>) -> bool {
        let is_allowed = self.allows(sender);
        if !is_allowed {
            self.refuse(sender);
        }
        is_allowed
    }

    #[cold]
    fn refuse(&mut self, sender: Option<SocketAddr>) {
        self.stats.refuse(RefusalReason::NotAllowed);
        if let Some(count) = self.throttle.count(1) {
            warn!(
                listener = self.stats.label(),
                count,
                sender = sender.map(|sender| sender.to_string()),
                "refused senders that are not in the listener's `allow`; this is the latest one"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(networks: &[&str]) -> AllowList {
        AllowList(networks.iter().map(|text| Network::parse(text).unwrap()).collect())
    }

    #[test]
    fn an_address_is_in_a_network_when_its_first_bits_match() {
        let list =
            list(&["10.1.0.0/16", "192.0.2.7", "fd00::/8", "::1", "::ffff:198.51.100.0/120"]);
        for inside in ["10.1.0.0", "10.1.255.255", "192.0.2.7", "fdff::1", "::1", "198.51.100.9"] {
            assert!(list.allows(inside.parse().unwrap()), "{inside}");
        }
        for outside in
            ["10.2.0.0", "10.0.255.255", "192.0.2.8", "fe00::1", "::2", "198.51.101.9", "0.0.0.1"]
        {
            assert!(!list.allows(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn an_empty_list_allows_everyone_and_a_zero_prefix_its_family() {
        let (v4, v6) = ("192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert!(list(&[]).allows(v4) && list(&[]).allows(v6));
        assert!(list(&["0.0.0.0/0"]).allows(v4) && !list(&["0.0.0.0/0"]).allows(v6));
        assert!(list(&["::/0"]).allows(v6) && !list(&["::/0"]).allows(v4));
    }

    #[test]
    fn an_invalid_network_is_refused_with_a_correction_if_possible() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "host",
            "1.2.3.4/8/8",
        ] {
            let error = Network::parse(wrong).unwrap_err();
            assert!(error.contains("10.1.0.0/16"), "{error}");
        }
        let error = Network::parse("10.1.2.3/8").unwrap_err();
        assert!(error.ends_with("for the network write 10.0.0.0/8"), "{error}");
        let error = Network::parse("2001:db8::1/32").unwrap_err();
        assert!(error.ends_with("for the network write 2001:db8::/32"), "{error}");
    }
}
