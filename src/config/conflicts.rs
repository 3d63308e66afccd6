//! Sections that would use one address or one file.

use engine::listener::ListenerConfig;
use forwarders::HostResource;
use yaml::{ConfigError, Source, SourceSpan};

use super::Config;
use super::resources::{self, ResourceUse};

/// Finds every key with an address or a file that an earlier section has.
pub(super) fn check(
    config: &Config,
    listeners: &[ListenerConfig],
    source: &Source,
) -> Vec<ConfigError> {
    let uses = resources::all(config, listeners, source);
    let mut conflicts: Vec<(&ResourceUse, &ResourceUse)> = Vec::new();
    for (index, this) in uses.iter().enumerate() {
        // Two keys with one name have every address of it in common: that is one mistake.
        if conflicts.last().is_some_and(|(reported, _)| reported.key == this.key) {
            continue;
        }
        let others = uses[..index].iter().filter(|other| other.key != this.key);
        let mut taken = others.filter(|other| other.resource.conflicts_with(&this.resource));
        conflicts.extend(taken.next().map(|other| (this, other)));
    }
    let own = uses.iter().filter_map(|used| own_file(config, source, used));
    own.chain(conflicts.into_iter().map(|(this, other)| error(source, this, other))).collect()
}

/// The error for a file of the daemon itself, which a section would overwrite.
fn own_file(config: &Config, source: &Source, used: &ResourceUse) -> Option<ConfigError> {
    // Built-in defaults have no file; their name is no path.
    let config_file = HostResource::Path(source.name().into());
    let whose = if used.resource.conflicts_with(&config_file) {
        "is the configuration file"
    } else if used.resource.is_within(&config.spool_folder()) {
        "is in the folder of the spools"
    } else if used.resource.is_within(&config.restart_folder()) {
        "is in the folder of the restart state"
    } else {
        return None;
    };
    let message = format!("`{}`: {} {whose}", used.key, used.resource);
    let span = used.span.unwrap_or(SourceSpan::START);
    Some(source.error_at(span, message).with_help("choose a path outside of tallyd's own files"))
}

/// The error stands at the later of the two keys that the file contains.
fn error(source: &Source, one: &ResourceUse, other: &ResourceUse) -> ConfigError {
    let line = |used: &ResourceUse| used.span.map_or(0, |span| span.start.line);
    let (here, there) = if line(one) >= line(other) { (one, other) } else { (other, one) };
    let place = match there.span {
        Some(span) => format!(" in line {}", span.start.line),
        None => ", a default".to_owned(),
    };
    let (thing, advice) = match here.resource {
        HostResource::Path(_) => ("the file", "give each a different path"),
        _ => ("an address", "give each a different port or address"),
    };
    let taken = match here.resource == there.resource {
        true => String::new(),
        false => format!(" ({})", there.resource),
    };
    let message = format!(
        "`{}`: {} is already {thing} of `{}`{taken}{place}",
        here.key, here.resource, there.key
    );
    source.error_at(here.span.unwrap_or(SourceSpan::START), message).with_help(advice)
}
