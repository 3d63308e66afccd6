//! The filter of a tap: which samples and rejected messages a client requests.

use std::net::IpAddr;

use api::tap::parameter;
use basics::globs::Globs;
use memchr::memmem::Finder;
use model::MetricKind;

use crate::listener::allow::Network;
use crate::protocol::Tags;
use crate::series_filter::{TagFilter, VALUES_MAX, parse_kind};

/// The kinds of events that a client receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventSelection {
    /// Samples.
    #[default]
    Samples,
    /// Rejected messages.
    Rejected,
    /// Both.
    Both,
}

/// The samples and rejected messages that a client requests.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    shows: EventSelection,
    names: Globs,
    /// For each glob, a text that every matching name contains; empty if a glob has no such text.
    needles: Vec<Finder<'static>>,
    tags: Vec<TagFilter>,
    /// Empty for all kinds.
    kinds: Vec<MetricKind>,
    /// Empty for all senders.
    from: Vec<Network>,
}

/// The request of a tap.
#[derive(Clone, Debug, Default)]
pub struct TapQuery {
    /// Which samples.
    pub filter: Filter,
    /// Most samples a second; `None` for as many as the daemon shows.
    pub rate: Option<u64>,
}

impl TapQuery {
    /// Parses the parameters of a request.
    ///
    /// # Errors
    /// A message for the user, which names the wrong parameter and the allowed values.
    pub fn parse<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = Self::default();
        let mut names: Vec<&str> = Vec::new();
        let (mut shows, filter) = (None, &mut query.filter);
        for (key, value) in parameters {
            match key {
                parameter::MATCH => names.push(value),
                parameter::TAG => filter.tags.push(TagFilter::parse(value)?),
                parameter::TYPE => filter.kinds.push(parse_kind(value)?),
                parameter::FROM => filter.from.push(Network::parse(value)?),
                parameter::REJECTED => shows = Some(rejected(value)?),
                parameter::RATE => query.rate = Some(rate(value)?),
                _ => {
                    return Err(format!(
                        "unknown parameter `{key}`: expected match, tag, type, from, rejected or \
                         rate"
                    ));
                }
            }
        }
        let counts = [names.len(), filter.tags.len(), filter.kinds.len(), filter.from.len()];
        if counts.iter().any(|count| *count > VALUES_MAX) {
            return Err(format!("at most {VALUES_MAX} values are allowed for each parameter"));
        }
        filter.shows = shows.unwrap_or_default();
        let of_samples = names.len() + filter.tags.len() + filter.kinds.len();
        if filter.shows == EventSelection::Rejected && of_samples > 0 {
            return Err(
                "rejected messages have no name, type or tags: without samples, `from` is \
                        the only filter"
                    .to_owned(),
            );
        }
        filter.names = Globs::parse(&names)?;
        let needles: Option<Vec<_>> = names.iter().map(|glob| literal_of(glob)).collect();
        let needles = needles.unwrap_or_default().into_iter();
        filter.needles = needles.map(|needle| Finder::new(needle).into_owned()).collect();
        Ok(query)
    }
}

impl Filter {
    /// Whether the client requests samples.
    #[must_use]
    pub fn wants_samples(&self) -> bool {
        self.shows != EventSelection::Rejected
    }

    /// Whether the client requests rejected messages from this sender.
    #[must_use]
    pub fn wants_rejected(&self, from: Option<IpAddr>) -> bool {
        self.shows != EventSelection::Samples && self.wants_from(from)
    }

    /// Whether the client requests every rejected message.
    #[must_use]
    pub fn wants_all_rejected(&self) -> bool {
        self.shows != EventSelection::Samples && self.from.is_empty()
    }

    /// Whether the client requests every sample.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.wants_samples()
            && self.names.matches("").is_none()
            && self.tags.is_empty()
            && self.kinds.is_empty()
            && self.from.is_empty()
    }

    /// Whether these bytes may contain a sample that the client requests. This is much faster than
    /// decoding them.
    #[must_use]
    pub fn may_want(&self, bytes: &[u8], from: Option<IpAddr>) -> bool {
        if !self.wants_samples() || !self.wants_from(from) {
            return false;
        }
        // A name may contain escapes in JSON, and tags in brackets in statsd.
        self.needles.is_empty()
            || self.needles.iter().any(|needle| needle.find(bytes).is_some())
            || memchr::memchr2(b'\\', b'[', bytes).is_some()
    }

    /// A rough estimate of the time that [`Filter::may_want`] takes for this many bytes.
    #[must_use]
    pub fn glance_ns(&self, bytes: usize) -> u64 {
        (self.needles.len() as u64 + 1) * (20 + bytes as u64 / 8)
    }

    /// Whether the client requests samples with this kind and name.
    #[must_use]
    pub fn wants_metric(&self, kind: MetricKind, name: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.names.matches(name).unwrap_or(true)
    }

    /// Whether the client requests samples with these tags, which include the agent's.
    #[must_use]
    pub fn wants_tags(&self, tags: &Tags<'_>) -> bool {
        self.tags
            .iter()
            .all(|wanted| wanted.is_in(tags.iter().map(|(key, value)| (&**key, &**value))))
    }

    /// Whether the client requests messages from this sender.
    #[must_use]
    pub fn wants_from(&self, from: Option<IpAddr>) -> bool {
        self.from.is_empty()
            || from.is_some_and(|ip| self.from.iter().any(|network| network.contains(ip)))
    }
}

