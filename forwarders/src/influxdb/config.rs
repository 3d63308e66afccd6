//! `forwarders.influxdb`: the configuration of the InfluxDB destination, and checks across its
//! keys.

use serde::Deserialize;
use serde::de::Deserializer;

use super::write::WriteApi;
use crate::config::{DeliveryConfig, InvalidKey};
use crate::format::influx::{LineNamingStyle, TelegrafConfig};
use crate::http::{HttpUrl, TlsConfig, Url, authorization};
use crate::idle::{IdleConfig, IdleFor};
use crate::select::SelectConfig;
use basics::bounds::between;
use basics::text::Secret;
use basics::units::ByteSize;

/// Lower limit of `max_bytes`: most lines are shorter.
const BYTES_MIN: ByteSize = ByteSize::from_bytes(1 << 10);
/// Upper limit of `max_bytes`: no server accepts more by default.
const BYTES_MAX: ByteSize = ByteSize::from_mib(64);
/// Upper limit of `max_lines`.
const LINES_MAX: usize = 1_000_000;

/// `forwarders.influxdb`: one database or bucket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluxdbConfig {
    /// The destination's name in the ledger and the log, unique among all destinations. Defaults to
    /// `influxdb`.
    #[serde(default)]
    pub name: Option<String>,
    /// The server's address: `http://` or `https://`, host and port, and the path of a proxy in front
    /// of it, if there is one. Required.
    pub url: HttpUrl,
    /// The server's HTTP API: `1`, `2` or `3`. Defaults to `1`.
    #[serde(default)]
    pub version: InfluxdbVersion,
    /// Versions 1 and 3: the database to write into. Version 3 creates a missing one, version 1
    /// does not. Required there.
    #[serde(default)]
    pub database: Option<String>,
    /// Version 1: the retention policy to write into. Defaults to the database's own default.
    #[serde(default)]
    pub retention_policy: Option<String>,
    /// Version 1: the name of the user, which needs `password`. None by default, for a server
    /// without authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// Version 1: the password of `username`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Version 2: the organisation, by name or id. None by default, for servers without
    /// organisations, such as VictoriaMetrics.
    #[serde(default)]
    pub org: Option<String>,
    /// Version 2: the bucket to write into, by name or id. Required there.
    #[serde(default)]
    pub bucket: Option<String>,
    /// Versions 2 and 3: a token with permission to write. None by default, for a server without
    /// authentication.
    #[serde(default)]
    pub token: Option<Secret>,
    /// `tallyd`, the metric's name and tallyd's fields, or `telegraf`, the names, fields
    /// and types of Telegraf's statsd input, so that dashboards made for it keep working. Defaults to
    /// `tallyd`.
    #[serde(default)]
    pub naming: LineNamingStyle,
    /// Options of Telegraf's statsd input, for `naming: telegraf`.
    #[serde(default)]
    pub telegraf: TelegrafConfig,
    /// Whether to compress requests: a tenth of the traffic, for about 10 ms of CPU time per 10,000
    /// points. Defaults to `true`.
    #[serde(default = "default_gzip")]
    pub gzip: bool,
    /// Maximum number of lines in a request, one per point, 1 to 1000000. A larger number makes
    /// fewer requests but repeats more lines when one fails. Defaults to `5000`.
    #[serde(default = "default_max_lines", deserialize_with = "max_lines")]
    pub max_lines: usize,
    /// Maximum size of a request before compression, 1KiB to 64MiB; a longer line is dropped and
    /// counted as `too_large`. Keep it below the limits of the server and of proxies in front of
    /// it. Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "max_bytes")]
    pub max_bytes: ByteSize,
    /// The trusted certificates of an `https://` server.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool. `timeout` limits each request; a window may take
    /// several.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// The HTTP API of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum InfluxdbVersion {
    /// `/write` with a database and optionally a user: InfluxDB 1, and most servers with an
    /// endpoint for InfluxDB clients.
    #[default]
    #[serde(rename = "1")]
    One,
    /// `/api/v2/write` with a bucket and a token: InfluxDB 2 and InfluxDB Cloud.
    #[serde(rename = "2")]
    Two,
    /// `/api/v3/write_lp` with a database and a token: InfluxDB 3.
    #[serde(rename = "3")]
    Three,
}

impl InfluxdbVersion {
    fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

impl InfluxdbConfig {
    /// Returns the addresses and credentials of requests.
    ///
    /// # Errors
    /// An error at a key that conflicts with others, or without a key if one is missing.
    pub(crate) fn api(&self) -> Result<WriteApi, InvalidKey> {
        self.refuse_keys_of_other_versions()?;
        self.refuse_useless_keys()?;
        let authorization = self.authorization()?;
        // The APIs name their units differently.
        let [in_seconds, in_millis] = match self.version {
            InfluxdbVersion::One | InfluxdbVersion::Two => ["s", "ms"],
            InfluxdbVersion::Three => ["second", "millisecond"],
        };
        Ok(WriteApi {
            in_seconds: self.address(in_seconds)?,
            in_millis: self.address(in_millis)?,
            authorization,
        })
    }

