//! The page behind `?`.

use super::views::View;

/// The keys and their effects.
pub(super) const KEYS: [(&str, &str); 9] = [
    ("1-6, Tab", "another view"),
    ("s, S", "sort by the next, the previous column; also > < and the arrows"),
    ("r", "turn the order round"),
    ("/", "show only rows with a text in them; Esc shows all again"),
    ("p, space", "pause the screen, and resume"),
    ("up, down", "scroll; also j k, PageUp PageDown, Home End"),
    ("?", "this page"),
    ("Ctrl-Z", "back to the shell; fg continues"),
    ("q, Ctrl-C", "quit"),
];

/// The meanings of the columns of a view.
pub(super) const fn columns(view: View) -> &'static [(&'static str, &'static str)] {
    match view {
        View::Metrics => &[
            ("SAMPLES/s", "in the last window"),
            ("SAMPLES", "since the metric has series"),
            ("SERIES", "that are remembered, all types together"),
            ("NEW", "series of the last six windows: what grows"),
            ("FOLDED", "samples that lost their tags over a limit on series"),
        ],
        View::Tags => &[
            ("VALUES", "distinct ones; above 4,096 an estimate within 1 %"),
            ("SERIES", "that have the key"),
        ],
        View::Senders => &[
            ("SENDER", "a host; of this host a port, or a process (ss -uap tells whose)"),
            ("MESSAGES", "since this view was opened, including rejected ones"),
        ],
        View::Forwarders => &[
            ("QUEUED", "points in memory, SPOOLED those on disk: both still wait"),
            ("DROPPED", "points that will never arrive, by reason"),
            ("FAILURES", "attempts that failed; what they carried waits"),
        ],
        View::Listeners => &[
            ("REJECTED", "messages that were wrong: see the view Rejected"),
            ("DROPS", "datagrams that the kernel dropped: a buffer was full"),
            ("REFUSED", "datagrams or connections of which nothing was read"),
        ],
        View::Rejected => &[
            ("MESSAGE", "a part of it, around the place that is wrong"),
            ("TIME", "in UTC, as all times here"),
        ],
    }
}
