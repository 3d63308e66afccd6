//! Certificates as files.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Writes all certificates and keys.
pub(crate) fn fill(folder: &Path) {
    let (authority, stranger) = (issuer("authority"), issuer("stranger"));
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    issue(folder, "server", &authority, |params| {
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
    });
    issue(folder, "client", &authority, |params| {
        params.subject_alt_names.push(SanType::DnsName("client.example".try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    issue(folder, "expired", &authority, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    issue(folder, "stranger", &stranger, |_| ());
}

/// Replaces the certificate of the server by one of another authority, which replaces `ca.crt`.
pub(crate) fn renew(folder: &Path) {
    let authority = issuer("new authority");
    issue(folder, "server", &authority, |params| {
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
    });
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
}

fn issuer(name: &str) -> Issuer {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Each certificate has its own subject: OpenSSL takes one with the name of its issuer for self-signed.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn issue(folder: &Path, name: &str, issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = named(name);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    // Renamed, as programs that renew certificates do: so no reader sees half of a file.
    for (ending, text) in [("key", key.serialize_pem()), ("crt", certificate.pem())] {
        let new = folder.join(format!("{name}.{ending}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, folder.join(format!("{name}.{ending}"))).unwrap();
    }
}
