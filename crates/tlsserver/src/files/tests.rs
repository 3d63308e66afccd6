use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConnection};

use super::*;
use crate::HandshakeFailure;
use crate::failure::explain;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key as PEM.
fn issue(
    authority: &Authority,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    [params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem()]
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

struct Folder {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Folder {
    /// Has `ca.pem`, and `cert.pem` and `key.pem` for `localhost`.
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap(), authority: authority("test CA") };
        made.write("ca.pem", &made.authority.pem());
        let [cert, key] = issue(&made.authority, "localhost", |_| {});
        made.write("cert.pem", &cert);
        made.write("key.pem", &key);
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn files(&self, ca: Option<&str>) -> ServerFiles {
        ServerFiles {
            cert_file: self.path("cert.pem"),
            key_file: self.path("key.pem"),
            client_ca_file: ca.map(|name| self.path(name)),
        }
    }

    fn load(&self, ca: Option<&str>) -> Result<LoadedServer, String> {
        self.files(ca).load(|_| {}).map_err(|concern| {
            let path = concern.path.file_name().unwrap().to_string_lossy().into_owned();
            format!("{}, {path}: {}", concern.key, concern.words)
        })
    }
}

/// Shakes hands in memory; returns the server's error, or the number of bytes that it got.
fn shake_hands(server: &LoadedServer, client: ClientConfig) -> Result<usize, Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server.config())).unwrap();
    client.writer().write_all(b"data").unwrap();
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        if wire.is_empty() {
            return Ok(server.reader().read(&mut [0; 8]).unwrap());
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        if !wire.is_empty() {
            client.read_tls(&mut &wire[..]).unwrap();
            // The error of a client becomes an alert that the server gets.
            let _processed = client.process_new_packets();
        }
    }
}

