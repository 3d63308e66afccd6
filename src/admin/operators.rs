//! Who may send requests that change something: at the admin socket, where the kernel names the user of
//! each client, the operators; at an address, every client that has proved its identity.

use std::collections::HashSet;
use std::fmt;

use httpserver::{Identity, PeerUser};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::config::admin::OperatorsConfig;

/// Why a request at an address is refused.
pub(super) const ANONYMOUS: &str = "only through the admin socket (`admin: {socket}`), or with authentication, which this address \
     does not have (`admin: {users, tokens, tls}`)";

/// The sender of a request, as the kernel or the server knows it.
#[derive(Clone, Debug)]
pub(super) enum Requester {
    /// A user of this host, at the Unix socket.
    Local(PeerUser),
    /// A client at an address that has proved its identity.
    Remote(Identity),
}

impl Requester {
    /// The sender of a request with these extensions; `None` if it is unknown.
    pub(super) fn of(user: Option<PeerUser>, identity: Option<Identity>) -> Option<Self> {
        user.map(Self::Local).or(identity.map(Self::Remote))
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(user) => write!(formatter, "uid {}", user.uid),
            Self::Remote(identity) => identity.fmt(formatter),
        }
    }
}

/// Why a request is refused, as a sentence for its sender.
pub(super) fn check(sender: &Requester, operators: &OperatorsConfig) -> Result<(), String> {
    match sender {
        // Everyone who can authenticate may: there is one kind of user.
        Requester::Remote(_) => Ok(()),
        Requester::Local(user) if is_operator(*user, Uid::effective(), operators) => Ok(()),
        Requester::Local(PeerUser { uid, .. }) => Err(format!(
            "uid {uid} may not change anything: only root, the daemon's user and \
             `admin: {{operators}}` may"
        )),
    }
}

/// Blocks on the databases of users and groups.
fn is_operator(peer: PeerUser, own: Uid, operators: &OperatorsConfig) -> bool {
    let uid = Uid::from_raw(peer.uid);
    if uid.is_root() || uid == own {
        return true;
    }
    operators.users.iter().any(|name| user_id(name) == Some(uid)) || {
        // Looked up only if needed: it may ask a directory server.
        let listed: Vec<Gid> = operators.groups.iter().filter_map(|name| group_id(name)).collect();
        !listed.is_empty() && {
            let groups = groups_of(peer);
            listed.iter().any(|group| groups.contains(group))
        }
    }
}

fn user_id(name: &str) -> Option<Uid> {
    match name.parse() {
        Ok(number) => Some(Uid::from_raw(number)),
        Err(_) => User::from_name(name).ok().flatten().map(|user| user.uid),
    }
}

fn group_id(name: &str) -> Option<Gid> {
    match name.parse() {
        Ok(number) => Some(Gid::from_raw(number)),
        Err(_) => Group::from_name(name).ok().flatten().map(|group| group.gid),
    }
}

/// The group of the process that connected, and all groups of its user.
fn groups_of(peer: PeerUser) -> HashSet<Gid> {
    let gid = Gid::from_raw(peer.gid);
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let name = user.and_then(|user| std::ffi::CString::new(user.name).ok());
    let groups = name.and_then(|name| getgrouplist(&name, gid).ok()).unwrap_or_default();
    groups.into_iter().chain([gid]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(users: &[&str], groups: &[&str]) -> OperatorsConfig {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        OperatorsConfig { users: owned(users), groups: owned(groups) }
    }

    #[test]
    fn root_the_own_user_and_listed_ones_are_operators() {
        let own = Uid::from_raw(4_000_000);
        let is = |uid, gid, operators: &OperatorsConfig| {
            is_operator(PeerUser { uid, gid }, own, operators)
        };
        let none = operators(&[], &[]);
        assert!(is(0, 9, &none) && is(4_000_000, 9, &none) && !is(4_000_001, 9, &none));
        assert!(is(4_000_001, 9, &operators(&["4000001"], &[])));
        assert!(is(4_000_001, 77, &operators(&[], &["77"])));
        assert!(!is(4_000_001, 77, &operators(&["77"], &["78", "no such group"])));
        assert!(!is(4_000_001, 77, &operators(&["root", "no such user"], &["root"])));
    }

    #[test]
    fn a_client_at_an_address_needs_an_identity() {
        assert!(Requester::of(None, None).is_none());
        let sender = Requester::of(None, Some(Identity::Token(2))).unwrap();
        assert_eq!(
            (check(&sender, &operators(&[], &[])), sender.to_string()),
            (Ok(()), "token 2".into())
        );
    }
}
