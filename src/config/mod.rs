//! The configuration file: one YAML file, a superset of the deployed `pystatsd.conf`.
//!
//! Each section's struct stands where it is used; this module puts them together, reads the file
//! and checks what no section can check alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, io};

use basics::address;
use basics::units::{ByteSize, Span, between};
use forwarders::delivery::driver::Destination;
use forwarders::{BuildContext, ForwardersConfig};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use thiserror::Error as ThisError;

use self::admin::AdminConfig;
use self::log::LogConfig;
use engine::aggregator::AggregationConfig;
use engine::aggregator::identity::{AgentConfig, Identifier};
use engine::aggregator::registry::Registry;
use engine::listener::recorder::RecorderContext;
use engine::listener::{ListenerConfig, ListenerSection};
use engine::protocol::Limits;
use kamailio::{self, KamailioSection};
use yaml::{ConfigError, Leaves, Source, Spanned};

pub mod admin;
pub mod log;

/// Where the file is looked for if none is named.
const DEFAULT_PATH: &str = "/etc/tallyd/tallyd.yaml";
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Port of the listener that is there without configuration.
pub(crate) const DEFAULT_PORT: u16 = 5090;
/// Shortest interval: below, windows cost more than samples.
const INTERVAL_MIN: Span = Span::from_millis(100);
/// Longest interval.
const INTERVAL_MAX: Span = Span::from_secs(3600);

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the JSON listener over UDP, or a name of this host. Defaults to `127.0.0.1`.
    pub bind_address: Option<BindAddress>,
    /// Its port; 0 takes any free one. Defaults to `5090`.
    pub bind_port: Option<u16>,
    /// Log each window's points instead of sending them. Defaults to `false`.
    pub debug_mode: bool,
    /// The host's own tags.
    pub agent: AgentConfig,
    /// Where the points go; with none, to standard output.
    pub forwarders: Spanned<ForwardersConfig>,
    /// Length of a window; windows end on multiples of it on the wall clock. Longer ones make fewer
    /// points at the cost of seeing less. 100ms to 1h. Defaults to `10s`.
    #[serde(deserialize_with = "interval")]
    pub interval: Span,
    /// Listeners in place of the one at `bind_address` and `bind_port`, or besides it if one of
    /// these two is given as well. None at all (`[]`) where Kamailio alone is asked.
    pub listeners: Option<Spanned<Vec<Spanned<ListenerSection>>>>,
    /// Kamailio servers that are asked for their statistics. Defaults to none.
    pub kamailio: Vec<KamailioSection>,
    /// How samples become points.
    pub aggregation: AggregationConfig,
    /// What one message may cost.
    pub limits: Limits,
    /// What to ask of the kernel as the buffer of each socket; more of it outlasts longer bursts at
    /// the cost of kernel memory. Defaults to `8MiB`.
    pub receive_buffer: ByteSize,
    /// Folder for what has to outlive the process: the spools. Made when it is missing. Defaults to
    /// the one that systemd names in `STATE_DIRECTORY`, else `/var/lib/tallyd`.
    pub state_dir: PathBuf,
    /// The daemon's own HTTP endpoint.
    pub admin: AdminConfig,
    /// Send the daemon's own metrics through the pipeline too, as `tallyd.*` of each window, with
    /// the agent's tags, at the cost of some dozens of series. Defaults to `false`.
    pub self_metrics: bool,
    /// What the daemon says about itself.
    pub log: LogConfig,
    /// How long a stop may take to deliver what is left. Defaults to `10s`.
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
            limits: Limits::default(),
            receive_buffer: ByteSize::from_mib(8),
            state_dir: default_state_dir(),
            admin: AdminConfig::default(),
            self_metrics: false,
            log: LogConfig::default(),
            shutdown_timeout: Span::from_secs(10),
        }
    }
}

/// An address without a port; a name is looked up when the configuration is read.
#[derive(Clone, Copy, Debug)]
pub struct BindAddress(IpAddr);

impl<'de> Deserialize<'de> for BindAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        address::resolve(&format!("{text}:0")).map(|address| Self(address.ip())).map_err(|_| {
            D::Error::custom(format!("must be an IP address or a name of this host, not `{text}`"))
        })
    }
}

impl Config {
    /// The sockets to open.
    ///
    /// # Errors
    /// At a key of a listener that does not go with its others, or at the listener if one is
    /// missing; at the list if nothing would ever come in.
    pub fn listeners(&self, source: &Source) -> Result<Vec<ListenerConfig>, ConfigError> {
        let mut listeners = Vec::new();
        let names_one = self.bind_address.is_some() || self.bind_port.is_some();
        if names_one || self.listeners.is_none() {
            let address = self.bind_address.map_or(DEFAULT_ADDRESS, |address| address.0);
            let port = self.bind_port.unwrap_or(DEFAULT_PORT);
            listeners.push(ListenerConfig::json_udp(SocketAddr::new(address, port)));
        }
        let Some(sections) = &self.listeners else { return Ok(listeners) };
        for (index, section) in sections.iter().enumerate() {
            listeners.push(section.check(source, index, section.span())?);
        }
        if listeners.is_empty() && self.kamailio.is_empty() {
            let words = "`listeners`: must hold a listener where no `kamailio` is asked; leave it \
                         out for the one at `bind_address` and `bind_port`";
            return Err(source.error_at(sections.span(), words));
        }
        Ok(listeners)
    }

