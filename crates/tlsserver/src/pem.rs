//! Reads certificates and keys from PEM files.

use std::io;
use std::path::Path;

use basics::bounded_read::read_bounded;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longest PEM file.
const PEM_BYTES_MAX: usize = 4 << 20;

/// Reads all certificates of a file.
///
/// # Errors
/// When the file cannot be read, or has none. The words say what to do.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("the file contains no PEM certificate (`-----BEGIN \
                                              CERTIFICATE-----`); convert a DER file with `openssl x509`"
            .to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("not a PEM file: {error}")),
    }
}

/// Reads the private key of a file.
///
/// # Errors
/// When the file cannot be read, or has no key that is not encrypted. The words say what to do, and show nothing of
/// the content.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => {
            "the key is encrypted, and the daemon has no passphrase: decrypt it with `openssl pkey`"
                .to_owned()
        }
        pem::Error::NoItemsFound => {
            "the file contains no PEM private key (`-----BEGIN PRIVATE KEY-----`)".to_owned()
        }
        _ => "not a PEM file".to_owned(),
    })
}

/// Both formats of encrypted keys have this word in a line of their own.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    pem.split(|byte| *byte == b'\n').any(|line| marks.iter().any(|mark| line.starts_with(mark)))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, PEM_BYTES_MAX).map_err(|error| {
        let next_step = match error.kind() {
            io::ErrorKind::NotFound => "; create it or correct the path",
            io::ErrorKind::PermissionDenied => {
                "; let the daemon's user read it, for example with `chgrp tallyd` and `chmod 640`"
            }
            _ => "",
        };
        format!("cannot be read: {error}{next_step}")
    })
}
