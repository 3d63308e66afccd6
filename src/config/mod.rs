//! The configuration: one YAML file, in a superset of the format of pystatsd's `pystatsd.conf`.
//!
//! Each section's struct is defined where it is used. This module combines them, reads the file and
//! performs the checks that span several sections.
//!
//! A configuration has three forms: [`Config`] is the deserialized settings, [`ConfigFile`] the
//! settings after all checks together with their source, and
//! [`RunningConfig`](crate::runtime::running_config::RunningConfig) the file that the daemon runs
//! with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io};

use basics::address::ListenAddresses;
use basics::bounds::between;
use basics::units::{ByteSize, Span};
use forwarders::delivery::destination::Destination;
use forwarders::naming::PageNaming;
use forwarders::target_poll::{PolledTarget, TargetPoll};
use forwarders::{BuildContext, ForwardersConfig};
use httpserver::Access;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use thiserror::Error as ThisError;

use self::admin::AdminConfig;
use self::descriptors::DescriptorShares;
use self::log::LogConfig;
use self::restart_state::RestartStateConfig;
use engine::aggregator::AggregationConfig;
use engine::aggregator::identity::{AgentConfig, Identifier};
use engine::aggregator::registry::Registry;
use engine::listener::recorder::RecorderContext;
use engine::listener::signature::SignatureContext;
use engine::listener::signature::config::SignatureConfig;
use engine::listener::signature::windows::ReplayWindows;
use engine::listener::{ListenerConfig, ListenerSection};
use engine::protocol::MessageLimits;
use engine::rules::{RuleSection, Rules};
use kamailio::{self, KamailioSection};
use model::{SeriesNaming, SetSeed};
use yaml::{ConfigError, ConfigErrors, Leaves, Source, Spanned};

pub mod admin;
mod certificates;
mod conflicts;
pub mod descriptors;
pub mod effective;
pub mod log;
mod mirrors;
pub mod resources;
pub mod restart_state;
pub mod sample;
mod warnings;

/// The file that is read if it exists and no other is given.
pub(crate) const DEFAULT_PATH: &str = "/etc/tallyd/tallyd.yaml";
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Port of the listener that exists without configuration.
pub(crate) const DEFAULT_PORT: u16 = 5090;
/// Shortest interval: windows shorter than this cost more than their samples.
const INTERVAL_MIN: Span = Span::from_millis(100);
/// The section in which `${…}` refers to what a rule matches, not to the environment.
pub const LITERAL_SECTION: &str = "rules";
/// Longest interval.
const INTERVAL_MAX: Span = Span::from_secs(3600);

/// The settings of all sections, as deserialized.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the JSON listener over UDP, or a name of this host, which stands for all its
    /// addresses. Defaults to `127.0.0.1`.
    pub bind_address: Option<BindAddress>,
    /// Port of that listener; 0 picks any free port. Defaults to `5090`.
    pub bind_port: Option<u16>,
    /// Log each window's points instead of sending them. Defaults to `false`.
    pub debug_mode: bool,
    /// The tags of this host.
    pub agent: AgentConfig,
    /// The destinations of the points; without any, standard output.
    pub forwarders: Spanned<ForwardersConfig>,
    /// Length of a window; windows end at multiples of it on the wall clock. Longer windows produce
    /// fewer points at a coarser resolution. 100ms to 1h. Defaults to `10s`.
    #[serde(deserialize_with = "interval")]
    pub interval: Span,
    /// Listeners that replace the one at `bind_address` and `bind_port`, or are added to it if one
    /// of these two keys is present. `[]` for none, if Kamailio is polled.
    pub listeners: Option<Spanned<Vec<Spanned<ListenerSection>>>>,
    /// Kamailio servers to poll for their statistics. Defaults to none.
    pub kamailio: Vec<KamailioSection>,
    /// How samples become points.
    pub aggregation: AggregationConfig,
    /// Bounds of a message.
    pub limits: MessageLimits,
    /// What listeners with a `secret` accept and remember.
    pub signatures: SignatureConfig,
    /// Rules that turn names into names and tags; the first one that matches is the last. Defaults to
    /// none.
    pub rules: Vec<Spanned<RuleSection>>,
    /// Receive buffer to request from the kernel for each socket. A larger one absorbs longer bursts
    /// at the cost of kernel memory. Defaults to `8MiB`.
    pub receive_buffer: ByteSize,
    /// Folder for the data that outlives the process: the spools, and the restart state. Created if it
    /// is missing. Defaults to the folder that systemd passes in `STATE_DIRECTORY`, else
    /// `/var/lib/tallyd`.
    pub state_dir: PathBuf,
    /// The state that an orderly stop leaves to the next run.
    pub restart_state: RestartStateConfig,
    /// The daemon's HTTP endpoint.
    pub admin: AdminConfig,
    /// Also send the daemon's self-metrics through the pipeline, as `tallyd.*` in each window and
    /// with the agent's tags. Costs a few dozen series. Defaults to `false`.
    pub self_metrics: bool,
    /// The daemon's log.
    pub log: LogConfig,
    /// How long a stop may take to deliver the remaining points. Defaults to `10s`.
    pub shutdown_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind_address: None,
            bind_port: None,
            debug_mode: false,
            agent: AgentConfig::default(),
            forwarders: Spanned::default(),
            interval: Span::from_secs(10),
            listeners: None,
            kamailio: Vec::new(),
            aggregation: AggregationConfig::default(),
            limits: MessageLimits::default(),
            signatures: SignatureConfig::default(),
            rules: Vec::new(),
            receive_buffer: ByteSize::from_mib(8),
            state_dir: default_state_dir(),
            restart_state: RestartStateConfig::default(),
            admin: AdminConfig::default(),
            self_metrics: false,
            log: LogConfig::default(),
            shutdown_timeout: Span::from_secs(10),
        }
    }
}

