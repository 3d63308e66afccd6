//! `pystatsd`: `pystatsd.conf`, which tallyd also reads as it is. The converted form names what
//! pystatsd has by default.

use super::address::address;
use super::document::{Block, Value};
use super::plan::{Plan, Secret};
use super::setting::{ConvertError, Section, Setting};
use super::source::SourceText;

/// Converts pystatsd's configuration.
///
/// # Errors
/// If it is no YAML, or a setting has the wrong type.
pub(super) fn convert(source: &SourceText, keeps_secrets: bool) -> Result<Plan, ConvertError> {
    let mut root = Section::new("", source.yaml()?)?;
    let mut plan = Plan::new(keeps_secrets);
    let host = root.text("bind_address")?.unwrap_or_else(|| "127.0.0.1".to_owned());
    let port = root.text("bind_port")?.unwrap_or_else(|| "5090".to_owned());
    let mut listener = Block::default();
    listener.set("protocol", Value::word("json")).set("address", Value::Text(address(&host, port)));
    plan.listeners.push(listener);
    match root.flag("debug_mode")? {
        Some(true) => {
            plan.top.set("debug_mode", Value::word(true));
        }
        Some(false) => {}
        None => plan.notes.differs("debug_mode", "is on by default in pystatsd, and off in tallyd"),
    }
    agent(&mut root, &mut plan)?;
    forwarders(&mut root, &mut plan)?;
    differences(&mut plan);
    root.finish(&mut plan.notes);
    Ok(plan)
}

fn agent(root: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let Some(mut agent) = root.section("agent")? else { return Ok(()) };
    if let Some(mut tags) = agent.section("tags")? {
        for key in tags.keys() {
            match tags.take(&key) {
                Some(Setting::Literal(word)) => {
                    plan.agent.block("tags").set(key, Value::Word(word));
                }
                // tallyd has always expanded `${…}` in such a file.
                Some(Setting::Text(text)) => {
                    plan.agent.block("tags").set(key, Value::Text(text));
                }
                None => {}
                Some(_) => return Err(ConvertError(format!("`agent.tags.{key}` must be a text"))),
            }
        }
    }
    agent.finish(&mut plan.notes);
    Ok(())
}

fn forwarders(root: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let Some(mut forwarders) = root.section("forwarders")? else { return Ok(()) };
    if let Some(mut kafka) = forwarders.section("kafka")? {
        let mut section = Block::default();
        for key in ["kafka_broker", "kafka_topic"] {
            section.set_some(key, kafka.text(key)?.map(Value::Text));
        }
        let apikey = match kafka.take("kafka_apikey") {
            None => None,
            // A number stays one in the records, also if it comes from the environment.
            Some(Setting::Literal(number)) => {
                Some(match plan.secret(APIKEY, APIKEY_VARIABLE, Secret::Literal(number)) {
                    Value::Text(text) => Value::Word(text),
                    other => other,
                })
            }
            Some(Setting::Text(text)) if text.contains("${") => Some(Value::Text(text)),
            Some(Setting::Text(text)) => {
                Some(plan.secret(APIKEY, APIKEY_VARIABLE, Secret::Literal(text)))
            }
            Some(_) => return Err(ConvertError(format!("`{APIKEY}` must be a text"))),
        };
        section.set_some("kafka_apikey", apikey);
        section.set_some(
            "kafka_tenant_id",
            match kafka.take("kafka_tenant_id") {
                Some(Setting::Literal(word)) => Some(Value::Word(word)),
                Some(Setting::Text(text)) => Some(Value::Text(text)),
                _ => None,
            },
        );
        section.set("format", Value::word("pystatsd"));
        kafka.finish(&mut plan.notes);
        plan.forwarders.push(("kafka", section));
    }
    forwarders.finish(&mut plan.notes);
    Ok(())
}

const APIKEY: &str = "forwarders.kafka.kafka_apikey";
const APIKEY_VARIABLE: &str = "TALLYD_KAFKA_APIKEY";

/// Differences that no key can remove.
fn differences(plan: &mut Plan) {
    for (setting, words) in [
        (
            "counters",
            "pystatsd never sent them and counted from 1; tallyd sends the sum of each window",
        ),
        (
            "traces",
            "pystatsd sent totals since its start; tallyd sends the count of each window, unless \
             `running_totals: true`",
        ),
        (
            "STATSD_BIND_PORT, STATS_BIND_PORT",
            "pystatsd reads its port from these variables too; write ${STATSD_BIND_PORT:-5090} for that",
        ),
    ] {
        plan.notes.differs(setting, words);
    }
}
