//! `admin`: the settings of the HTTP endpoint.

use api::path::DEFAULT_PORT;
use basics::address::Listen;
use engine::listener::tap::TapConfig;
use serde::Deserialize;

/// `admin`: the HTTP endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`, or `none` for no endpoint. It has no authentication: at an address other than
    /// loopback, every client that reaches it can read it. Defaults to `127.0.0.1:9495`.
    pub listen: AdminListen,
    /// Names of this host under which a browser may open the status page and read client data, in
    /// addition to addresses, `localhost` and the system's host name. Requests under other names are
    /// refused, because any web page can point its domain at this address. Defaults to none.
    pub hosts: Vec<String>,
    /// Bounds of `/api/v1/top`.
    pub top: TopConfig,
    /// Bounds of the live taps on the listeners.
    pub tap: TapConfig,
}

/// The address of the endpoint.
pub type AdminListen = Listen<DEFAULT_PORT>;

/// `admin.top`: the bounds of `/api/v1/top`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopConfig {
    /// Number of tag keys whose values are counted; further keys are only counted themselves. A key
    /// with thousands of values costs up to 64 KiB while clients request it. Defaults to `500`.
    pub max_tag_keys: usize,
    /// Number of senders per listening socket that are counted separately, those that send the most;
    /// the rest is counted together. Counting runs only while a client requests it, and costs an
    /// overloaded listener about 6 % of its throughput. `0` disables it. Defaults to `256`.
    pub max_senders: usize,
}

impl Default for TopConfig {
    fn default() -> Self {
        Self { max_tag_keys: 500, max_senders: 256 }
    }
}
