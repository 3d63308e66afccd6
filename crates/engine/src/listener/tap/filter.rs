//! The samples and rejected messages that a client wants.

use std::net::IpAddr;

use api::tap::parameter;
use basics::globs::Globs;
use memchr::memmem::Finder;
use model::MetricKind;

use crate::listener::allow::Network;
use crate::protocol::Tags;

/// Most values of one parameter: each is compared with every sample.
const VALUES_MAX: usize = 16;

/// Which part of a listener's input a client sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shows {
    /// Samples.
    #[default]
    Samples,
    /// Rejected messages.
    Rejected,
    /// Both.
    Both,
}

/// Which samples and rejected messages a client wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    shows: Shows,
    names: Globs,
    /// A text that every name has that matches a glob; empty if one of the globs has none.
    needles: Vec<Finder<'static>>,
    tags: Vec<TagFilter>,
    /// Empty for all kinds.
    kinds: Vec<MetricKind>,
    /// Empty for all networks.
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

/// A tag that a sample has to have.
#[derive(Clone, Debug)]
struct TagFilter {
    key: String,
    /// Empty for any value.
    values: Globs,
}

impl TapQuery {
    /// Parses the parameters of a request.
    ///
    /// # Errors
    /// A sentence that names the wrong parameter and its valid values.
    pub fn parse<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = Self::default();
        let mut names: Vec<&str> = Vec::new();
        let (mut shows, filter) = (None, &mut query.filter);
        for (key, value) in parameters {
            match key {
                parameter::MATCH => names.push(value),
                parameter::TAG => filter.tags.push(TagFilter::parse(value)?),
                parameter::TYPE => filter.kinds.push(kind(value)?),
                parameter::FROM => filter.from.push(Network::parse(value)?),
                parameter::REJECTED => shows = Some(rejected(value)?),
                parameter::RATE => query.rate = Some(rate(value)?),
                _ => {
                    return Err(format!(
                        "`{key}` is no parameter: match, tag, type, from, rejected or rate"
                    ));
                }
            }
        }
        let counts = [names.len(), filter.tags.len(), filter.kinds.len(), filter.from.len()];
        if counts.iter().any(|count| *count > VALUES_MAX) {
            return Err(format!("at most {VALUES_MAX} of each parameter"));
        }
        filter.shows = shows.unwrap_or_default();
        let of_samples = names.len() + filter.tags.len() + filter.kinds.len();
        if filter.shows == Shows::Rejected && of_samples > 0 {
            return Err("a rejected message has no name, type or tags to go by: of these, \
                        `rejected` goes with `from` alone"
                .to_owned());
        }
        filter.names = Globs::parse(&names)?;
        let needles: Option<Vec<_>> = names.iter().map(|glob| literal_of(glob)).collect();
        let needles = needles.unwrap_or_default().into_iter();
        filter.needles = needles.map(|needle| Finder::new(needle).into_owned()).collect();
        Ok(query)
    }
}

impl Filter {
    /// Whether samples are wanted.
    #[must_use]
    pub fn wants_samples(&self) -> bool {
        self.shows != Shows::Rejected
    }

    /// Whether rejected messages from this address are wanted.
    #[must_use]
    pub fn wants_rejected(&self, from: Option<IpAddr>) -> bool {
        self.shows != Shows::Samples && self.wants_from(from)
    }

    /// Whether every sample is wanted.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.wants_samples()
            && self.names.matches("").is_none()
            && self.tags.is_empty()
            && self.kinds.is_empty()
            && self.from.is_empty()
    }

    /// Whether these bytes may contain a wanted sample. Much cheaper than decoding them.
    #[must_use]
    pub fn may_want(&self, bytes: &[u8], from: Option<IpAddr>) -> bool {
        if !self.wants_samples() || !self.wants_from(from) {
            return false;
        }
        // A name may be written with escapes or, in statsd, around its tags.
        self.needles.is_empty()
            || self.needles.iter().any(|needle| needle.find(bytes).is_some())
            || memchr::memchr2(b'\\', b'[', bytes).is_some()
    }

    /// A rough estimate of the time that [`Filter::may_want`] takes for this number of bytes, in
    /// nanoseconds.
    #[must_use]
    pub fn glance_ns(&self, bytes: usize) -> u64 {
        (self.needles.len() as u64 + 1) * (20 + bytes as u64 / 8)
    }

    /// Whether a sample of this kind and name may be wanted.
    #[must_use]
    pub fn wants_metric(&self, kind: MetricKind, name: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.names.matches(name).unwrap_or(true)
    }

    /// Whether a sample with these tags, including the agent's, is wanted.
    #[must_use]
    pub fn wants_tags(&self, tags: &Tags<'_>) -> bool {
        self.tags.iter().all(|wanted| wanted.is_in(tags))
    }

    /// Whether a sample from this address is wanted.
    #[must_use]
    pub fn wants_from(&self, from: Option<IpAddr>) -> bool {
        self.from.is_empty()
            || from.is_some_and(|ip| self.from.iter().any(|network| network.contains(ip)))
    }
}