    /// Returns the address for lines with timestamps in this unit.
    fn address(&self, precision: &str) -> Result<Url, InvalidKey> {
        let database = given(self.database.as_ref());
        let policy = given(self.retention_policy.as_ref());
        let (org, bucket) = (given(self.org.as_ref()), given(self.bucket.as_ref()));
        let precision = Some(precision);
        let (path, parameters) = match self.version {
            InfluxdbVersion::One => {
                let database = self.required("database", database)?;
                ("/write", [("db", database), ("rp", policy), ("precision", precision)])
            }
            InfluxdbVersion::Two => {
                let bucket = self.required("bucket", bucket)?;
                ("/api/v2/write", [("org", org), ("bucket", bucket), ("precision", precision)])
            }
            InfluxdbVersion::Three => {
                let database = self.required("database", database)?;
                let partial = ("accept_partial", Some("true"));
                ("/api/v3/write_lp", [("db", database), ("precision", precision), partial])
            }
        };
        let parameters: Vec<(&str, &str)> =
            parameters.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        self.url.below(path, &parameters).map_err(|reason| InvalidKey::at("url", reason))
    }

    /// Returns a value that this version requires.
    fn required<'a>(
        &self,
        key: &str,
        value: Option<&'a str>,
    ) -> Result<Option<&'a str>, InvalidKey> {
        let number = self.version.number();
        let words = || format!("`{key}` is missing: version {number} writes into one");
        value.map(Some).ok_or_else(|| InvalidKey::missing(words()))
    }

    /// Returns the value of the `Authorization` header.
    fn authorization(&self) -> Result<Option<Secret>, InvalidKey> {
        let token = self.token.as_ref().map(Secret::reveal).filter(|token| !token.is_empty());
        let password = self.password.as_ref().map(Secret::reveal);
        Ok(match (self.version, token, given(self.username.as_ref()), password) {
            (InfluxdbVersion::One, _, Some(user), Some(password)) => {
                // Basic authentication ends the user name at the first colon.
                if user.contains(':') {
                    return Err(InvalidKey::at("username", "must hold no `:`".to_owned()));
                }
                Some(authorization::basic(user, password))
            }
            (InfluxdbVersion::One, _, Some(_), None) => {
                let reason = "needs a `password` too, which may be empty";
                return Err(InvalidKey::at("username", reason.to_owned()));
            }
            (InfluxdbVersion::One, _, None, Some(password)) if !password.is_empty() => {
                let reason = "needs a `username` too";
                return Err(InvalidKey::at("password", reason.to_owned()));
            }
            (InfluxdbVersion::Two, Some(token), ..) => Some(Secret::new(format!("Token {token}"))),
            (InfluxdbVersion::Three, Some(token), ..) => Some(authorization::bearer(token)),
            _ => None,
        })
    }

    fn refuse_keys_of_other_versions(&self) -> Result<(), InvalidKey> {
        use InfluxdbVersion::{One, Three, Two};
        let keys: [(&'static str, bool, &[InfluxdbVersion], &str); 7] = [
            ("database", self.database.is_some(), &[One, Three], "writes into a `bucket`"),
            ("retention_policy", self.retention_policy.is_some(), &[One], "has no such thing"),
            ("username", self.username.is_some(), &[One], "asks for a `token`"),
            ("password", self.password.is_some(), &[One], "asks for a `token`"),
            ("org", self.org.is_some(), &[Two], "has no organisations"),
            ("bucket", self.bucket.is_some(), &[Two], "writes into a `database`"),
            ("token", self.token.is_some(), &[Two, Three], "asks for `username` and `password`"),
        ];
        for (key, is_given, versions, instead) in keys {
            if is_given && !versions.contains(&self.version) {
                let numbers: Vec<String> =
                    versions.iter().map(|version| version.number().to_string()).collect();
                let (number, numbers) = (self.version.number(), numbers.join(" and "));
                let reason = format!(
                    "belongs to version {numbers}, and this is version {number}, which {instead}: \
                     change `version`, or leave it out"
                );
                return Err(InvalidKey::at(key, reason));
            }
        }
        Ok(())
    }

    fn refuse_useless_keys(&self) -> Result<(), InvalidKey> {
        if self.url.has_query() {
            let reason = "must end before the `?`: database and precision are added to it";
            return Err(InvalidKey::at("url", reason.to_owned()));
        }
        if !self.url.is_https() && self.tls != TlsConfig::default() {
            let reason = "is for an https:// url, and this one is http://";
            return Err(InvalidKey::at("tls", reason.to_owned()));
        }
        Ok(())
    }
}

/// Returns a text unless it is empty, as `${VAR:-}` may leave it.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

const fn default_gzip() -> bool {
    true
}

const fn default_max_lines() -> usize {
    5_000
}

const fn default_max_bytes() -> ByteSize {
    ByteSize::from_mib(1)
}

