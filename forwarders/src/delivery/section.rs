//! The interface between the registry and the configuration section of one kind of destination.

use std::time::Duration;

use crate::config::InvalidKey;
use crate::delivery::destination::Destination;
use crate::host_resource::HostResource;
use crate::idle::IdleKeys;
use crate::naming::NamingProvider;
use crate::target_poll::TargetPoller;
use basics::exposure::Exposure;

/// The daemon's settings that building a destination depends on.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Maximum number of connections of a destination that serves HTTP: its share of the file
    /// descriptors.
    pub connections_max: u32,
    /// Whether points are logged instead of sent.
    pub debug_mode: bool,
    /// Identifies this run of the daemon to consumers that remove duplicates.
    pub instance: String,
    /// Time after which the daemon expires an idle series.
    pub expire_after: Duration,
    /// Attributes of this host in OpenTelemetry: the agent's tags and `host.name`.
    pub resource: Vec<(String, String)>,
    /// Provides the names for `forwarders.prometheus.naming`.
    pub naming: NamingProvider,
    /// Polls a target for `forwarders.prometheus.probe`.
    pub poll_target: TargetPoller,
}

/// A section of `forwarders` in the configuration file, which declares destinations of one kind.
///
/// A new kind of destination implements this trait for its configuration and adds one line to the
/// registry.
pub(crate) trait ForwarderSection: Sized {
    /// The section's key in `forwarders`.
    const KIND: &'static str;

    /// The smallest valid section, as JSON.
    #[cfg(test)]
    const EXAMPLE: &'static str;

    /// File descriptors that a destination of this kind may need: sockets, files, its spool.
    const DESCRIPTORS: u64 = 8;

    /// The configured number of connections, for a destination that clients connect to.
    fn connections(&self) -> Option<u32> {
        None
    }

    /// The resources of this host that no other section may use, addresses or a file, with the key
    /// that names them.
    fn host_resources(&self) -> Option<(&'static str, Vec<HostResource>)> {
        None
    }

    /// The risk that other hosts read the page of a destination, at its key `listen`.
    fn exposure(&self) -> Option<Exposure> {
        None
    }

    /// The path of a key below the section that lists percentages, and the listed ones.
    fn percentages(&self) -> Option<(&'static [&'static str], Vec<f64>)> {
        None
    }

    /// The keys `idle` and `idle_for`, which the registry checks and applies.
    fn idle(&self) -> IdleKeys<'_>;

    /// Checks that the keys of the section do not conflict, before anything is built.
    ///
    /// # Errors
    /// At the first key that conflicts with another one or is missing.
    fn check(&self) -> Result<(), InvalidKey> {
        Ok(())
    }

    /// Checks the files of the section as they are on this host. The daemon starts despite an error:
    /// this destination delivers nothing until the file is replaced, and the others deliver.
    ///
    /// # Errors
    /// At the first key that names a file to which the destination does not write.
    fn check_files(&self) -> Result<(), InvalidKey> {
        Ok(())
    }

    /// Replaces secrets that the forwarder writes into its payloads with `***`, so that payloads
    /// can be shown. Returns whether there were any.
    ///
    /// Credentials that are sent outside the payload, such as in a header, stay.
    fn mask_payload_secrets(&mut self) -> bool {
        false
    }

    /// Builds the section's destinations without connecting to anything.
    ///
    /// # Errors
    /// When the settings are invalid: the reason, with the key to change.
    fn build(self, context: &BuildContext) -> Result<Vec<Destination>, String>;
}
