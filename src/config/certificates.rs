//! Reads the certificates of listeners, when the configuration is about to be used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tlsserver::{FileConcern, LoadedServer};
use yaml::{ConfigError, ConfigErrors, Source};

use super::{Config, ConfigFile, resources};

/// Reads the files of every `tls`. Certificates that are out of date are warnings.
///
/// # Errors
/// At each key whose file cannot be used.
pub(super) fn load(mut file: ConfigFile) -> Result<ConfigFile, ConfigErrors> {
    let positions: Vec<usize> = resources::positions(&file.config).collect();
    // An entry has a listener for each of its addresses; all get the same certificates.
    let mut of_entries: BTreeMap<usize, Option<Arc<LoadedServer>>> = BTreeMap::new();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    // The listeners of the list are the last ones.
    for (listener, entry) in file.listeners.iter_mut().rev().zip(positions.into_iter().rev()) {
        let Some(tls) = listener.endpoint.tls_mut() else { continue };
        let at = |concern: &FileConcern| at_key(&file.config, &file.source, entry, concern);
        let loaded = of_entries.entry(entry).or_insert_with(|| match tls.load() {
            Ok(server) => {
                warnings.extend(server.warnings(SystemTime::now()).iter().filter_map(at));
                Some(server)
            }
            Err(concern) => {
                errors.extend(at(&concern));
                None
            }
        });
        if let Some(server) = loaded {
            tls.keep(Arc::clone(server));
        }
    }
    // The first entry first.
    errors.reverse();
    ConfigErrors::check(errors)?;
    file.warnings.extend(warnings.into_iter().rev());
    Ok(file)
}

fn at_key(
    config: &Config,
    source: &Source,
    entry: usize,
    concern: &FileConcern,
) -> Option<ConfigError> {
    let section = config.listeners.as_ref()?.get().get(entry)?.tls.as_ref()?;
    let span = yaml::key_span(source, &["listeners", "tls"], entry, Some(concern.key));
    let message = format!("`listeners[{entry}].tls.{}`: {concern}", concern.key);
    Some(source.error_at(span.unwrap_or(section.span()), message))
}
