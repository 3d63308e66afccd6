//! Builds the page and the remote write of a Prometheus section.

use super::{PageListen, PrometheusConfig, PrometheusPage, RemoteWrite, ServedPage, StateSettings};
use crate::config::{Common, InvalidKey, SpoolOrder};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::host_resource::HostResource;
use crate::idle::{IdleKeys, IdleRules};
use basics::exposure::Exposure;
use model::MetricKind;

impl ForwarderSection for PrometheusConfig {
    const KIND: &'static str = "prometheus";

    #[cfg(test)]
    const EXAMPLE: &'static str =
        r#"{"listen": "none", "remote_write": {"url": "http://localhost:1/"}}"#;

    fn idle(&self) -> IdleKeys<'_> {
        let why = "the page and remote write keep every series at its total for `expire_after`";
        let rules = IdleRules { impossible: Some((&MetricKind::ALL, why)), ..IdleRules::default() };
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        PrometheusConfig::check(self)
    }

    fn connections(&self) -> Option<u32> {
        matches!(self.listen, PageListen::At(_)).then_some(self.max_connections)
    }

    fn exposure(&self) -> Option<Exposure> {
        let PageListen::At(addresses) = &self.listen else { return None };
        let access = self.load_access().ok()?;
        Exposure::of(addresses, access.is_restricted(), access.is_encrypted())
    }

    fn host_resources(&self) -> Option<(&'static str, Vec<HostResource>)> {
        let PageListen::At(addresses) = &self.listen else { return None };
        Some(("listen", addresses.all().iter().copied().map(HostResource::Tcp).collect()))
    }

    /// The page and remote write are two destinations with separate queues, so that a failure of
    /// one does not delay the other.
    fn build(mut self, context: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let naming = (context.naming)(self.naming);
        // Changed in the settings themselves, so that a reload that changes the server's share of
        // the file descriptors rebuilds the page.
        self.max_connections = self.max_connections.min(context.connections_max);
        let access = self.load_access().map_err(|error| error.to_string())?;
        let state = StateSettings::new(&self, context.expire_after);
        let settings = |section| ForwarderSettings::new((section, context.expire_after));
        // Taken out, so that a change of these settings alone does not rebuild the page and its
        // totals.
        let remote_write = self.remote_write.take();
        let mut destinations = Vec::new();
        if let PageListen::At(addresses) = &self.listen {
            let (name, addresses) = (common.name.clone(), addresses.clone());
            // A changed certificate is read by a page that a reload rebuilds.
            let settings = ForwarderSettings::new((settings(self.clone()), access.version()));
            let served = ServedPage { addresses, access };
            let page = PrometheusPage::new(&self, name, served, state.clone(), naming.clone())?;
            let page = page.probing(&self, context.poll_target, state.clone(), naming.clone());
            destinations.push(Destination::new(Self::KIND, common.clone(), settings, page));
        } else if remote_write.is_none() {
            return Err("without `listen` and `remote_write` there is nothing to do".into());
        }
        if let Some(remote_write) = remote_write {
            let mut common = Common { name: format!("{}.remote_write", common.name), ..common };
            // Totals must arrive in order: a server would take a smaller, older total for a
            // restart.
            common.delivery.spool.order = SpoolOrder::Oldest;
            let (name, delivery) = (&common.name, &common.delivery);
            let forwarder = RemoteWrite::new(&remote_write, name, delivery, state, naming)?;
            // Put back, so that a change of these settings rebuilds remote write.
            self.remote_write = Some(remote_write);
            destinations.push(Destination::new(Self::KIND, common, settings(self), forwarder));
        }
        Ok(destinations)
    }
}
