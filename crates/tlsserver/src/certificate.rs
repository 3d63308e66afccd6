//! Names and validity of a certificate, for the log and the status.

use std::time::{Duration, SystemTime};

use basics::escape::escaped;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Maximum number of characters of the names.
const NAMES_CHARS_MAX: usize = 200;

/// The facts about a certificate that operators need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject and the alternative names, escaped and bounded: `CN=web-1, DNS:web-1.example.net`.
    pub names: String,
    /// Start of the validity.
    pub not_before: SystemTime,
    /// End of the validity.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Parses a certificate. `None` if it is malformed.
    #[must_use]
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let validity = certificate.tbs_certificate().validity();
        let at = |since_epoch: Duration| SystemTime::UNIX_EPOCH + since_epoch;
        Some(Self {
            names: names(&certificate),
            not_before: at(validity.not_before.to_unix_duration()),
            not_after: at(validity.not_after.to_unix_duration()),
        })
    }

    /// Why the certificate is not valid at this time; `None` if it is.
    #[must_use]
    pub fn invalid_at(&self, now: SystemTime) -> Option<&'static str> {
        if now > self.not_after {
            Some("has expired")
        } else if now < self.not_before {
            Some("is not valid yet")
        } else {
            None
        }
    }
}

/// The names of a certificate that a client sent; `unreadable` if it is malformed.
pub(crate) fn names_of(der: &CertificateDer<'_>) -> String {
    CertificateFacts::of(der).map_or_else(|| "unreadable".to_owned(), |facts| facts.names)
}

fn names(certificate: &Certificate) -> String {
    let fields = certificate.tbs_certificate();
    let subject = Some(fields.subject().to_string()).filter(|subject| !subject.is_empty());
    let alternative = fields.get_extension::<SubjectAltName>().ok().flatten();
    let alternative = alternative.into_iter().flat_map(|(_, names)| names.0);
    let all: Vec<_> =
        subject.into_iter().chain(alternative.filter_map(|one| shown(&one))).collect();
    let all = if all.is_empty() { "no name".to_owned() } else { all.join(", ") };
    // A client may send a certificate with any names.
    let safe = escaped(all.as_bytes());
    match safe.char_indices().nth(NAMES_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &safe[..end]),
        None => safe,
    }
}

/// A name of a kind that identifies a host, a user or a service.
fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{name}")),
        GeneralName::Rfc822Name(name) => Some(format!("email:{name}")),
        GeneralName::UniformResourceIdentifier(name) => Some(format!("URI:{name}")),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from));
            address.ok().map(|address| format!("IP:{address}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn facts(change: impl FnOnce(&mut CertificateParams)) -> CertificateFacts {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        CertificateFacts::of(certificate.der()).unwrap()
    }

    #[test]
    fn a_certificate_is_named_by_its_subject_and_alternative_names() {
        let all = facts(|params| {
            params.distinguished_name.push(DnType::CommonName, "web-1");
            params.subject_alt_names = vec![
                SanType::DnsName("web-1.example.net".try_into().unwrap()),
                SanType::IpAddress("192.0.2.7".parse().unwrap()),
                SanType::IpAddress("2001:db8::7".parse().unwrap()),
                SanType::URI("spiffe://example.net/web".try_into().unwrap()),
            ];
        });
        assert_eq!(
            all.names,
            "CN=web-1, DNS:web-1.example.net, IP:192.0.2.7, IP:2001:db8::7, \
             URI:spiffe://example.net/web"
        );
        assert_eq!(facts(|_| {}).names, "no name");
    }

    #[test]
    fn names_are_bounded_and_cannot_control_a_terminal() {
        let long = facts(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, format!("a\u{1b}[2J{}", "é".repeat(300)));
        });
        assert!(!long.names.contains('\u{1b}'), "{}", long.names);
        assert_eq!(long.names.chars().count(), NAMES_CHARS_MAX + 1);
        assert!(long.names.starts_with("CN=a") && long.names.ends_with('…'), "{}", long.names);
    }

    #[test]
    fn a_certificate_is_invalid_before_and_after_its_time() {
        let some = facts(|params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(some.invalid_at(at(1_577_836_799)), Some("is not valid yet"));
        assert_eq!(some.invalid_at(at(1_577_836_800)), None);
        assert_eq!(some.invalid_at(at(1_609_459_200)), None);
        assert_eq!(some.invalid_at(at(1_609_459_201)), Some("has expired"));
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_facts() {
        assert_eq!(CertificateFacts::of(&CertificateDer::from(vec![0x30, 0x82])), None);
        assert_eq!(names_of(&CertificateDer::from(Vec::new())), "unreadable");
    }
}
