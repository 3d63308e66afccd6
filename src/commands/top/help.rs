//! The page behind `?`.

use super::views::View;

/// The keys and their effects.
pub(super) const KEYS: [(&str, &str); 9] = [
    ("1-6, Tab", "another view"),
    ("s, S", "sort by the next or the previous column; also > < and the arrows"),
    ("r", "reverse the order"),
    ("/", "show only rows that contain a text; Esc shows all again"),
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
            ("SAMPLES", "since the metric got its first series"),
            ("SERIES", "current series, of all types"),
            ("NEW", "series first seen in the last six windows"),
            ("OVERFLOWED", "samples that a limit on series sent to an overflow series"),
        ],
        View::Tags => &[
            ("VALUES", "distinct values; above 4,096 an estimate within 2 %"),
            ("SERIES", "series that have the key"),
        ],
        View::Senders => &[
            ("SENDER", "a host; for this host a port (see ss -uap) or a process"),
            ("MESSAGES", "since this view was opened, including rejected ones"),
        ],
        View::Forwarders => &[
            ("QUEUED", "points waiting in memory; SPOOLED: points waiting on disk"),
            ("DROPPED", "points that will never be delivered, by reason"),
            ("FAILURES", "failed attempts; their points still wait"),
        ],
        View::Listeners => &[
            ("REJECTED", "messages that are not valid: see the view Rejected"),
            ("DROPS", "datagrams that the kernel dropped because a buffer was full"),
            ("REFUSED", "datagrams or connections that were turned away unread"),
        ],
        View::Rejected => &[
            ("MESSAGE", "the part of the message around the error"),
            ("TIME", "in UTC, like all times here"),
        ],
    }
}