/// An IP address without a port, or a host name, which is resolved when the configuration is read.
#[derive(Clone, Debug)]
pub struct BindAddress(ListenAddresses);

impl<'de> Deserialize<'de> for BindAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(address, 0).into()));
        }
        let is_ipv6 = text.contains(':');
        let with_port = if is_ipv6 { format!("[{text}]:0") } else { format!("{text}:0") };
        let is_empty = text.is_empty();
        let found = ListenAddresses::parse(&with_port).ok().filter(|_| !is_empty);
        found.map(Self).ok_or_else(|| {
            D::Error::custom(format!("must be an IP address or a name of this host, not `{text}`"))
        })
    }
}

impl Config {
    /// Returns the sockets to open.
    ///
    /// # Errors
    /// At each listener that lacks a key or has a key that contradicts another one, or at the list if
    /// the daemon would have no input at all.
    pub fn listeners(&self, source: &Source) -> Result<Vec<ListenerConfig>, ConfigErrors> {
        let mut listeners = Vec::new();
        let names_one = self.bind_address.is_some() || self.bind_port.is_some();
        if names_one || self.listeners.is_none() {
            let default = ListenAddresses::from(SocketAddr::new(DEFAULT_ADDRESS, 0));
            let addresses = self.bind_address.as_ref().map_or(&default, |address| &address.0);
            let port = self.bind_port.unwrap_or(DEFAULT_PORT);
            listeners.extend(ListenerConfig::json_udp(&addresses.with_port(port)));
        }
        let Some(sections) = &self.listeners else { return Ok(listeners) };
        let mut errors = Vec::new();
        for (index, section) in sections.iter().enumerate() {
            match section.check(source, index, section.span()) {
                Ok(listener) => listeners.extend(listener),
                Err(error) => errors.push(error),
            }
        }
        ConfigErrors::check(errors)?;
        ConfigErrors::check(mirrors::check(sections, &listeners, source))?;
        if listeners.is_empty() && self.kamailio.is_empty() {
            let message = "`listeners`: must contain a listener unless `kamailio` is polled; omit the \
                         key for the default listener at `bind_address` and `bind_port`";
            return Err(source.error_at(sections.span(), message).into());
        }
        Ok(listeners)
    }

    /// The folder that contains the destinations' spools.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// The folder that contains the restart state.
    #[must_use]
    pub fn restart_folder(&self) -> PathBuf {
        self.state_dir.join("restart")
    }

    /// The attributes of this host in OpenTelemetry: its name and the agent's tags, which win.
    fn resource(&self) -> Vec<(String, String)> {
        let identifier = Identifier::new(&self.agent);
        let tags = identifier.agent_tags().map(|(key, value)| (key.to_owned(), value.to_string()));
        std::iter::once(("host.name".to_owned(), host_name())).chain(tags).collect()
    }

    fn descriptor_shares(&self, listeners: &[ListenerConfig]) -> DescriptorShares {
        DescriptorShares::of(&self.admin, &self.forwarders, self.kamailio.len(), listeners)
    }

