//! The facts about a server for a client on the same host: whether the server speaks TLS, and its
//! certificate. The private key is not read, because such a client may lack the permission.

use rustls::pki_types::CertificateDer;
use tlsserver::pem;

use super::config::AccessConfig;
use super::web_config::WebConfig;

impl AccessConfig {
    /// Whether the server speaks TLS; `false` if the `web_config_file` cannot be read.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_enabled()
            || self.web_config().is_some_and(|web| web.tls_server_config.is_enabled())
    }

    /// The certificate of the server; `None` without TLS.
    ///
    /// # Errors
    /// Why the certificate cannot be read.
    pub fn own_certificate(&self) -> Result<Option<CertificateDer<'static>>, String> {
        let chain = match (self.tls.is_enabled(), self.web_config()) {
            (true, _) => pem::certificates(&self.tls.cert_file)?,
            (false, Some(web)) if web.tls_server_config.is_enabled() => {
                web.tls_server_config.chain().map_err(|problem| problem.reason)?
            }
            _ => return Ok(None),
        };
        Ok(chain.into_iter().next())
    }

    fn web_config(&self) -> Option<WebConfig> {
        let path = self.web_config_file()?;
        WebConfig::read(&WebConfig::source(path).ok()?, path).ok()
    }
}
