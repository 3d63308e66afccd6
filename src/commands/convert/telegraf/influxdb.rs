//! The outputs for InfluxDB.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::common;
use super::input::StatsdInput;
use super::references::{expanded, secret};

/// Options of all versions that have no counterpart.
const WITHOUT_EQUIVALENT: [(&str, &str); 20] = [
    ("user_agent", "requests have tallyd's name"),
    ("http_proxy", "tallyd connects directly, never through a proxy"),
    ("http_headers", "requests have no headers of your own; a proxy can add them"),
    ("local_address", "the system chooses the address"),
    ("influx_uint_support", "counts are signed integers"),
    ("influx_omit_timestamp", "each line has the time of its window's end"),
    ("udp_payload", "InfluxDB is reached over HTTP"),
    ("write_consistency", "the server's default applies"),
    ("database_tag", TAG),
    ("exclude_database_tag", TAG),
    ("retention_policy_tag", TAG),
    ("exclude_retention_policy_tag", TAG),
    ("bucket_tag", TAG),
    ("exclude_bucket_tag", TAG),
    ("concurrent_writes", "a forwarder sends one request after the other"),
    ("ping_timeout", "`delivery.timeout` limits each request"),
    ("read_idle_timeout", "`delivery.timeout` limits each request"),
    ("rate_limit", "the queue and the spool absorb what the server does not take"),
    ("rate_limit_period", "the queue and the spool absorb what the server does not take"),
    ("sync", "each request is acknowledged as the server does by default"),
];
const TAG: &str = "all points go to one place; use several forwarders with `select`";

pub(super) fn version_1(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let Some(mut block) = server(&mut output, "http://127.0.0.1:8086", plan)? else {
        return Ok(());
    };
    let database = output.text("database")?.unwrap_or_else(|| "telegraf".to_owned());
    block.set("database", Value::Text(expanded(&database)));
    if output.flag("skip_database_creation")? != Some(true) {
        let words = "Telegraf creates a missing database; tallyd does not, so create it first";
        plan.notes.differs(output.name_of("skip_database_creation"), words);
    }
    let policy = output.text("retention_policy")?.filter(|policy| !policy.is_empty());
    block.set_some("retention_policy", policy.map(|policy| Value::Text(expanded(&policy))));
    if let Some(user) = output.text("username")?.filter(|user| !user.is_empty()) {
        block.set("username", Value::Text(expanded(&user)));
    }
    if let Some(password) = output.text("password")?.filter(|password| !password.is_empty()) {
        let setting = output.name_of("password");
        block.set("password", plan.secret(&setting, "TALLYD_INFLUXDB_PASSWORD", secret(&password)));
    }
    finish(output, block, input, plan)
}

pub(super) fn version_2(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let Some(mut block) = server(&mut output, "http://localhost:8086", plan)? else {
        return Ok(());
    };
    block.set("version", Value::word(2));
    block.set_some("org", output.text("organization")?.map(|org| Value::Text(expanded(&org))));
    let bucket = output.text("bucket")?.unwrap_or_default();
    if bucket.is_empty() {
        plan.notes.lost(output.name_of("bucket"), "is empty: write the bucket's name");
    }
    block.set(
        "bucket",
        Value::Text(if bucket.is_empty() { "metrics".to_owned() } else { expanded(&bucket) }),
    );
    token(&mut output, &mut block, plan)?;
    finish(output, block, input, plan)
}

pub(super) fn version_3(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let Some(mut block) = server(&mut output, "http://127.0.0.1:8181", plan)? else {
        return Ok(());
    };
    block.set("version", Value::word(3));
    let database = output.text("database")?.unwrap_or_else(|| "telegraf".to_owned());
    block.set("database", Value::Text(expanded(&database)));
    token(&mut output, &mut block, plan)?;
    finish(output, block, input, plan)
}

fn token(output: &mut Section, block: &mut Block, plan: &mut Plan) -> Result<(), ConvertError> {
    if let Some(token) = output.text("token")?.filter(|token| !token.is_empty()) {
        let setting = output.name_of("token");
        block.set("token", plan.secret(&setting, "TALLYD_INFLUXDB_TOKEN", secret(&token)));
    }
    Ok(())
}

/// The section with its URL. `None` if no URL is one of HTTP, which is noted.
fn server(
    output: &mut Section,
    default: &str,
    plan: &mut Plan,
) -> Result<Option<Block>, ConvertError> {
    let mut urls = output.texts("urls")?.unwrap_or_default();
    urls.extend(output.text("url")?);
    if urls.is_empty() {
        urls.push(default.to_owned());
    }
    let setting = output.name_of("urls");
    let (http, other): (Vec<String>, Vec<String>) =
        urls.into_iter().partition(|url| url.starts_with("http") || url.starts_with('$'));
    for _ in other {
        plan.notes.lost(&setting, "InfluxDB is reached over http:// or https:// only");
    }
    let Some(url) = http.first() else { return Ok(None) };
    if http.len() > 1 {
        plan.notes.lost(
            &setting,
            "Telegraf writes to one of several servers; only the first one is used. Name a load balancer, or use \
             several forwarders, each of which gets all points",
        );
    }
    let mut block = Block::default();
    let (url, credentials) = split_credentials(url);
    block.set("url", Value::Text(expanded(&url)));
    if let Some((user, password)) = credentials {
        block.set("username", Value::Text(expanded(&user)));
        block.set("password", plan.secret(&setting, "TALLYD_INFLUXDB_PASSWORD", secret(&password)));
    }
    Ok(Some(block))
}

/// Takes `user:password@` out of a URL.
fn split_credentials(url: &str) -> (String, Option<(String, String)>) {
    let split = || {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (credentials, host) = rest[..end].rsplit_once('@')?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        Some((format!("{scheme}://{host}{}", &rest[end..]), (user.to_owned(), password.to_owned())))
    };
    match split() {
        Some((url, credentials)) => (url, Some(credentials)),
        None => (url.to_owned(), None),
    }
}

fn finish(
    mut output: Section,
    mut block: Block,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    if output.text("content_encoding")?.as_deref() == Some("identity") {
        block.set("gzip", Value::word(false));
    }
    common::tls(&mut output, &mut block, plan)?;
    output.without_equivalent(&WITHOUT_EQUIVALENT, &mut plan.notes);
    block.append(&input.naming);
    common::finish("influxdb", output, block, input, plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        let (url, credentials) = split_credentials("https://u:p:w@h:8086/x@y");
        assert_eq!(
            (url.as_str(), credentials),
            ("https://h:8086/x@y", Some(("u".into(), "p:w".into())))
        );
        assert_eq!(split_credentials("http://h:8086"), ("http://h:8086".to_owned(), None));
    }
}
