//! Addresses and files that only one part of the daemon can use.

use std::fmt;
use std::fs::Metadata;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::bounded::{LOOK_MAX, within};

/// An address or a file of this host that only one section of the configuration can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostResource {
    /// A TCP address to listen on.
    Tcp(SocketAddr),
    /// A UDP address to listen on.
    Udp(SocketAddr),
    /// A file or a Unix socket.
    Path(PathBuf),
}

impl HostResource {
    /// Whether two sections cannot have both.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(this), Self::Tcp(other)) | (Self::Udp(this), Self::Udp(other)) => {
                is_same_address(*this, *other)
            }
            (Self::Path(this), Self::Path(other)) => is_same_file(this, other),
            _ => false,
        }
    }
}

impl HostResource {
    /// Whether this is a file in a folder, or the folder itself.
    #[must_use]
    pub fn is_within(&self, folder: &Path) -> bool {
        let Self::Path(path) = self else { return false };
        let (path, folder) = (path.clone(), folder.to_owned());
        within(LOOK_MAX, move || resolved(&path).starts_with(resolved(&folder))).unwrap_or(false)
    }
}

/// A path without the links in its part that exists.
fn resolved(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let whole = existing.and_then(|(above, real)| match path.strip_prefix(above).ok()? {
        rest if rest.as_os_str().is_empty() => Some(real),
        rest => Some(real.join(rest)),
    });
    whole.unwrap_or_else(|| path.to_owned())
}

impl fmt::Display for HostResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(formatter),
            Self::Path(path) => path.display().fmt(formatter),
        }
    }
}

/// Whether only one of two sockets can be bound. Port 0 is another port for each socket.
fn is_same_address(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `[::]` includes IPv4; `0.0.0.0` does not include IPv6.
    let includes = |wide: std::net::IpAddr, ip: std::net::IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || ip.is_ipv4() || ip.is_unspecified())
    };
    one.port() == other.port()
        && one.port() != 0
        && (ip == other_ip || includes(ip, other_ip) || includes(other_ip, ip))
}

/// Whether two paths lead to one file. Several sections can write to a device.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let (one, other) = (one.to_owned(), other.to_owned());
    if one == other {
        return !is_device(&one);
    }
    within(LOOK_MAX, move || leads_to_same_file(&one, &other)).unwrap_or(false)
}

fn is_device(path: &Path) -> bool {
    let path = path.to_owned();
    let found = within(LOOK_MAX, move || path.metadata());
    matches!(found, Some(Ok(found)) if found.file_type().is_char_device())
}

fn leads_to_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        // The same for links to one file, symbolic or hard.
        (Ok(found), Ok(other)) => {
            let identity = |found: &Metadata| (found.dev(), found.ino());
            !found.file_type().is_char_device() && identity(&found) == identity(&other)
        }
        (Err(_), Err(_)) => real(one) == real(other),
        _ => false,
    }
}

/// The path of a missing file, without links in its folders.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    let file = folder.and_then(|folder| Some(folder.join(path.file_name()?)));
    file.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(one: &str, other: &str) -> bool {
        let tcp = |text: &str| HostResource::Tcp(text.parse().unwrap());
        let (one, other) = (tcp(one), tcp(other));
        assert_eq!(one.conflicts_with(&other), other.conflicts_with(&one));
        one.conflicts_with(&other)
    }

    #[test]
    fn two_sockets_cannot_have_one_port_of_one_address() {
        assert!(conflict("127.0.0.1:80", "127.0.0.1:80"));
        assert!(conflict("0.0.0.0:80", "127.0.0.1:80"));
        assert!(conflict("[::]:80", "127.0.0.1:80"));
        assert!(conflict("[::]:80", "[::1]:80"));
        assert!(conflict("[::]:80", "0.0.0.0:80"));
        assert!(!conflict("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!conflict("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!conflict("0.0.0.0:80", "[::1]:80"));
        assert!(!conflict("127.0.0.1:0", "127.0.0.1:0"));
        let address = "127.0.0.1:80".parse().unwrap();
        assert!(!HostResource::Udp(address).conflicts_with(&HostResource::Tcp(address)));
    }

    #[test]
    fn a_file_is_within_a_folder_by_any_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("state")).unwrap();
        std::os::unix::fs::symlink(at("state"), at("link")).unwrap();
        std::fs::write(at("state/a"), "").unwrap();
        std::os::unix::fs::symlink(at("state/a"), at("file")).unwrap();
        let is_within = |name: &str| HostResource::Path(at(name)).is_within(&at("state"));
        for name in ["state", "state/a", "state/b/c", "link", "link/a", "link/b/c", "file"] {
            assert!(is_within(name), "{name}");
        }
        for name in ["a", "state2", "state2/a", "x/state/a"] {
            assert!(!is_within(name), "{name}");
        }
    }

    #[test]
    fn two_paths_of_one_file_conflict_unless_it_is_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| HostResource::Path(folder.path().join(name));
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        assert!(file("a").conflicts_with(&file("./a")));
        assert!(file("a").conflicts_with(&file("link/a")));
        assert!(!file("a").conflicts_with(&file("b")));
        std::fs::write(folder.path().join("b"), "").unwrap();
        std::fs::hard_link(folder.path().join("b"), folder.path().join("hard")).unwrap();
        assert!(file("b").conflicts_with(&file("hard")));
        std::os::unix::fs::symlink("/dev/null", folder.path().join("null")).unwrap();
        let null = HostResource::Path("/dev/null".into());
        assert!(!null.conflicts_with(&null) && !null.conflicts_with(&file("null")));
        assert!(!file("null").conflicts_with(&file("null")));
    }
}
