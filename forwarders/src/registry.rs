//! The list of destinations: the only place outside a destination's folder that names it.

use std::collections::HashSet;

use serde::Deserialize;
use thiserror::Error;

use crate::config::{Common, InvalidKey, OneOrMany};
use crate::debug::DebugForwarder;
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::host_resource::HostResource;
use basics::exposure::Exposure;
use model::IdleLimits;

/// Declares [`ForwardersConfig`] and the functions that call each of its sections. Each line has
/// the feature that the section needs, its key and its type.
macro_rules! sections {
    ($($(#[doc = $doc:literal])+ $feature:tt $key:ident: $section:ty,)+) => {
        /// `forwarders`: a section for each kind of destination, either a mapping or a list of
        /// mappings.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct ForwardersConfig {
            $($(#[doc = $doc])+ #[cfg(feature = $feature)] pub $key: OneOrMany<$section>,)+
        }

        /// The kinds of destination in this build.
        pub(crate) const KINDS: &[&str] =
            &[$(#[cfg(feature = $feature)] <$section as ForwarderSection>::KIND,)+];

        impl ForwardersConfig {
            fn check_all(&self) -> Vec<KeyError> {
                let mut errors = Vec::new();
                $(#[cfg(feature = $feature)]
                errors.extend(errors_of_each(&self.$key, check_keys));)+
                errors
            }

            fn obstacles_of_all(&self) -> Vec<KeyError> {
                let mut errors = Vec::new();
                $(#[cfg(feature = $feature)]
                errors.extend(errors_of_each(&self.$key, ForwarderSection::check_files));)+
                errors
            }

            fn host_resources_of_all(&self) -> Vec<SectionResource> {
                let mut all = Vec::new();
                $(#[cfg(feature = $feature)] all.extend(host_resources_of_each(&self.$key));)+
                all
            }

            fn exposures_of_all(&self) -> Vec<SectionExposure> {
                let mut all = Vec::new();
                $(#[cfg(feature = $feature)] all.extend(exposures_of_each(&self.$key));)+
                all
            }

            fn percentages_of_all(&self) -> Vec<SectionPercentages> {
                let mut all = Vec::new();
                $(#[cfg(feature = $feature)] all.extend(percentages_of_each(&self.$key));)+
                all
            }

            fn idle_of_all(&self) -> Vec<SectionIdle> {
                let mut all = Vec::new();
                $(#[cfg(feature = $feature)] all.extend(idle_of_each(&self.$key));)+
                all
            }

            fn mask_all(&mut self) -> bool {
                let mut has_masked = false;
                $(#[cfg(feature = $feature)] { has_masked |= mask_each(&mut self.$key); })+
                has_masked
            }

            fn descriptors_of_all(&self) -> u64 {
                let mut sum = 0;
                $(#[cfg(feature = $feature)] {
                    sum += self.$key.0.len() as u64 * <$section as ForwarderSection>::DESCRIPTORS;
                })+
                sum
            }

            fn connections_of_all(&self) -> Vec<u64> {
                let mut all = Vec::new();
                $(#[cfg(feature = $feature)] {
                    all.extend(self.$key.0.iter().filter_map(ForwarderSection::connections));
                })+
                all.into_iter().map(u64::from).collect()
            }

            fn build_all(self, context: &BuildContext) -> (Vec<Destination>, Vec<BuildError>) {
                let (mut built, mut errors) = (Vec::new(), Vec::new());
                $(#[cfg(feature = $feature)]
                errors.extend(build_each(self.$key, context, &mut built));)+
                (built, errors)
            }
        }

        /// The smallest valid section of each kind of destination, as JSON.
        #[cfg(test)]
        fn examples() -> Vec<String> {
            let example = |kind, section| format!("{{\"{kind}\": {section}}}");
            vec![$(
                #[cfg(feature = $feature)]
                example(stringify!($key), <$section as ForwarderSection>::EXAMPLE),
            )+]
        }
    };
}

sections! {
    /// Standard output.
    "console" console: crate::console::ConsoleConfig,
    /// A local file.
    "file" file: crate::file::FileConfig,
    /// Graphite.
    "graphite" graphite: crate::graphite::GraphiteConfig,
    /// InfluxDB.
    "influxdb" influxdb: crate::influxdb::InfluxdbConfig,
    /// Apache Kafka.
    "kafka" kafka: crate::kafka::KafkaConfig,
    /// OpenTelemetry.
    "otlp" otlp: crate::otlp::OtlpConfig,
    /// A page for Prometheus.
    "prometheus" prometheus: crate::prometheus::PrometheusConfig,
    /// statsd.
    "statsd" statsd: crate::statsd::StatsdConfig,
}

const _: () = assert!(
    !KINDS.is_empty(),
    "a daemon without a destination is useless: enable a feature such as `console`"
);

/// The reason why the destinations cannot be built.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct BuildError {
    /// The kind of the invalid section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// The problem and its fix.
    pub reason: String,
}

/// A key in a destination's section that conflicts with other keys there.
#[derive(Debug, Error)]
#[error("{invalid}")]
pub struct KeyError {
    /// The kind of the section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// The key and the problem.
    pub invalid: InvalidKey,
}

/// An address or a file that a section alone can use.
#[derive(Clone, Debug)]
pub struct SectionResource {
    /// The kind of the section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// Whether it is the only section of its kind.
    pub is_only: bool,
    /// The key in the section.
    pub key: &'static str,
    /// The address or file.
    pub resource: HostResource,
}

/// A section whose destination other hosts can read.
#[derive(Clone, Debug)]
pub struct SectionExposure {
    /// The kind of the section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// The risk, of the key `listen`.
    pub exposure: Exposure,
}

/// A list of percentages in a section.
#[derive(Clone, Debug)]
pub struct SectionPercentages {
    /// The kind of the section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// The path of the list's key, below the section.
    pub keys: &'static [&'static str],
    /// The percentages.
    pub percentages: Vec<f64>,
}

/// The idle series that have points at the destinations of a section.
#[derive(Clone, Copy, Debug)]
pub struct SectionIdle {
    /// The kind of the section: its key in `forwarders`.
    pub kind: &'static str,
    /// The section's index among the sections of its kind, from 0.
    pub index: usize,
    /// For how long.
    pub limits: IdleLimits,
}

impl ForwardersConfig {
    /// Checks that the keys of each section fit together, before anything is built. Returns the
    /// first key of each section that does not fit.
    #[must_use]
    pub fn check(&self) -> Vec<KeyError> {
        self.check_all()
    }

    /// Looks for files on this host to which a section's destination does not write, such as pipes.
    /// The other destinations deliver nevertheless.
    #[must_use]
    pub fn obstacles(&self) -> Vec<KeyError> {
        self.obstacles_of_all()
    }

    /// The addresses and files that no two sections can share.
    #[must_use]
    pub fn host_resources(&self) -> Vec<SectionResource> {
        self.host_resources_of_all()
    }

    /// The sections whose destinations other hosts can read. Reads their files.
    #[must_use]
    pub fn exposures(&self) -> Vec<SectionExposure> {
        self.exposures_of_all()
    }

    /// The lists of percentages in all sections.
    #[must_use]
    pub fn percentages(&self) -> Vec<SectionPercentages> {
        self.percentages_of_all()
    }

    /// The idle series that have points, for all sections.
    #[must_use]
    pub fn idle(&self) -> Vec<SectionIdle> {
        self.idle_of_all()
    }

    /// File descriptors that all destinations together may need, besides connections of clients.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        self.descriptors_of_all()
    }

    /// The configured number of connections of each destination that clients connect to.
    #[must_use]
    pub fn connections(&self) -> Vec<u64> {
        self.connections_of_all()
    }

    /// Replaces secrets that destinations write into their payloads with `***`, so that payloads can
    /// be shown. Returns whether there were any.
    pub fn mask_payload_secrets(&mut self) -> bool {
        self.mask_all()
    }

    /// Builds every configured destination; the console if none is configured.
    ///
    /// Connects to nothing, so that the daemon starts even if a destination is unreachable.
    ///
    /// # Errors
    /// For each section that is invalid or has the name of another.
    pub fn build(self, context: &BuildContext) -> Result<Vec<Destination>, Vec<BuildError>> {
        let (mut destinations, mut errors) = self.build_all(context);
        #[cfg(feature = "console")]
        // Without a destination, every window would be dropped silently.
        if destinations.is_empty() && errors.is_empty() {
            let default = OneOrMany(vec![crate::console::ConsoleConfig::default()]);
            errors.extend(build_each(default, context, &mut destinations));
        }
        errors.extend(check_names(&destinations));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(destinations.into_iter().map(|destination| in_mode(destination, context)).collect())
    }
}

fn check_keys<S: ForwarderSection>(section: &S) -> Result<(), InvalidKey> {
    section.check()?;
    section.idle().check()
}

fn errors_of_each<S: ForwarderSection>(
    sections: &OneOrMany<S>,
    check: fn(&S) -> Result<(), InvalidKey>,
) -> impl Iterator<Item = KeyError> {
    sections.0.iter().enumerate().filter_map(move |(index, section)| {
        check(section).err().map(|invalid| KeyError { kind: S::KIND, index, invalid })
    })
}

fn host_resources_of_each<S: ForwarderSection>(
    sections: &OneOrMany<S>,
) -> impl Iterator<Item = SectionResource> {
    let is_only = sections.0.len() == 1;
    let with_resources =
        |(index, section): (usize, &'_ S)| section.host_resources().map(|used| (index, used));
    let used = sections.0.iter().enumerate().filter_map(with_resources);
    used.flat_map(move |(index, (key, resources))| {
        let used = move |resource| SectionResource { kind: S::KIND, index, is_only, key, resource };
        resources.into_iter().map(used)
    })
}

fn exposures_of_each<S: ForwarderSection>(
    sections: &OneOrMany<S>,
) -> impl Iterator<Item = SectionExposure> {
    sections.0.iter().enumerate().filter_map(|(index, section)| {
        Some(SectionExposure { kind: S::KIND, index, exposure: section.exposure()? })
    })
}

fn percentages_of_each<S: ForwarderSection>(
    sections: &OneOrMany<S>,
) -> impl Iterator<Item = SectionPercentages> {
    sections.0.iter().enumerate().filter_map(|(index, section)| {
        let (keys, percentages) = section.percentages()?;
        Some(SectionPercentages { kind: S::KIND, index, keys, percentages })
    })
}

fn idle_of_each<S: ForwarderSection>(sections: &OneOrMany<S>) -> impl Iterator<Item = SectionIdle> {
    let idle = |(index, section): (usize, &'_ S)| {
        let limits = section.idle().limits();
        SectionIdle { kind: S::KIND, index, limits }
    };
    sections.0.iter().enumerate().map(idle)
}

fn mask_each<S: ForwarderSection>(sections: &mut OneOrMany<S>) -> bool {
    sections.0.iter_mut().fold(false, |masked, section| section.mask_payload_secrets() | masked)
}

/// Builds the valid sections; returns the errors of the others.
fn build_each<S: ForwarderSection>(
    sections: OneOrMany<S>,
    context: &BuildContext,
    built: &mut Vec<Destination>,
) -> Vec<BuildError> {
    let mut errors = Vec::new();
    for (index, section) in sections.0.into_iter().enumerate() {
        let idle = section.idle().limits();
        match section.build(context) {
            // One section can declare two destinations (a Prometheus page and its remote write). Both
            // keep the index of the section, because errors point at it.
            Ok(destinations) => built.extend(destinations.into_iter().map(|one| Destination {
                index,
                common: Common { idle, ..one.common },
                ..one
            })),
            Err(reason) => errors.push(BuildError { kind: S::KIND, index, reason }),
        }
    }
    errors
}

fn check_names(destinations: &[Destination]) -> impl Iterator<Item = BuildError> {
    let mut names = HashSet::new();
    // Names must be unique across kinds too: the ledger, the log and the spool's folder use only the
    // name.
    destinations.iter().filter(move |one| !names.insert(&one.common.name)).map(|one| BuildError {
        kind: one.kind,
        index: one.index,
        reason: format!(
            "two destinations are called `{}`: give each its own `name`",
            one.common.name
        ),
    })
}

/// Replaces the forwarder in `debug_mode`. The mode becomes part of the settings, so that a reload
/// that changes it also replaces the forwarder.
fn in_mode(mut destination: Destination, context: &BuildContext) -> Destination {
    // Replaced only after the build, so that an invalid section is an error in `debug_mode` too.
    if context.debug_mode {
        destination.forwarder = Box::new(DebugForwarder::new(destination.common.name.clone()));
    }
    let settings = (destination.settings, context.debug_mode);
    Destination { settings: ForwarderSettings::new(settings), ..destination }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use model::MetricKind;

    fn context() -> BuildContext {
        BuildContext {
            connections_max: u32::MAX,
            debug_mode: false,
            instance: "test".into(),
            expire_after: Duration::from_secs(600),
            resource: Vec::new(),
            naming: |_| None,
            poll_target: |_, _| Box::pin(async { Err("no target".to_owned()) }),
        }
    }

    #[test]
    fn nothing_declared_means_the_console() {
        let built = ForwardersConfig::default().build(&context()).unwrap();
        let kinds: Vec<_> = built.iter().map(|destination| destination.kind).collect();
        assert_eq!(kinds, ["console"]);
    }

    #[test]
    fn every_destination_of_the_default_build_is_registered() {
        let manifest = include_str!("../Cargo.toml");
        let (_, list) = manifest.split_once("default = [").unwrap();
        let (list, _) = list.split_once(']').unwrap();
        for feature in list.split('"').skip(1).step_by(2) {
            let line = format!("    \"{feature}\" {feature}: crate::{feature}::");
            let is_registered = include_str!("registry.rs").contains(&line);
            assert!(is_registered, "the feature `{feature}` has no line in `sections!`");
        }
    }

    #[test]
    fn two_destinations_of_one_name_are_refused() {
        let config: ForwardersConfig =
            serde_json::from_str(r#"{"file": [{"path": "/a"}, {"path": "/b"}]}"#).unwrap();
        let error = config.build(&context()).err().unwrap().remove(0);
        assert_eq!((error.kind, error.index), ("file", 1));
        let error = error.to_string();
        assert_eq!(error, "two destinations are called `file`: give each its own `name`");
    }

    fn build(section: &str) -> Vec<Destination> {
        let config: ForwardersConfig = serde_json::from_str(section).unwrap();
        config.build(&context()).unwrap()
    }

    #[test]
    fn pending_payloads_name_the_remaining_points_in_every_destination() {
        let snapshot = model::testing::snapshot_of_counters(7);
        // Remote write sends running totals, so a payload depends on earlier windows.
        for section in examples().iter().filter(|section| !section.contains("remote_write")) {
            let mut built = build(section);
            crate::testing::assert_payloads_follow_points(&mut *built[0].forwarder, &snapshot);
        }
    }

    #[test]
    fn a_change_of_idle_reaches_the_queue_and_keeps_the_forwarder() {
        let gauges = IdleLimits::default().with(MetricKind::Gauge, Duration::from_secs(60));
        for section in examples().iter().filter(|section| !section.contains("prometheus")) {
            let with_idle =
                section.replacen(": {", r#": {"idle": {"gauges": "last"}, "idle_for": "1m", "#, 1);
            // The console's example has no other key.
            let (before, after) = (build(section), build(&with_idle.replace(", }", "}")));
            assert!(before[0].common.idle.is_none(), "{section}");
            assert_eq!(after[0].common.idle, gauges, "{section}");
            assert!(before[0].settings == after[0].settings, "{section}");
        }
    }

    /// The kinds of destination with a spool, and their names in the documents.
    const WITH_SPOOL: [(&str, &str); 5] = [
        ("graphite", "Graphite"),
        ("influxdb", "InfluxDB"),
        ("kafka", "Kafka"),
        ("otlp", "OTLP"),
        ("prometheus", "remote write"),
    ];

    #[test]
    fn windows_wait_on_disk_only_for_destinations_that_want_old_data() {
        for section in examples() {
            let destination = &build(&section)[0];
            let wants = WITH_SPOOL.iter().any(|(kind, _)| *kind == destination.kind);
            assert_eq!(destination.may_spool(), wants, "{section}");
        }
    }

    #[test]
    fn the_documents_list_the_destinations_with_a_spool() {
        for (path, text, words) in [
            ("README.md", include_str!("../../README.md"), "server on disk"),
            ("README.md", include_str!("../../README.md"), "down | points for"),
            ("README.md", include_str!("../../README.md"), "wait on disk, across restarts"),
            ("docs/README.md", include_str!("../../docs/README.md"), "server on disk"),
            ("docs/delivery.md", include_str!("../../docs/delivery.md"), "have a spool"),
        ] {
            let text = text.replace("\n|", "\n\n|").replace("\n\n", "\0").replace('\n', " ");
            let sentence = text.split(['\0', '.', ';']).find(|sentence| sentence.contains(words));
            let sentence = sentence.unwrap_or_else(|| panic!("{path} lacks `{words}`"));
            for (_, name) in WITH_SPOOL {
                assert!(sentence.contains(name), "{path} lacks {name} in: {sentence}");
            }
        }
    }

    #[test]
    #[cfg(feature = "prometheus")]
    fn a_page_and_its_remote_write_are_two_destinations_of_which_one_may_spool_in_order() {
        let built = build(r#"{"prometheus": {"remote_write": {"url": "http://localhost:1"}}}"#);
        let names: Vec<_> = built.iter().map(|one| one.common.name.as_str()).collect();
        assert_eq!(names, ["prometheus", "prometheus.remote_write"]);
        assert!(!built[0].may_spool() && built[1].may_spool());
        assert_eq!(built[1].common.delivery.spool.order, crate::config::SpoolOrder::Oldest);
    }

    #[test]
    fn a_forwarder_is_built_anew_only_for_other_settings_of_its_own() {
        let settings = |section: &str, context: &BuildContext| {
            let config: ForwardersConfig = serde_json::from_str(section).unwrap();
            config.build(context).unwrap().remove(0).settings
        };
        let of = |section: &str| settings(section, &context());
        let plain = of(r#"{"file": {"path": "/a"}}"#);
        assert_eq!(plain, of(r#"{"file": {"path": "/a", "select": {"prefix": "x."}}}"#));
        assert_eq!(
            plain,
            of(r#"{"file": {"path": "/a", "delivery": {"queue": {"max_points": 1}}}}"#)
        );
        assert_ne!(plain, of(r#"{"file": {"path": "/a", "delivery": {"timeout": "1s"}}}"#));
        assert_ne!(plain, of(r#"{"file": {"path": "/b"}}"#));
        assert_ne!(plain, of(r#"{"console": {}}"#));
        let debug = BuildContext { debug_mode: true, ..context() };
        assert_ne!(plain, settings(r#"{"file": {"path": "/a"}}"#, &debug));
        let later = BuildContext { expire_after: Duration::from_secs(7), ..context() };
        assert_eq!(plain, settings(r#"{"file": {"path": "/a"}}"#, &later));
    }

    #[test]
    #[cfg(feature = "prometheus")]
    fn a_page_is_built_anew_when_series_expire_later_but_not_for_its_remote_write() {
        let page = |section: &str, seconds: u64| {
            let config: ForwardersConfig = serde_json::from_str(section).unwrap();
            let expire_after = Duration::from_secs(seconds);
            let context = BuildContext { expire_after, ..context() };
            config.build(&context).unwrap().remove(0).settings
        };
        let with_remote_write =
            r#"{"prometheus": {"remote_write": {"url": "http://localhost:1"}}}"#;
        let plain = page(r#"{"prometheus": {}}"#, 600);
        assert_eq!(plain, page(with_remote_write, 600));
        assert_ne!(plain, page(r#"{"prometheus": {}}"#, 601));
    }
}