    /// Builds the destinations, without starting them.
    ///
    /// # Errors
    /// At each section with invalid settings, or with the name, the address or the file of another.
    pub fn destinations(
        &self,
        source: &Source,
        instance: &str,
    ) -> Result<Vec<Destination>, ConfigErrors> {
        let (listeners, mut errors) = match self.listeners(source) {
            Ok(listeners) => (listeners, Vec::new()),
            Err(errors) => (Vec::new(), errors.iter().cloned().collect()),
        };
        let shares = self.descriptor_shares(&listeners);
        let context = BuildContext {
            connections_max: u32::try_from(shares.http).unwrap_or(u32::MAX),
            debug_mode: self.debug_mode,
            instance: instance.to_owned(),
            expire_after: self.aggregation.expire_after.get(),
            resource: self.resource(),
            naming: exporter_naming,
            poll_target: poll_kamailio,
        };
        errors.extend(conflicts::check(self, &listeners, source));
        let at = |kind, index, key, words: String| {
            let span = yaml::key_span(source, &["forwarders", kind], index, key);
            source.error_at(span.unwrap_or(self.forwarders.span()), words)
        };
        let forwarders: &ForwardersConfig = &self.forwarders;
        let invalid = forwarders.check();
        errors.extend(invalid.iter().map(|e| at(e.kind, e.index, e.invalid.key, e.to_string())));
        // To build a section with such a key may fail for the same reason, at a less exact position.
        let built =
            if invalid.is_empty() { forwarders.clone().build(&context) } else { Err(Vec::new()) };
        let failed = built.as_ref().err().into_iter().flatten();
        errors.extend(failed.map(|e| at(e.kind, e.index, None, e.to_string())));
        ConfigErrors::check(errors)?;
        Ok(built.unwrap_or_default())
    }
}

/// A configuration file that was read and checked, or the built-in defaults.
#[derive(Debug)]
pub struct ConfigFile {
    /// The settings.
    pub config: Config,
    /// The sockets to open. Their `max_connections` are lowered if the limit on open files is too low.
    pub listeners: Vec<ListenerConfig>,
    /// The compiled rules.
    pub rules: Arc<Rules>,
    /// The shares of the descriptors of the process.
    pub descriptors: DescriptorShares,
    /// The text of the file, to show where an error is that is found later.
    pub source: Source,
    /// The keys and values of the file, for comparison with another file.
    pub leaves: Leaves,
    /// Keys with a valid value that is probably a mistake.
    pub warnings: Vec<ConfigError>,
    /// Keys with a file of this host, such as a pipe, because of which a destination delivers nothing.
    /// Only [`load_and_build`] looks for them.
    pub obstacles: Vec<ConfigError>,
    /// Who may use the admin endpoint. Only [`load_and_build`] reads its files.
    pub admin_access: Arc<Access>,
    /// Whether a file was read; `false` for the built-in defaults.
    pub is_file: bool,
}

impl ConfigFile {
    /// Creates the state that all listeners share; they measure time from `started`. An earlier run
    /// may have left `set_seed` and `signatures`.
    #[must_use]
    pub fn shared(
        &self,
        started: Instant,
        set_seed: Option<SetSeed>,
        signatures: ReplayWindows,
    ) -> RecorderContext {
        let Config { agent, aggregation, limits, .. } = &self.config;
        let identifier = Arc::new(Identifier::new(agent));
        RecorderContext {
            registry: Arc::new(Registry::new(aggregation, Arc::clone(&identifier))),
            identifier,
            rejected: Arc::default(),
            started,
            limits: limits.clone(),
            cells: aggregation.cells(set_seed),
            line_cache: aggregation.line_cache_bytes(),
            rules: Arc::clone(&self.rules),
            rule_cache: aggregation.rule_cache.get() as usize,
            signatures: SignatureContext {
                config: self.config.signatures,
                windows: Arc::new(signatures),
            },
        }
    }
}

/// Why a configuration cannot be loaded.
#[derive(Debug, ThisError)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}{}", path.display(), next_step(source))]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The content of the file is invalid.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

/// Advice that is appended to the error for an unreadable file.
fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; correct --config, or omit it for the default",
        io::ErrorKind::PermissionDenied => {
            "; run this as root or as the user of the service, such as with `sudo -u tallyd`"
        }
        io::ErrorKind::IsADirectory => "; name the file in it",
        io::ErrorKind::InvalidData => "; save it as UTF-8",
        _ => "",
    }
}

/// Reads and checks the file at `path`. Without a path, reads the default file if it exists, else
/// returns the built-in defaults.
///
/// # Errors
/// When the file cannot be read or is invalid.
pub fn load(path: Option<&Path>) -> Result<ConfigFile, LoadError> {
    Ok(checked(read(path)?)?)
}

/// The settings of a file, the file, and whether it is one.
type ReadConfig = (Config, Source, bool);

fn read(path: Option<&Path>) -> Result<ReadConfig, LoadError> {
    let default_path = Path::new(DEFAULT_PATH);
    let path = path.or_else(|| default_path.exists().then_some(default_path));
    let Some(path) = path else {
        return Ok((Config::default(), Source::new("built-in defaults", ""), false));
    };
    let source = Source::read(path)
        .map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?
        .with_literal_section(LITERAL_SECTION);
    let config = yaml::parse(&source, &environment)?;
    Ok((config, source, true))
}

