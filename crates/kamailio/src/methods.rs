//! The table of the methods that tallyd knows.
//!
//! The configuration, the poller, the mapping, the exporters' names and the fuzz target use this table;
//! a test compares it with the documentation and with recorded replies.

use binrpc::BinrpcValue;

use crate::call::MethodCall;
use crate::mapping::{
    MapReply, MethodReply, codes, dispatcher, fields, generic, memory, peers, runinfo, statistics,
};
use crate::reading::Readings;

/// The method that every poll calls first, because its reply reveals a restart.
pub const UPTIME: &str = "core.uptime";

/// Every method with default arguments, a specific mapping function, or a place among the default
/// methods. The default methods are the methods that the two older exporters call; they are polled in
/// this order.
pub const METHODS: &[KnownMethod] = &[
    KnownMethod::new("tm.stats", codes::transactions).by_default(),
    KnownMethod::new("sl.stats", codes::stateless_replies).by_default(),
    KnownMethod::new("core.shmmem", memory::shared).by_default(),
    KnownMethod::new(UPTIME, fields::levels).by_default(),
    KnownMethod::new("core.tcp_info", fields::levels).by_default(),
    KnownMethod::new("stats.fetch", statistics::map)
        .with_arguments("all")
        .yielding(statistics::is_statistic)
        .by_default(),
    KnownMethod::new("pkg.stats", memory::private).by_default(),
    KnownMethod::new("dispatcher.list", dispatcher::map).by_default(),
    KnownMethod::new("tls.info", fields::levels).by_default(),
    KnownMethod::new("dlg.stats_active", fields::levels).by_default(),
    KnownMethod::new("dmq.list_nodes", peers::dmq_nodes).by_default(),
    KnownMethod::new("rtpengine.show", peers::media_proxies).with_arguments("all").by_default(),
    KnownMethod::new("stats.fetchn", statistics::map)
        .with_arguments("all")
        .yielding(statistics::is_statistic),
    KnownMethod::new("shm.stats", memory::shared),
    KnownMethod::new("core.runinfo", runinfo::map),
];

/// A method that tallyd knows.
#[derive(Clone, Copy, Debug)]
pub struct KnownMethod {
    name: &'static str,
    default_arguments: &'static str,
    is_default: bool,
    map: MapReply,
    /// Recognizes the names of its readings, where they do not begin with `kamailio.` and its name.
    yields: Option<fn(&str) -> bool>,
}

impl KnownMethod {
    const fn new(name: &'static str, map: MapReply) -> Self {
        Self { name, default_arguments: "", is_default: false, map, yields: None }
    }

    /// Passes these arguments where the configuration gives none.
    const fn with_arguments(self, default_arguments: &'static str) -> Self {
        Self { default_arguments, ..self }
    }

    const fn yielding(self, yields: fn(&str) -> bool) -> Self {
        Self { yields: Some(yields), ..self }
    }

    /// Polls the method where the configuration lists `default`.
    const fn by_default(self) -> Self {
        Self { is_default: true, ..self }
    }

    /// The method's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The call of the method as one of the default methods.
    #[must_use]
    pub fn default_call(&self) -> MethodCall {
        MethodCall::unlisted(self.name, self.arguments())
    }

    /// Whether its replies yield readings of this name.
    #[must_use]
    pub fn yields(&self, reading: &str) -> bool {
        match self.yields {
            Some(yields) => yields(reading),
            None => {
                let field =
                    reading.strip_prefix("kamailio.").and_then(|r| r.strip_prefix(self.name));
                // A reply that is a number alone becomes a reading with the name of the method.
                field.is_some_and(|field| field.is_empty() || field.starts_with('.'))
            }
        }
    }

    fn arguments(&self) -> Vec<String> {
        self.default_arguments.split_ascii_whitespace().map(str::to_owned).collect()
    }
}

/// The default methods, in the order in which they are polled.
pub fn defaults() -> impl Iterator<Item = &'static KnownMethod> {
    METHODS.iter().filter(|method| method.is_default)
}

/// Reads a call as the configuration writes it, `name argument argument`.
///
/// # Errors
/// When the text is blank.
pub fn parse_call(text: &str) -> Result<MethodCall, String> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().ok_or("a method has a name, such as tm.stats")?;
    let mut arguments: Vec<String> = words.map(str::to_owned).collect();
    if arguments.is_empty() {
        arguments = find(name).map(KnownMethod::arguments).unwrap_or_default();
    }
    Ok(MethodCall::listed(name, arguments))
}

/// Adds the readings of a reply. Skips fields that are not numbers, and records of an unexpected form:
/// versions of Kamailio differ in their replies.
pub fn map_reply(call: &MethodCall, records: &[BinrpcValue], readings: &mut Readings) {
    let map = find(call.name()).map_or(generic::map as MapReply, |method| method.map);
    let reply = MethodReply {
        prefix: format!("kamailio.{}", call.name()),
        arguments: call.arguments(),
        records,
    };
    map(&reply, readings);
}

fn find(name: &str) -> Option<&'static KnownMethod> {
    METHODS.iter().find(|method| method.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_method_is_in_the_table_once() {
        let names: HashSet<_> = METHODS.iter().map(KnownMethod::name).collect();
        assert_eq!(names.len(), METHODS.len());
    }

    #[test]
    fn the_documentation_names_every_method_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kamailio.md");
        let text = std::fs::read_to_string(path).unwrap();
        for method in METHODS {
            let call = method.default_call().to_string();
            let shown = if method.is_default { &call } else { method.name };
            assert!(text.contains(&format!("`{shown}`")), "docs/kamailio.md lacks `{shown}`");
        }
    }

    #[test]
    fn the_sample_configuration_lists_the_default_methods() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../etc/tallyd.yaml");
        let sample = std::fs::read_to_string(path).unwrap().replace("\n# ", " ");
        let mut calls: Vec<_> =
            defaults().map(|method| method.default_call().to_string()).collect();
        let last = calls.pop().unwrap();
        let list = format!("`default` stands for {} and {last}.", calls.join(", "));
        assert!(sample.contains(&list), "etc/tallyd.yaml lacks: {list}");
    }

    #[test]
    fn every_poll_begins_with_a_method_of_the_table() {
        assert!(find(UPTIME).is_some_and(|method| method.is_default));
    }

    #[test]
    fn a_method_yields_names_that_begin_with_its_own() {
        let method = find("tls.info").unwrap();
        assert!(method.yields("kamailio.tls.info.opened_connections"));
        assert!(method.yields("kamailio.tls.info") && !method.yields("kamailio.tls.infos.x"));
        let statistics = find("stats.fetchn").unwrap();
        assert!(statistics.yields("kamailio.tls.info") && statistics.yields("kamailio.script.a.b"));
        assert!(!statistics.yields("kamailio.tls.info.opened_connections"));
    }
}