impl TagFilter {
    fn parse(text: &str) -> Result<Self, String> {
        let (key, values) = match text.split_once('=') {
            Some((key, value)) => (key, Globs::parse(&[value])?),
            None => (text, Globs::default()),
        };
        if key.is_empty() {
            return Err(format!("a tag is KEY or KEY=VALUE, not `{text}`"));
        }
        Ok(Self { key: key.to_owned(), values })
    }

    fn is_in(&self, tags: &Tags<'_>) -> bool {
        let found = tags.iter().find(|(key, _)| *key == self.key);
        found.is_some_and(|(_, value)| self.values.matches(value).unwrap_or(true))
    }
}

fn kind(word: &str) -> Result<MetricKind, String> {
    MetricKind::from_word(word)
        .ok_or_else(|| format!("`{word}` is no type: {}", MetricKind::listed()))
}

fn rejected(word: &str) -> Result<Shows, String> {
    match word {
        "only" => Ok(Shows::Rejected),
        "also" => Ok(Shows::Both),
        _ => Err(format!("`rejected` is `only` or `also`, not `{word}`")),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("`rate` is a number of samples a second, not `{text}`"))
}

/// The longest text that every match of a glob contains; `None` if the glob is not simple.
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
    fn what_is_wanted_is_one_of_each_parameter_and_all_of_the_tags() {
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
    fn senders_are_chosen_by_their_network() {
        let filter = filter(&[("from", "10.1.0.0/16"), ("rejected", "also")]);
        let inside = Some("10.1.2.3".parse().unwrap());
        let outside = Some("10.2.2.3".parse().unwrap());
        assert!(filter.may_want(b"x", inside) && filter.wants_rejected(inside));
        for from in [outside, None] {
            assert!(!filter.may_want(b"x", from) && !filter.wants_rejected(from));
        }
    }

    #[test]
    fn what_cannot_hold_the_name_need_not_be_decoded() {
        let chosen = filter(&[("match", "*.logins.?"), ("match", "db.*")]);
        assert!(chosen.may_want(br#"{"metric_name":"user.logins.1"}"#, None));
        assert!(chosen.may_want(b"db.queries:1|c", None));
        assert!(!chosen.may_want(br#"{"metric_name":"other"}"#, None));
        // What it is called is only known once it is decoded.
        assert!(chosen.may_want(br#"{"metric_name":"\u0064b.x"}"#, None));
        assert!(chosen.may_want(b"d[a=b]b.x:1|c", None));
        for glob in ["*", "?", "{a,b}", "[ab]", "a\\*"] {
            assert!(filter(&[("match", glob)]).may_want(b"x", None), "{glob}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_allowed() {
        for (key, value, words) in [
            ("match", "[", "is not a glob"),
            ("tag", "=x", "KEY or KEY=VALUE"),
            ("type", "histogram", "counter, gauge, timer, set or trace"),
            ("from", "10.1.2.3/8", "10.0.0.0/8"),
            ("rejected", "yes", "`only` or `also`"),
            ("rate", "0", "a number of samples a second"),
            ("mtch", "a", "no parameter"),
        ] {
            let error = TapQuery::parse([(key, value)].into_iter()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let both = [("rejected", "only"), ("match", "a")];
        assert!(TapQuery::parse(both.into_iter()).unwrap_err().contains("`from` alone"));
        let many = (0..=VALUES_MAX).map(|_| ("match", "a"));
        assert!(TapQuery::parse(many).unwrap_err().contains("at most 16"));
    }
}
