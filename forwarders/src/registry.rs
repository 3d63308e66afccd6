//! The one place that lists the destinations.

use serde::Deserialize;
use thiserror::Error;

use crate::config::{Common, OneOrMany};
use crate::debug::DebugForwarder;
use crate::driver::Destination;
use crate::forwarder::Forwarder;

/// `forwarders`: a section for each kind of destination, each a mapping or a list of mappings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardersConfig {
    /// Standard output.
    #[cfg(feature = "console")]
    pub console: OneOrMany<crate::console::ConsoleConfig>,
    /// A local file.
    #[cfg(feature = "file")]
    pub file: OneOrMany<crate::file::FileConfig>,
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    pub kafka: OneOrMany<crate::kafka::KafkaConfig>,
}

/// What the destinations have to know of the daemon.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Log instead of send.
    pub debug_mode: bool,
    /// Identifies this run of the daemon to consumers that look for repeats.
    pub instance: String,
}

/// Why the destinations cannot be built.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Ledger and log could not tell them apart.
    #[error("two destinations are called `{0}`: give each a `name` of its own")]
    DuplicateName(String),
    /// A destination refuses its settings.
    #[error("{name}: {reason}")]
    Settings {
        /// The destination's name.
        name: String,
        /// What is wrong, and what to change.
        reason: String,
    },
}

impl ForwardersConfig {
    /// Builds every declared destination; with none declared, the console.
    ///
    /// Nothing is connected yet: a destination that is away does not keep the daemon from starting.
    ///
    /// # Errors
    /// When two destinations share a name or one refuses its settings.
    pub fn build(self, context: &BuildContext) -> Result<Vec<Destination>, BuildError> {
        // Without `..`: a section that is declared but not built does not compile.
        let Self {
            #[cfg(feature = "console")]
            console,
            #[cfg(feature = "file")]
            file,
            #[cfg(feature = "kafka")]
            kafka,
        } = self;
        let mut built = Built { context, destinations: Vec::new() };

        #[cfg(feature = "console")]
        for config in console.0 {
            let common = common("console", config.name, config.select, config.delivery);
            built.add_local("console", common, crate::console::Console::new(config.format));
        }
        #[cfg(feature = "file")]
        for config in file.0 {
            let common = common("file", config.name, config.select, config.delivery);
            let forwarder = crate::file::FileForwarder::new(config.path, config.format);
            built.add_local("file", common, forwarder);
        }
        #[cfg(feature = "kafka")]
        for config in kafka.0 {
            let common = common(
                "kafka",
                config.name.clone(),
                config.select.clone(),
                config.delivery.clone(),
            );
            let forwarder =
                crate::kafka::Kafka::new(config, &context.instance).map_err(|error| {
                    BuildError::Settings { name: common.name.clone(), reason: error.to_string() }
                })?;
            built.add("kafka", common, forwarder);
        }

        #[cfg(feature = "console")]
        if built.destinations.is_empty() {
            let config = crate::console::ConsoleConfig::default();
            let common = common("console", config.name, config.select, config.delivery);
            built.add_local("console", common, crate::console::Console::new(config.format));
        }
        built.finish()
    }
}

struct Built<'a> {
    context: &'a BuildContext,
    destinations: Vec<Destination>,
}

impl Built<'_> {
    /// A destination on the network: an attempt may be given up and made again.
    fn add(&mut self, kind: &'static str, common: Common, forwarder: impl Forwarder + 'static) {
        let attempt_max = Some(common.delivery.timeout.get());
        self.destinations.push(Destination {
            kind,
            forwarder: self.or_log(&common, forwarder),
            common,
            attempt_max,
        });
    }

    /// A destination on this host: what was given up half-way would be written twice.
    fn add_local(
        &mut self,
        kind: &'static str,
        common: Common,
        forwarder: impl Forwarder + 'static,
    ) {
        let forwarder = self.or_log(&common, forwarder);
        self.destinations.push(Destination { kind, common, forwarder, attempt_max: None });
    }

    fn or_log(&self, common: &Common, forwarder: impl Forwarder + 'static) -> Box<dyn Forwarder> {
        if self.context.debug_mode {
            Box::new(DebugForwarder::new(common.name.clone()))
        } else {
            Box::new(forwarder)
        }
    }

    fn finish(self) -> Result<Vec<Destination>, BuildError> {
        let mut names: Vec<&str> =
            self.destinations.iter().map(|built| built.common.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(BuildError::DuplicateName(pair[0].to_owned())),
            None => Ok(self.destinations),
        }
    }
}

fn common(
    kind: &str,
    name: Option<String>,
    select: crate::select::SelectConfig,
    delivery: crate::config::DeliveryConfig,
) -> Common {
    Common { name: name.unwrap_or_else(|| kind.to_owned()), select, delivery }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> BuildContext {
        BuildContext { debug_mode: false, instance: "test".into() }
    }

    #[test]
    fn nothing_declared_means_the_console() {
        let built = ForwardersConfig::default().build(&context()).unwrap();
        let kinds: Vec<_> = built.iter().map(|destination| destination.kind).collect();
        assert_eq!(kinds, ["console"]);
    }

    #[test]
    fn two_destinations_of_one_name_are_refused() {
        let config: ForwardersConfig =
            serde_json::from_str(r#"{"file": [{"path": "/a"}, {"path": "/b"}]}"#).unwrap();
        let error = config.build(&context()).err().unwrap().to_string();
        assert_eq!(error, "two destinations are called `file`: give each a `name` of its own");
    }
}
