//! `admin`: the section of the HTTP endpoint.

use api::path::DEFAULT_PORT;
use basics::address::Listen;
use engine::listener::tap::TapConfig;
use serde::Deserialize;

/// `admin`: the HTTP endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`, or `none` for no endpoint. It has no password: on another address than loopback
    /// everybody who reaches it can read it. Defaults to `127.0.0.1:9495`.
    pub listen: AdminListen,
    /// Names of this host by which a browser may ask for the status page and for what clients sent,
    /// besides addresses, `localhost` and the system's own name. Others are refused: any web page
    /// could point a name of its own at this address. Defaults to none.
    pub hosts: Vec<String>,
    /// What `/api/v1/top` may take.
    pub top: TopConfig,
    /// Who may look on at what listeners receive, live, and what that may cost.
    pub tap: TapConfig,
}

/// Where the endpoint listens.
pub type AdminListen = Listen<DEFAULT_PORT>;

/// `admin.top`: what `/api/v1/top` may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopConfig {
    /// Tag keys whose values are counted; of further keys only their number is told. Costs up to
    /// 64 KiB for each key with thousands of values, for as long as somebody asks. Defaults to `500`.
    pub max_tag_keys: usize,
    /// Senders of each listening socket that are told apart, those that send the most; the rest is
    /// counted together. They are counted while somebody looks at them, which costs a listener that has
    /// more to do than it can some 6 %. `0` asks for none. Defaults to `256`.
    pub max_senders: usize,
}

impl Default for TopConfig {
    fn default() -> Self {
        Self { max_tag_keys: 500, max_senders: 256 }
    }
}