/// Performs the checks that span several sections.
fn checked((config, source, is_file): ReadConfig) -> Result<ConfigFile, ConfigErrors> {
    let listeners = config.listeners(&source);
    let mut errors: Vec<_> =
        listeners.as_ref().err().into_iter().flat_map(ConfigErrors::iter).cloned().collect();
    if let Some((index, problem)) = kamailio::config::check(&config.kamailio) {
        let span = yaml::section_span(&source, &["kamailio"], index);
        errors.push(source.error_at(span.unwrap_or(config.forwarders.span()), problem));
    }
    let rules = Rules::compile(&config.rules, &source);
    errors.extend(rules.as_ref().err().into_iter().flat_map(ConfigErrors::iter).cloned());
    ConfigErrors::check(errors)?;
    let (mut listeners, rules) = (listeners?, Arc::new(rules?));
    let descriptors = config.descriptor_shares(&listeners);
    descriptors.lower(&mut listeners);
    let leaves = Leaves::of(&source, &environment)?;
    let warnings = warnings::check(&config, &rules, &source);
    let (obstacles, admin_access) = (Vec::new(), Arc::new(Access::open()));
    Ok(ConfigFile {
        config,
        listeners,
        rules,
        descriptors,
        source,
        leaves,
        warnings,
        obstacles,
        admin_access,
        is_file,
    })
}

/// The names of Kamailio's series on a page for Prometheus.
fn exporter_naming(naming: PageNaming) -> Option<Arc<dyn SeriesNaming>> {
    match naming {
        PageNaming::Tallyd => None,
        PageNaming::Callr => Some(kamailio::naming::callr()),
        PageNaming::Pascom => Some(kamailio::naming::pascom()),
        PageNaming::Voiplens => Some(kamailio::naming::voiplens()),
    }
}

/// Polls a Kamailio for `/probe`.
fn poll_kamailio(target: String, limit: Duration) -> TargetPoll {
    Box::pin(async move {
        let polled = kamailio::scrape::scrape(target.parse()?, limit).await;
        Ok(PolledTarget { points: polled.points, failure: polled.failure })
    })
}

/// The folder that systemd passes for `StateDirectory=`, else the conventional one.
fn default_state_dir() -> PathBuf {
    let given = env::var_os("STATE_DIRECTORY").filter(|given| !given.is_empty());
    // A unit may list several folders, which systemd separates by colons. The first is tallyd's; a
    // drop-in adds further ones after it.
    let first = given.and_then(|given| env::split_paths(&given).next());
    first.unwrap_or_else(|| PathBuf::from("/var/lib/tallyd"))
}

/// The value of an environment variable, for `${VAR}`. Without a variable of this name, `${hostname}` is the
/// name of this host.
fn environment(name: &str) -> Option<String> {
    env::var(name).ok().or_else(|| (name == "hostname").then(host_name))
}

/// The name of this host, as the system has it: with or without its domain.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Reads the configuration and builds its destinations. `check`, `run` and a reload share this, so
/// that they refuse the same files. `instance` identifies this run to the consumers of its points.
///
/// # Errors
/// When the file cannot be read or is invalid, or a destination's settings are.
pub fn load_and_build(
    path: Option<&Path>,
    instance: &str,
) -> Result<(ConfigFile, Vec<Destination>), LoadError> {
    let read = read(path)?;
    // All are checked, so that the errors of one do not hide those of another.
    let destinations = read.0.destinations(&read.1, instance);
    let access = admin_access(&read.0, &read.1);
    let file = checked(read).and_then(certificates::load);
    let errors = [destinations.as_ref().err(), access.as_ref().err(), file.as_ref().err()];
    ConfigErrors::check(
        errors.into_iter().flatten().flat_map(ConfigErrors::iter).cloned().collect(),
    )?;
    let (mut file, admin_access) = (file?, Arc::new(access?));
    file.obstacles = warnings::obstacles(&file.config, &file.source);
    file.warnings.extend(warnings::exposures(&file.config, &admin_access, &file.source));
    Ok((ConfigFile { admin_access, ..file }, destinations?))
}

/// Reads the files that say who may use the admin endpoint.
fn admin_access(config: &Config, source: &Source) -> Result<Access, ConfigErrors> {
    Access::load(&config.admin.access_config()).map_err(|error| {
        let span = yaml::key_span(source, &["admin"], 0, Some(error.key));
        let message = format!("`admin.{}` {}", error.key, error.reason);
        source.error_at(span.unwrap_or(config.forwarders.span()), message).into()
    })
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, INTERVAL_MIN..=INTERVAL_MAX)
}
