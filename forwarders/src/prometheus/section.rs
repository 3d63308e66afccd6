//! Builds the page and the remote write of a Prometheus section.

use super::{PageListen, PipelineLimits, PrometheusConfig, PrometheusPage, RemoteWrite};
use crate::config::{Common, InvalidKey, SpoolOrder};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;

impl ForwarderSection for PrometheusConfig {
    const KIND: &'static str = "prometheus";

    #[cfg(test)]
    const EXAMPLE: &'static str =
        r#"{"listen": "none", "remote_write": {"url": "http://localhost:1/"}}"#;

    fn check(&self) -> Result<(), InvalidKey> {
        PrometheusConfig::check(self)
    }

    /// The page and remote write are two destinations with a queue each: one that fails does not
    /// hold up the other.
    fn build(mut self, context: &BuildContext) -> Result<Vec<Destination>, String> {
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let naming = (context.naming)(self.naming);
        let limits = PipelineLimits::new(&self, context.expire_after);
        let settings = |section| ForwarderSettings::new((section, context.expire_after));
        // The page is not built anew when only the settings of remote write change.
        let remote_write = self.remote_write.take();
        let mut destinations = Vec::new();
        if let PageListen::Address(address) = self.listen {
            let page =
                PrometheusPage::new(&self, common.name.clone(), address, limits, naming.clone())?;
            let settings = settings(self.clone());
            destinations.push(Destination::new(Self::KIND, common.clone(), settings, page));
        } else if remote_write.is_none() {
            return Err("without `listen` and `remote_write` there is nothing to do".into());
        }
        if let Some(remote_write) = remote_write {
            let mut common = Common { name: format!("{}.remote_write", common.name), ..common };
            // A running total must not be sent before an earlier one.
            common.delivery.spool.order = SpoolOrder::Oldest;
            let timeout = common.delivery.timeout.get();
            let forwarder = RemoteWrite::new(&remote_write, &common.name, timeout, limits, naming)?;
            self.remote_write = Some(remote_write);
            destinations.push(Destination::new(Self::KIND, common, settings(self), forwarder));
        }
        Ok(destinations)
    }
}
