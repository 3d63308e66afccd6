//! The JSON Schemas of all record formats, against records that a real broker returns.

use std::collections::BTreeSet;

use common::{Daemon, root};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::broker;
use super::topic::read_back;

/// Messages of every type, with tags of every JSON type, special names and special values.
const MESSAGES: [&str; 9] = [
    r#"{"metric_name":"c","metric_type":"counter","count":2.5,"port":5060,"ok":true,"ratio":1.50}"#,
    r#"{"metric_name":"c.down","metric_type":"counter","count":-2}"#,
    r#"{"metric_name":"g","metric_type":"guage","value":"-43","name":"mine","type":"t","stats":"s"}"#,
    r#"{"metric_name":"t","metric_type":"timer","value":12.5}"#,
    r#"{"metric_name":"t.zero","metric_type":"timer","value":0}"#,
    r#"{"metric_name":"t.negative","metric_type":"timer","value":-1}"#,
    r#"{"metric_name":"s","metric_type":"set","value":"a"}"#,
    r#"{"metric_name":"x","metric_type":"trace","stage":"lögin\n"}"#,
    r#"{"metric_name":"\u0007","metric_type":"trace","a b":"1e999"}"#,
];

fn schema(name: &str) -> Validator {
    let text = std::fs::read_to_string(root().join("docs").join(name)).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// The records of all messages with these options, and of idle windows after them.
fn records(broker: &str, test: &str, options: &str) -> Vec<Value> {
    let topic = format!("tallyd-schema-{test}-{}", std::process::id());
    let daemon = Daemon::start(&format!(
        "bind_port: 0\ninterval: 1s\nagent: {{ tags: {{ environment: stage, rack: 7 }} }}\n\
         aggregation: {{ percentiles: [50, 99.9] }}\n\
         forwarders: {{ kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {topic}, \
         idle: statsd, {options} }} }}\n"
    ));
    MESSAGES.iter().for_each(|message| daemon.send(message));
    daemon.wait_received(MESSAGES.len() as u64);
    // With the idle points of another window.
    let enough = 2 * MESSAGES.len() as u64;
    daemon.wait_for("two windows", |status| {
        status["forwarders"]["kafka"]["delivered"].as_u64().unwrap() >= enough
    });
    assert!(daemon.stop().status.success());
    let records = read_back(broker, &topic, |records| records.len() as u64 >= enough);
    records.into_iter().map(|(_, record)| record).collect()
}

fn assert_valid(schema: &Validator, records: &[Value]) {
    for record in records {
        let errors: Vec<_> = schema.iter_errors(record).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{record}: {errors:?}");
    }
}

#[test]
fn every_pystatsd_record_of_a_real_broker_fits_the_schema_and_wrong_ones_do_not() {
    let Some(broker) = broker() else { return };
    let schema = schema("pystatsd.schema.json");
    let plain = records(&broker, "pystatsd", "kafka_apikey: 7444, kafka_tenant_id: 69bc");
    assert_valid(&schema, &plain);
    let gauge = plain.iter().find(|record| record["name"] == "g").unwrap();
    assert_eq!((&gauge["tag.name"], &gauge["type"]), (&json!("mine"), &json!("t")));
    let full = records(&broker, "pystatsd-full", "type: true, running_totals: true");
    assert_valid(&schema, &full);
    let kinds: BTreeSet<&str> =
        full.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["counter", "gauge", "set", "timer", "trace"]));

    let timer = plain.iter().find(|record| record["name"] == "t").unwrap();
    for (key, wrong) in [
        ("apikey", Value::Null),
        ("name", json!(1)),
        ("value", json!("43")),
        ("@version", json!(1)),
        ("@timestamp", json!("2017-03-21 16:34:34")),
        ("stats", json!({"count": 1})),
        ("stats", json!({"count": 0, "sum": 0})),
        ("stage", json!({"a": 1})),
    ] {
        let mut record = timer.clone();
        record[key] = wrong;
        assert!(!schema.is_valid(&record), "{record}");
    }
}

#[test]
fn every_json_record_of_a_real_broker_fits_the_schema() {
    let Some(broker) = broker() else { return };
    let schema = schema("record.schema.json");
    assert_valid(&schema, &records(&broker, "json", "format: json"));
    assert_valid(&schema, &records(&broker, "sketches", "format: json, sketches: true"));
}

#[test]
fn every_otlp_record_of_a_real_broker_fits_the_schema_and_wrong_ones_do_not() {
    let Some(broker) = broker() else { return };
    let schema = schema("otlp.schema.json");
    let records = records(&broker, "otlp", "format: otlp_json");
    assert_valid(&schema, &records);
    let metric =
        |record: &mut Value| record["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0].take();
    let forms: BTreeSet<String> = records
        .iter()
        .flat_map(|record| metric(&mut record.clone()).as_object().unwrap().clone())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(forms, ["exponentialHistogram", "gauge", "name", "sum"].map(str::to_owned).into());
    for wrong in [json!({"name": "m"}), json!({"name": "m", "sum": {"dataPoints": []}})] {
        let mut record = records[0].clone();
        record["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0] = wrong;
        assert!(!schema.is_valid(&record), "{record}");
    }
}