fn max_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=LINES_MAX)
}

fn max_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, BYTES_MIN..=BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(members: &str) -> InfluxdbConfig {
        serde_json::from_str(&format!(r#"{{"url": "http://eu:8086/", {members}}}"#)).unwrap()
    }

    fn asked(members: &str) -> (String, Option<String>) {
        let api = config(members).api().unwrap();
        let authorization = api.authorization.map(|secret| secret.reveal().to_owned());
        (api.in_seconds.to_string(), authorization)
    }

    fn invalid_key(members: &str) -> (Option<&'static str>, String) {
        let InvalidKey { key, reason } = config(members).api().unwrap_err();
        (key, reason)
    }

    #[test]
    fn each_version_has_its_path_parameters_and_credentials() {
        assert_eq!(
            asked(r#""database": "m""#),
            ("http://eu:8086/write?db=m&precision=s".into(), None)
        );
        assert_eq!(
            asked(
                r#""database": "m&x", "retention_policy": "a b", "username": "joe", "password": "p:w""#
            ),
            (
                "http://eu:8086/write?db=m%26x&rp=a%20b&precision=s".into(),
                Some("Basic am9lOnA6dw==".into())
            )
        );
        assert_eq!(
            asked(r#""version": "2", "org": "o", "bucket": "b", "token": "t""#),
            (
                "http://eu:8086/api/v2/write?org=o&bucket=b&precision=s".into(),
                Some("Token t".into())
            )
        );
        assert_eq!(
            asked(r#""version": "3", "database": "m", "token": "t""#),
            (
                "http://eu:8086/api/v3/write_lp?db=m&precision=second&accept_partial=true".into(),
                Some("Bearer t".into())
            )
        );
    }

    #[test]
    fn windows_that_end_within_a_second_are_written_with_milliseconds() {
        for (members, parameter) in [
            (r#""database": "m""#, "precision=ms"),
            (r#""version": "2", "bucket": "m""#, "precision=ms"),
            (r#""version": "3", "database": "m""#, "precision=millisecond"),
        ] {
            let uri = config(members).api().unwrap().in_millis.to_string();
            assert!(uri.contains(parameter), "{uri}");
        }
    }

    #[test]
    fn an_empty_credential_is_none() {
        let members = r#""version": "2", "bucket": "b", "token": """#;
        assert_eq!(
            asked(members),
            ("http://eu:8086/api/v2/write?bucket=b&precision=s".into(), None)
        );
        let members = r#""database": "m", "username": "", "password": """#;
        assert_eq!(asked(members).1, None);
    }

    #[test]
    fn keys_that_do_not_go_together_are_named_with_what_to_change() {
        for (members, key, words) in [
            (r#""bucket": "b""#, Some("bucket"), "version 1, which writes into a `database`"),
            (r#""database": "m", "token": "t""#, Some("token"), "belongs to version 2 and 3"),
            (r#""version": "2", "database": "m""#, Some("database"), "writes into a `bucket`"),
            (r#""version": "2", "bucket": "m", "username": "u""#, Some("username"), "a `token`"),
            (r#""version": "3", "database": "m", "org": "o""#, Some("org"), "no organisations"),
            (r#""version": "3", "database": "m", "password": "o""#, Some("password"), "`token`"),
            (r#""database": "m", "username": "u""#, Some("username"), "`password`"),
            (r#""database": "m", "password": "u""#, Some("password"), "`username`"),
            (r#""database": "m", "username": "a:b", "password": "u""#, Some("username"), "no `:`"),
            (r#""database": "m", "tls": {"ca_file": "/x"}"#, Some("tls"), "https://"),
            (r#""version": "1""#, None, "`database` is missing"),
            (r#""version": "2""#, None, "`bucket` is missing"),
            (r#""version": "3", "database": """#, None, "`database` is missing"),
        ] {
            let (at, reason) = invalid_key(members);
            assert_eq!(at, key, "{members}");
            assert!(reason.contains(words), "{members}: {reason}");
        }
    }

    #[test]
    fn wrong_values_are_refused_where_they_stand() {
        for (members, words) in [
            (r#""version": "4""#, "expected one of `1`, `2`, `3`"),
            (r#""max_lines": 0"#, "must be between 1 and 1000000, not 0"),
            (r#""max_bytes": "1B""#, "must be between 1KiB and 64MiB, not 1B"),
            (r#""databse": "m""#, "unknown field `databse`"),
        ] {
            let json = format!(r#"{{"url": "http://eu:8086", {members}}}"#);
            let error = serde_json::from_str::<InfluxdbConfig>(&json).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_in_the_debug_output() {
        let config = config(r#""password": "canary-1", "token": "canary-2""#);
        let shown = format!("{config:?}");
        assert!(!shown.contains("canary"), "{shown}");
        let api = self::config(r#""database": "m", "username": "u", "password": "canary""#);
        let shown = format!("{:?}", api.api().unwrap());
        assert!(!shown.contains("dTpjYW5hcnk="), "{shown}");
    }
}
