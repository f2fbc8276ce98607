//! Locks without poison: a thread that panics while it holds one takes the process down, so no
//! caller handles that.

pub use std::sync::MutexGuard;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

const NOT_POISONED: &str = "nothing panics while it holds this lock";

/// A [`std::sync::Mutex`] whose lock is infallible.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect(NOT_POISONED)
    }
}

/// A [`std::sync::RwLock`] whose locks are infallible.
#[derive(Debug, Default)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect(NOT_POISONED)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(NOT_POISONED)
    }
}