fn rejected(word: &str) -> Result<EventSelection, String> {
    match word {
        "only" => Ok(EventSelection::Rejected),
        "also" => Ok(EventSelection::Both),
        _ => Err(format!("`rejected` must be `only` or `also`, not `{word}`")),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("`rate` must be a number of samples per second, not `{text}`"))
}

/// The longest text that every match of a glob contains; `None` for globs with sets or escapes.
fn literal_of(glob: &str) -> Option<&str> {
    if glob.contains(['[', '{', '\\']) {
        return None;
    }
    glob.split(['*', '?']).max_by_key(|part| part.len()).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(parameters: &[(&str, &str)]) -> Filter {
        TapQuery::parse(parameters.iter().copied()).unwrap().filter
    }

    fn tags(tags: &[(&'static str, &'static str)]) -> Tags<'static> {
        tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn a_sample_matches_any_value_of_a_parameter_and_all_tags() {
        let filter = filter(&[
            ("match", "user.*"),
            ("match", "db.queries"),
            ("type", "counter"),
            ("type", "timer"),
            ("tag", "stage=log*"),
            ("tag", "host"),
        ]);
        assert!(filter.wants_metric(MetricKind::Timer, "user.a.b"));
        assert!(filter.wants_metric(MetricKind::Counter, "db.queries"));
        assert!(!filter.wants_metric(MetricKind::Gauge, "user.a"));
        assert!(!filter.wants_metric(MetricKind::Timer, "db.queries.slow"));
        assert!(filter.wants_tags(&tags(&[("host", "a"), ("stage", "login")])));
        assert!(!filter.wants_tags(&tags(&[("host", "a"), ("stage", "search")])));
        assert!(!filter.wants_tags(&tags(&[("stage", "login")])));
        assert!(!filter.wants_all() && filter.wants_samples());
        assert!(super::tests::filter(&[]).wants_all());
    }

    #[test]
    fn senders_are_selected_by_network() {
        let filter = filter(&[("from", "10.1.0.0/16"), ("rejected", "also")]);
        let inside = Some("10.1.2.3".parse().unwrap());
        let outside = Some("10.2.2.3".parse().unwrap());
        assert!(filter.may_want(b"x", inside) && filter.wants_rejected(inside));
        for from in [outside, None] {
            assert!(!filter.may_want(b"x", from) && !filter.wants_rejected(from));
        }
    }

    #[test]
    fn bytes_that_cannot_contain_the_name_are_not_decoded() {
        let chosen = filter(&[("match", "*.logins.?"), ("match", "db.*")]);
        assert!(chosen.may_want(br#"{"metric_name":"user.logins.1"}"#, None));
        assert!(chosen.may_want(b"db.queries:1|c", None));
        assert!(!chosen.may_want(br#"{"metric_name":"other"}"#, None));
        // The name is known only after decoding.
        assert!(chosen.may_want(br#"{"metric_name":"\u0064b.x"}"#, None));
        assert!(chosen.may_want(b"d[a=b]b.x:1|c", None));
        for glob in ["*", "?", "{a,b}", "[ab]", "a\\*"] {
            assert!(filter(&[("match", glob)]).may_want(b"x", None), "{glob}");
        }
    }

    #[test]
    fn errors_name_the_allowed_values() {
        for (key, value, words) in [
            ("match", "[", "is not a glob"),
            ("tag", "=x", "KEY or KEY=VALUE"),
            ("type", "histogram", "counter, gauge, timer, set or trace"),
            ("from", "10.1.2.3/8", "10.0.0.0/8"),
            ("rejected", "yes", "`only` or `also`"),
            ("rate", "0", "a number of samples per second"),
            ("mtch", "a", "unknown parameter"),
        ] {
            let error = TapQuery::parse([(key, value)].into_iter()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let both = [("rejected", "only"), ("match", "a")];
        assert!(
            TapQuery::parse(both.into_iter()).unwrap_err().contains("`from` is the only filter")
        );
        let many = (0..=VALUES_MAX).map(|_| ("match", "a"));
        assert!(TapQuery::parse(many).unwrap_err().contains("at most 16"));
    }
}
