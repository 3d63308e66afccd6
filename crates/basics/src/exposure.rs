//! What other hosts can do with a server that listens at their addresses.

use crate::address::ListenAddresses;

/// A risk that a configuration takes, perhaps without intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The risk: the rest of a sentence that begins with the key of the address.
    pub words: String,
    /// What to do.
    pub help: &'static str,
}

impl Exposure {
    /// The risk of an HTTP server at these addresses. `is_restricted`: clients have to prove who they
    /// are; `is_encrypted`: with TLS. `None` if only this host reaches it, or both hold.
    #[must_use]
    pub fn of(
        addresses: &ListenAddresses,
        is_restricted: bool,
        is_encrypted: bool,
    ) -> Option<Self> {
        let address =
            addresses.all().iter().find(|address| !address.ip().to_canonical().is_loopback())?;
        if !is_restricted {
            let words =
                format!("every host that reaches {address} can read it: it has no authentication");
            let help =
                "set `users` or `tokens`, and `tls`; or `web_config_file`; or listen on 127.0.0.1";
            return Some(Self { words, help });
        }
        let words = format!("passwords and tokens for {address} cross the network unencrypted");
        let help =
            "set `tls`, or listen on 127.0.0.1 and let a proxy with TLS forward the requests";
        (!is_encrypted).then_some(Self { words, help })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_other_hosts_reach_is_a_risk() {
        let words = |address: &str, is_restricted, is_encrypted| {
            let addresses = ListenAddresses::of_name("test", vec![address.parse().unwrap()]);
            Exposure::of(&addresses, is_restricted, is_encrypted).map(|exposure| exposure.words)
        };
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(words(address, false, false), None, "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "[fe80::1]:1"] {
            assert!(
                words(address, false, true).unwrap().contains("no authentication"),
                "{address}"
            );
            assert!(words(address, true, false).unwrap().contains("unencrypted"), "{address}");
            assert_eq!(words(address, true, true), None, "{address}");
        }
    }
}
