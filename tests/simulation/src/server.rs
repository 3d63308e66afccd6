//! A simulated server: how it answers requests.

use std::sync::Arc;
use std::time::Duration;

use forwarders::SendError;
use rand::RngExt;
use tokio::time::{Instant, sleep};

use crate::mode::Mode;
use crate::point::ReceivedPoint;
use crate::world::{State, World};

/// The answer to a request.
pub(crate) enum Answer {
    /// The outcomes of the first payloads, with an error for the others.
    Done(Vec<PayloadOutcome>, Option<SendError>),
    /// The request has too many payloads.
    TooLarge,
    /// The answer will arrive at this time.
    At(Instant),
    /// No answer will arrive.
    Never,
}

/// The outcome of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadOutcome {
    Stored,
    Refused,
    TooLarge,
}

/// The permanent outcome of a payload: the same each time.
fn outcome_of(mode: Mode, points: &[ReceivedPoint]) -> PayloadOutcome {
    let has = |divisor: u64| points.iter().any(|point| point.value.is_multiple_of(divisor));
    match mode {
        Mode::Refuses if has(3) => PayloadOutcome::Refused,
        Mode::Small if has(7) => PayloadOutcome::TooLarge,
        _ => PayloadOutcome::Stored,
    }
}

/// Sends payloads to a destination.
pub(crate) async fn request(
    world: &Arc<World>,
    destination: usize,
    payloads: &[Vec<ReceivedPoint>],
) -> Answer {
    world.live().await;
    let (mode, pause) = world.with(|state| state.request_begins(destination));
    pass(pause).await;
    world.live().await;
    let (answer, pause) = world.with(|state| state.serve(destination, mode, payloads));
    pass(pause).await;
    world.live().await;
    answer
}

async fn pass(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}

impl State {
    fn request_begins(&mut self, destination: usize) -> (Mode, Duration) {
        self.counted.requests += 1;
        let mode = match self.destinations[destination].mode {
            Mode::Flaky => Mode::FAULTY[self.random.random_range(0..10)],
            mode => mode,
        };
        if mode != Mode::Ok {
            self.fault(mode.name());
        }
        let pause = match mode {
            Mode::Slow => self.ms(100, 3_000),
            _ if self.chance(0.6) => Duration::ZERO,
            _ => self.ms(1, 20),
        };
        (mode, pause)
    }

    fn serve(
        &mut self,
        destination: usize,
        mode: Mode,
        payloads: &[Vec<ReceivedPoint>],
    ) -> (Answer, Duration) {
        let failed = || Some(SendError::transient("unavailable"));
        let all = payloads.len();
        let answer = match mode {
            Mode::Small if all > 1 => Answer::TooLarge,
            Mode::Ok | Mode::Slow | Mode::Refuses | Mode::Small | Mode::Flaky => {
                Answer::Done(self.store(destination, mode, payloads), None)
            }
            Mode::Down => Answer::Done(Vec::new(), failed()),
            Mode::Hangs => Answer::Never,
            Mode::Busy => {
                let after = self.ms(0, 20_000);
                Answer::Done(Vec::new(), Some(SendError::transient_after("busy", Some(after))))
            }
            Mode::Operator => Answer::Done(Vec::new(), Some(SendError::operator("a wrong key"))),
            Mode::Half => {
                let stored = self.random.random_range(0..=all);
                Answer::Done(self.store(destination, mode, &payloads[..stored]), failed())
            }
            Mode::AnswerLost => {
                let stored = self.random.random_range(0..=all);
                self.store(destination, mode, &payloads[..stored]);
                if self.chance(0.5) { Answer::Never } else { Answer::Done(Vec::new(), failed()) }
            }
            Mode::AnswerLate => {
                self.store(destination, mode, payloads);
                Answer::At(Instant::now() + self.ms(500, 15_000))
            }
        };
        let pause = if self.chance(0.6) { Duration::ZERO } else { self.ms(1, 20) };
        (answer, pause)
    }

    fn store(
        &mut self,
        destination: usize,
        mode: Mode,
        payloads: &[Vec<ReceivedPoint>],
    ) -> Vec<PayloadOutcome> {
        let outcomes: Vec<_> = payloads.iter().map(|points| outcome_of(mode, points)).collect();
        for (points, outcome) in payloads.iter().zip(&outcomes) {
            if *outcome == PayloadOutcome::Stored {
                self.applied(destination, points);
            }
        }
        if let Some(left) = &mut self.until_kill {
            *left = left.saturating_sub(1);
            self.is_dead |= *left == 0;
        }
        outcomes
    }
}
