//! The `Authorization` header of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};

/// The credentials that a request carries.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Credentials {
    /// A user with a password.
    Basic { user: String, password: Vec<u8> },
    /// A token.
    Bearer(String),
}

/// Why a request carries none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCredentials {
    /// It has no such header.
    Missing,
    /// The header is of an unknown scheme or unreadable, or there are several.
    Malformed,
}

/// Reads the credentials of a request.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials, NoCredentials> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(NoCredentials::Missing)?;
    // A proxy and this server could otherwise choose different ones.
    if values.next().is_some() {
        return Err(NoCredentials::Malformed);
    }
    parse(value.as_bytes()).ok_or(NoCredentials::Malformed)
}

fn parse(value: &[u8]) -> Option<Credentials> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        let user = String::from_utf8(pair[..colon].to_vec()).ok()?;
        return Some(Credentials::Basic { user, password: pair[colon + 1..].to_vec() });
    }
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty();
    is_bearer.then(|| Credentials::Bearer(rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Credentials, NoCredentials> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        credentials(&headers)
    }

    #[test]
    fn a_single_header_of_a_known_scheme_carries_credentials() {
        let basic = |user: &str, password: &str| {
            Ok(Credentials::Basic { user: user.to_owned(), password: password.into() })
        };
        assert_eq!(of(&["Basic YWxpY2U6czpzZXQ="]), basic("alice", "s:set"));
        assert_eq!(of(&["bAsIc   Og=="]), basic("", ""));
        assert_eq!(of(&["Bearer abc"]), Ok(Credentials::Bearer("abc".to_owned())));
        assert_eq!(of(&["bearer abc "]), Ok(Credentials::Bearer("abc".to_owned())));
    }

    #[test]
    fn any_other_header_carries_none() {
        assert_eq!(of(&[]), Err(NoCredentials::Missing));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Basic YWxpY2U=",
            "Basic YWxpY2U6czpzZXQ",
            "Basic ###",
            "Basic /w==",
            "Bearer",
            "Bearer ",
            "Digest username=\"alice\"",
            "Negotiate YII=",
        ] {
            assert_eq!(of(&[wrong]), Err(NoCredentials::Malformed), "{wrong}");
        }
        let twice = ["Basic YWxpY2U6czpzZXQ=", "Basic YWxpY2U6czpzZXQ="];
        assert_eq!(of(&twice), Err(NoCredentials::Malformed));
    }
}
