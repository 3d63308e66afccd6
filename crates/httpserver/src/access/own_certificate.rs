//! The facts about a server for a client on the same host: whether the server speaks TLS, and its
//! certificate. The private key is not read, because such a client may lack the permission.

use rustls::pki_types::CertificateDer;
use tlsserver::pem;

use super::config::AccessConfig;
use super::web_config::WebConfig;

impl AccessConfig {
    /// Whether the server speaks TLS.
    ///
    /// # Errors
    /// Why the `web_config_file`, which decides it, cannot be read.
    pub fn is_encrypted(&self) -> Result<bool, String> {
        if self.tls.is_enabled() {
            return Ok(true);
        }
        Ok(self.web_config()?.is_some_and(|web| web.tls_server_config.is_enabled()))
    }

    /// The certificate of the server; `None` without TLS.
    ///
    /// # Errors
    /// Why the certificate cannot be read.
    pub fn own_certificate(&self) -> Result<Option<CertificateDer<'static>>, String> {
        let chain = if self.tls.is_enabled() {
            pem::certificates(&self.tls.cert_file)?
        } else {
            match self.web_config()? {
                Some(web) if web.tls_server_config.is_enabled() => {
                    web.tls_server_config.chain().map_err(|problem| problem.reason)?
                }
                _ => return Ok(None),
            }
        };
        Ok(chain.into_iter().next())
    }

    fn web_config(&self) -> Result<Option<WebConfig>, String> {
        let Some(path) = self.web_config_file() else { return Ok(None) };
        let source = WebConfig::source(path);
        let source =
            source.map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        WebConfig::read(&source, path).map(Some).map_err(|errors| errors.to_string())
    }
}
