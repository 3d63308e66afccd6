//! The windows waiting for one destination, in memory or on disk, as a pure state machine.
//!
//! Three tasks share a backlog without waiting for each other: the flush pushes windows, the
//! delivery loop takes and delivers them one at a time, and the spool loop writes windows to disk
//! and removes them. Each task calls a method for each event that it sees, and asks for its next
//! action. The backlog itself has no lock, no clock and no file:
//! [`SharedBacklog`](super::shared_backlog::SharedBacklog) adds the lock.
//!
//! ```text
//!             push             next_window              settle
//!   flush ──────────▶ queued ──────────────▶ in flight ────────▶ delivered, dropped
//!                       │                     ▲     │ written
//!               written │         next_window │     ▼ make_room
//!                       ▼                     │    (its file)
//!                    spooled ─────────────────┘
//!                       ▲ opened: windows of an earlier run
//! ```
//!
//! At most one window is in flight. If it also has a file, its points count as spooled. A window on
//! disk is taken only after the file of every settled window is removed or recorded as settled, see
//! [`RemovalDebt`](removal_debt::RemovalDebt).

mod delivery_side;
mod in_flight;
mod limits;
mod memory_queue;
#[cfg(test)]
mod model;
mod removal_debt;
mod spool_side;
mod spool_use;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod turns;
mod unsynced;
mod waiting;
mod wakes;

pub(crate) use delivery_side::{NextWindow, ReadRetry, WindowSource};
pub(crate) use removal_debt::DebtStep;
pub(crate) use spool_side::SpoolWork;
pub(crate) use state::{Backlog, EvictedPoints, ReplayedPoints};
pub(crate) use wakes::Wakes;
