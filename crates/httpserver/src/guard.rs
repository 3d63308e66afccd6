//! Which requests of browsers are answered.

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};

use crate::hosts::AllowedHosts;

/// In this header a browser says where a request comes from.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may request a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathAccess {
    /// Everyone, even without the credentials that all other paths need: probes of orchestrators have
    /// none, and the reply contains nothing but whether the daemon works.
    Health,
    /// Everyone: the reply contains no data of clients.
    Open,
    /// Everyone who uses a name of this host.
    ByName,
    /// The same, but not from a page of another site: answering costs something.
    OwnSite,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It names no single host.
    SeveralHosts,
    /// It names a host that is not this one.
    ForeignHost,
    /// A page of another site made a browser send it.
    OtherSite,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::SeveralHosts => StatusCode::BAD_REQUEST,
            Self::ForeignHost | Self::OtherSite => StatusCode::FORBIDDEN,
        }
    }

    /// The reason. `hosts_key` is the key with the names that are allowed.
    pub(crate) fn words(self, hosts_key: &str) -> String {
        match self {
            Self::SeveralHosts => "more than one Host header".to_owned(),
            Self::ForeignHost => {
                format!("not by this name: use an address, or add the name to `{hosts_key}`")
            }
            Self::OtherSite => "not for other sites".to_owned(),
        }
    }
}

/// Checks the names in a request.
pub(crate) fn check<B>(
    request: &Request<B>,
    access: PathAccess,
    hosts: &AllowedHosts,
) -> Result<(), Refusal> {
    let headers = request.headers();
    let mut named = headers.get_all(HOST).iter();
    let host = named.next();
    if named.next().is_some() {
        return Err(Refusal::SeveralHosts);
    }
    if matches!(access, PathAccess::Health | PathAccess::Open) {
        return Ok(());
    }
    // The name in an absolute URL has precedence over the header. A request with neither comes from
    // no browser.
    let authority = request.uri().authority().map(Authority::as_str);
    let names = [host.map(text), authority];
    if names.into_iter().flatten().any(|name| !hosts.has(name)) {
        return Err(Refusal::ForeignHost);
    }
    if access == PathAccess::OwnSite && is_of_other_site(headers, host.map(text)) {
        return Err(Refusal::OtherSite);
    }
    Ok(())
}

/// The text of a header; an empty text, which no host name matches, if it is not ASCII.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

fn is_of_other_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    let is_own_site = |site: &HeaderValue| site == "same-origin" || site == "none";
    let is_own_origin = |origin: &HeaderValue| {
        let name = text(origin).split_once("://").map(|(_, name)| name);
        name.is_some() && name == host
    };
    headers.get_all(SITE).iter().any(|site| !is_own_site(site))
        || headers.get_all(ORIGIN).iter().any(|origin| !is_own_origin(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(url: &str, headers: &[(&str, &str)], access: PathAccess) -> Result<(), Refusal> {
        let mut request = Request::builder().uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), access, &AllowedHosts::new(&[]))
    }

    #[test]
    fn a_foreign_host_is_refused_wherever_it_is_named() {
        let foreign = Err(Refusal::ForeignHost);
        let by_name = PathAccess::ByName;
        assert_eq!(outcome("/", &[], by_name), Ok(()));
        assert_eq!(outcome("/", &[("host", "127.0.0.1:1")], by_name), Ok(()));
        assert_eq!(outcome("/", &[("host", "evil.example")], by_name), foreign);
        assert_eq!(outcome("/", &[("host", "evil.example")], PathAccess::OwnSite), foreign);
        assert_eq!(outcome("/", &[("host", "evil.example")], PathAccess::Open), Ok(()));
        let absolute = outcome("http://evil.example/", &[("host", "127.0.0.1")], by_name);
        assert_eq!(absolute, foreign);
    }

    #[test]
    fn several_hosts_are_refused_everywhere() {
        let hosts = [("host", "127.0.0.1"), ("host", "127.0.0.1")];
        use PathAccess::{ByName, Health, Open, OwnSite};
        for access in [Health, Open, ByName, OwnSite] {
            assert_eq!(outcome("/", &hosts, access), Err(Refusal::SeveralHosts));
        }
    }

    #[test]
    fn a_costly_path_is_not_for_pages_of_other_sites() {
        let outcome_of = |name: &str, value: &str, access| {
            outcome("/", &[("host", "127.0.0.1:9495"), (name, value)], access)
        };
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "http://127.0.0.1:3000"),
            ("origin", "null"),
        ] {
            let refused = outcome_of(name, value, PathAccess::OwnSite);
            assert_eq!(refused, Err(Refusal::OtherSite), "{value}");
            assert_eq!(outcome_of(name, value, PathAccess::ByName), Ok(()), "{value}");
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", "http://127.0.0.1:9495"),
        ] {
            assert_eq!(outcome_of(name, value, PathAccess::OwnSite), Ok(()), "{value}");
        }
    }
}