    /// What all listeners share; `started` is the moment from which they count time.
    #[must_use]
    pub fn shared(&self, started: Instant) -> RecorderContext {
        let identifier = Arc::new(Identifier::new(&self.agent));
        RecorderContext {
            registry: Arc::new(Registry::new(&self.aggregation, Arc::clone(&identifier))),
            identifier,
            rejected: Arc::default(),
            started,
            limits: self.limits.clone(),
            exact_samples: self.aggregation.exact_samples,
            line_cache: self.aggregation.line_cache.get() as usize,
        }
    }

    /// Where the destinations' spools are.
    #[must_use]
    pub fn spool_folder(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// Builds the destinations.
    ///
    /// # Errors
    /// At the section of the first that refuses its settings or has the name of another.
    pub fn destinations(
        &self,
        source: &Source,
        instance: &str,
    ) -> Result<Vec<Destination>, ConfigError> {
        let context = BuildContext {
            debug_mode: self.debug_mode,
            instance: instance.to_owned(),
            expire_after: self.aggregation.expire_after.get(),
        };
        let forwarders: &ForwardersConfig = &self.forwarders;
        forwarders.check().map_err(|error| {
            let keys = ["forwarders", error.kind];
            let span = yaml::key_span(source, &environment, &keys, error.index, error.misfit.key);
            source.error_at(span.unwrap_or(self.forwarders.span()), error.to_string())
        })?;
        forwarders.clone().build(&context).map_err(|error| {
            let keys = ["forwarders", error.kind];
            let span = yaml::section_span(source, &environment, &keys, error.index);
            source.error_at(span.unwrap_or(self.forwarders.span()), error.to_string())
        })
    }
}

/// A configuration and the file that it came from.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The sockets to open.
    pub listeners: Vec<ListenerConfig>,
    /// The file, for errors that are found later.
    pub source: Source,
    /// All that it says, to be compared with what another says.
    pub leaves: Leaves,
    /// Whether there was a file at all.
    pub is_file: bool,
}

/// Why there is no configuration.
#[derive(Debug, ThisError)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}{}", path.display(), next_step(source))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file says something that is not allowed.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

/// What to do about a file that cannot be read, behind the error.
fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; correct --config, or leave it out for the default",
        io::ErrorKind::PermissionDenied => {
            "; ask as root or as the user of the service, such as by `sudo -u tallyd`"
        }
        io::ErrorKind::IsADirectory => "; name the file in it",
        io::ErrorKind::InvalidData => "; save it as UTF-8",
        _ => "",
    }
}

/// Reads the named file, else the default one, else takes the built-in defaults.
///
/// # Errors
/// When the file cannot be read or is wrong in any way.
pub fn load(path: Option<&Path>) -> Result<Loaded, LoadError> {
    let default_path = Path::new(DEFAULT_PATH);
    let path = path.or_else(|| default_path.exists().then_some(default_path));
    let Some(path) = path else {
        let source = Source::new("built-in defaults", "");
        return loaded(Config::default(), source, false);
    };
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error().to_string()))
    })?;
    let source = Source::new(path.display().to_string(), text);
    let config = yaml::parse(&source, &environment)?;
    loaded(config, source, true)
}

fn loaded(config: Config, source: Source, is_file: bool) -> Result<Loaded, LoadError> {
    let listeners = config.listeners(&source)?;
    if let Some((index, wrong)) = kamailio::config::check(&config.kamailio) {
        let span = yaml::section_span(&source, &environment, &["kamailio"], index);
        return Err(source.error_at(span.unwrap_or(config.forwarders.span()), wrong).into());
    }
    let leaves = Leaves::of(&source, &environment)?;
    Ok(Loaded { config, listeners, source, leaves, is_file })
}

/// What systemd gives with `StateDirectory=`, else the usual place.
fn default_state_dir() -> PathBuf {
    let given = env::var_os("STATE_DIRECTORY").filter(|given| !given.is_empty());
    // Several are separated by colons; the first is the service's own.
    let first = given.and_then(|given| env::split_paths(&given).next());
    first.unwrap_or_else(|| PathBuf::from("/var/lib/tallyd"))
}

/// What the environment says, for `${VAR}`.
fn environment(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// Reads the configuration and builds what it declares: all that `check` and `run` refuse alike.
/// `instance` identifies this run to consumers.
///
/// # Errors
/// When the file cannot be read, is wrong in any way, or a destination refuses its settings.
pub fn prepare(
    path: Option<&Path>,
    instance: &str,
) -> Result<(Loaded, Vec<Destination>), LoadError> {
    let loaded = load(path)?;
    let destinations = loaded.config.destinations(&loaded.source, instance)?;
    Ok((loaded, destinations))
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, INTERVAL_MIN..=INTERVAL_MAX)
}