/// The settings of a client that trusts `authority` and has this certificate and key.
fn client(authority: &Authority, identity: Option<[String; 2]>) -> ClientConfig {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some([cert, key]) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

#[test]
fn a_client_is_accepted_if_an_authority_of_the_file_issued_its_certificate() {
    let folder = Folder::new();
    let server = folder.load(Some("ca.pem")).unwrap();
    let good = issue(&folder.authority, "web-1", |_| {});
    assert_eq!(shake_hands(&server, client(&folder.authority, Some(good))), Ok(4));
    let open = folder.load(None).unwrap();
    assert_eq!(shake_hands(&open, client(&folder.authority, None)), Ok(4));
}

#[test]
fn a_refused_handshake_has_a_reason_and_an_explanation_with_the_names_of_the_certificate() {
    let folder = Folder::new();
    let server = folder.load(Some("ca.pem")).unwrap();
    let of_server = |purpose: &mut CertificateParams| {
        purpose.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let stranger = authority("stranger");
    for (identity, reason, words) in [
        (None, HandshakeFailure::NoCertificate, "the client sent no certificate"),
        (
            Some(issue(&stranger, "web-1", |_| {})),
            HandshakeFailure::BadCertificate,
            "certificate of the client (CN=web-1, DNS:web-1) refused: no certificate in \
             `client_ca_file` issued it",
        ),
        (
            Some(issue(&folder.authority, "web-2", expired)),
            HandshakeFailure::BadCertificate,
            "certificate of the client (CN=web-2, DNS:web-2) refused: it has expired",
        ),
        (
            Some(issue(&folder.authority, "web-3", of_server)),
            HandshakeFailure::BadCertificate,
            "certificate of the client (CN=web-3, DNS:web-3) refused: its extended key usage does \
             not include clientAuth",
        ),
    ] {
        let error = shake_hands(&server, client(&folder.authority, identity)).unwrap_err();
        assert_eq!(HandshakeFailure::of(&error), reason, "{error}");
        let explained = explain(&error);
        assert!(explained.starts_with(words), "{explained}");
    }
    let distrusting = client(&stranger, None);
    let error = shake_hands(&server, distrusting).unwrap_err();
    assert_eq!(HandshakeFailure::of(&error), HandshakeFailure::Rejected, "{error}");
    assert!(explain(&error).contains("does not accept the certificate"), "{}", explain(&error));
}

#[test]
fn an_unusable_file_is_named_together_with_the_next_step() {
    let folder = Folder::new();
    let [cert, key] = issue(&folder.authority, "localhost", |_| {});
    let [other, _] = issue(&folder.authority, "localhost", |_| {});
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let malformed = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for (name, text, expected) in [
        ("cert.pem", "", "cert_file, cert.pem: the file contains no PEM certificate"),
        ("cert.pem", &key, "cert_file, cert.pem: the file contains no PEM certificate"),
        ("cert.pem", malformed, "cert_file, cert.pem: the first certificate is malformed"),
        ("cert.pem", "-----BEGIN CERTIFICATE-----\nMII", "cert_file, cert.pem: not a PEM file: "),
        ("cert.pem", &other, "key_file, key.pem: not the key of the first certificate in "),
        ("key.pem", &cert, "key_file, key.pem: the file contains no PEM private key"),
        ("key.pem", encrypted, "key_file, key.pem: the key is encrypted"),
        ("ca.pem", &key, "client_ca_file, ca.pem: the file contains no PEM certificate"),
        ("ca.pem", malformed, "client_ca_file, ca.pem: "),
    ] {
        folder.write("cert.pem", &cert);
        folder.write("key.pem", &key);
        folder.write("ca.pem", &folder.authority.pem());
        assert!(folder.load(Some("ca.pem")).is_ok());
        folder.write(name, text);
        let error = folder.load(Some("ca.pem")).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_with_its_reason() {
    let folder = Folder::new();
    for (key, name) in
        [("cert_file", "cert.pem"), ("key_file", "key.pem"), ("client_ca_file", "ca.pem")]
    {
        let (path, kept) = (folder.path(name), folder.path("kept"));
        fs::rename(&path, &kept).unwrap();
        let error = folder.load(Some("ca.pem")).unwrap_err();
        let missing = format!(
            "{key}, {name}: cannot be read: No such file or directory (os error 2); \
                               create it or correct the path"
        );
        assert_eq!(error, missing);
        symlink("/dev/zero", &path).unwrap();
        let error = folder.load(Some("ca.pem")).unwrap_err();
        assert!(error.ends_with("larger than 4 MiB"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::rename(kept, path).unwrap();
    }
}

#[test]
fn certificates_out_of_their_time_are_warnings() {
    let folder = Folder::new();
    assert_eq!(folder.load(Some("ca.pem")).unwrap().warnings(SystemTime::now()), []);
    let [cert, key] = issue(&folder.authority, "localhost", expired);
    folder.write("cert.pem", &cert);
    folder.write("key.pem", &key);
    let loaded = folder.load(Some("ca.pem")).unwrap();
    let in_1975 = SystemTime::UNIX_EPOCH + Duration::from_secs(5 * 365 * 86_400);
    let words = |now| {
        let warnings = loaded.warnings(now);
        warnings.iter().map(|one| format!("{}: {}", one.key, one.words)).collect::<Vec<_>>()
    };
    let own = ["cert_file: the certificate has expired, and clients refuse it: renew it"];
    assert_eq!(words(SystemTime::now()), own);
    // The authority of rcgen's defaults is valid from 1975 on.
    assert_eq!(
        words(in_1975 - Duration::from_secs(365 * 86_400)),
        [
            "cert_file: the certificate is not valid yet, and clients refuse it: renew it",
            "client_ca_file: the certificate `CN=test CA` is not valid yet: replace it",
        ]
    );
}

#[test]
fn two_loads_are_equal_until_a_certificate_changes() {
    let folder = Folder::new();
    let first = folder.load(Some("ca.pem")).unwrap();
    assert!(first == folder.load(Some("ca.pem")).unwrap());
    assert!(first != folder.load(None).unwrap());
    let [cert, key] = issue(&folder.authority, "localhost", |_| {});
    folder.write("cert.pem", &cert);
    folder.write("key.pem", &key);
    let renewed = folder.load(Some("ca.pem")).unwrap();
    assert!(first != renewed);
    folder.write("ca.pem", &authority("other").pem());
    assert!(renewed != folder.load(Some("ca.pem")).unwrap());
}
