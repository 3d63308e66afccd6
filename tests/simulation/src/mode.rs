//! The behavior of a simulated server.

/// The behavior of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Stores everything at once.
    Ok,
    /// Takes up to three seconds.
    Slow,
    /// Cannot be reached.
    Down,
    /// Never answers, and stores nothing.
    Hangs,
    /// Asks for a pause.
    Busy,
    /// Needs an operator.
    Operator,
    /// Refuses some points for good.
    Refuses,
    /// Accepts one payload in a request.
    Small,
    /// Stores some payloads of a request, says so, and fails.
    Half,
    /// Stores payloads, and its answer is lost.
    AnswerLost,
    /// Stores payloads and answers after the time limit.
    AnswerLate,
    /// A mixture of all of these.
    Flaky,
}

impl Mode {
    pub(crate) const FAULTY: [Self; 11] = [
        Self::Slow,
        Self::Down,
        Self::Hangs,
        Self::Busy,
        Self::Operator,
        Self::Refuses,
        Self::Small,
        Self::Half,
        Self::AnswerLost,
        Self::AnswerLate,
        Self::Flaky,
    ];

    /// The name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "request: ok",
            Self::Slow => "request: slow",
            Self::Down => "request: connection refused",
            Self::Hangs => "request: no answer",
            Self::Busy => "request: told to wait",
            Self::Operator => "request: operator needed",
            Self::Refuses => "request: points permanently refused",
            Self::Small => "request: too large",
            Self::Half => "request: partly stored",
            Self::AnswerLost => "request: stored, answer lost",
            Self::AnswerLate => "request: stored, answer late",
            Self::Flaky => "request: flaky",
        }
    }
}
