//! Taking a lock whoever held it last: every change under one leaves what it guards whole, so that a
//! panic elsewhere does not spoil it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
