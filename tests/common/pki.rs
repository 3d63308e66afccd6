//! Certificates for tests of TLS, and clients that use them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::PATIENCE;

/// A client's connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The text of an example, with the certificates that it names in `/etc/tallyd` in a temporary folder
/// instead.
#[must_use]
pub fn with_certificates(example: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Pki::new(folder.path(), "ca");
    authority.issue("server");
    fs::copy(authority.path("ca.pem"), authority.path("clients-ca.pem")).unwrap();
    fs::copy(authority.path("server.pem"), authority.path("server.crt")).unwrap();
    let place = folder.path().display();
    let text = example
        .replace("/etc/tallyd/tls/", &format!("{place}/"))
        .replace("/etc/tallyd/server.", &format!("{place}/server."));
    (folder, text)
}

/// An authority that issues certificates to files.
pub struct Pki {
    folder: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Creates an authority, whose certificate becomes `NAME.pem` in this folder.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        replace(&folder.join(format!("{name}.pem")), &issuer.pem());
        Self { folder: folder.to_owned(), name: name.to_owned(), issuer }
    }

    /// Issues a certificate for `localhost` and 127.0.0.1 with this subject: `NAME.pem` and `NAME.key`.
    pub fn issue(&self, name: &str) {
        self.issue_with(name, |_| {});
    }

    /// Issues a certificate that has expired.
    pub fn issue_expired(&self, name: &str) {
        self.issue_with(name, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        });
    }

    /// Issues a certificate for clients only, with the alternative name `client.example`.
    pub fn issue_to_client(&self, name: &str) {
        self.issue_with(name, |params| {
            let alternative = "client.example".try_into().unwrap();
            params.subject_alt_names = vec![rcgen::SanType::DnsName(alternative)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
    }

    /// Issues a certificate of about 40 KB.
    pub fn issue_long(&self, name: &str) {
        self.issue_with(name, |params| {
            let names = (0..1_000).map(|number| format!("host-{number}.a-long-name.example.net"));
            let names = names.map(|name| rcgen::SanType::DnsName(name.try_into().unwrap()));
            params.subject_alt_names.extend(names);
        });
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let (mut params, key) = (params(name), KeyPair::generate().unwrap());
        params.subject_alt_names = vec![
            rcgen::SanType::DnsName("localhost".try_into().unwrap()),
            rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        replace(&self.path(&format!("{name}.key")), &key.serialize_pem());
        replace(&self.path(&format!("{name}.pem")), &certificate.pem());
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The settings of a client that trusts this authority, with the certificate of this name.
    #[must_use]
    pub fn client(&self, identity: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let authority = self.path(&format!("{}.pem", self.name));
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some(name) = identity else { return builder.with_no_client_auth() };
        let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        builder.with_client_auth_cert(vec![chain], key).unwrap()
    }

    /// Connects to a server. The handshake begins with the first byte that is written or read.
    #[must_use]
    pub fn connect(&self, to: SocketAddr, identity: Option<&str>) -> TlsStream {
        let socket = TcpStream::connect(to).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(client_connection(self.client(identity)), socket)
    }
}

/// The client's side of a connection to `localhost`.
#[must_use]
pub fn client_connection(config: ClientConfig) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// Writes a file as programs that renew certificates do: no reader sees half of it.
fn replace(path: &Path, text: &str) {
    let new = path.with_added_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// Each certificate has its own subject: OpenSSL takes one with the name of its issuer for self-signed.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
