//! Compares the settings that two forwarders were built from.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// The settings that a forwarder was built from. Equal settings build equal forwarders, so a reload
/// that does not change them keeps the running forwarder.
///
/// Holds a value of any type that can be compared, usually the forwarder's section. Settings of
/// different types are never equal.
#[derive(Clone, Debug)]
pub struct ForwarderSettings(Arc<dyn ComparableSettings>);

/// [`PartialEq`] for values whose type is erased.
trait ComparableSettings: Any + Debug + Send + Sync {
    fn equals(&self, other: &dyn ComparableSettings) -> bool;
}

impl<T: Any + PartialEq + Debug + Send + Sync> ComparableSettings for T {
    fn equals(&self, other: &dyn ComparableSettings) -> bool {
        let other: &dyn Any = other;
        // A value of another type gives `None`, which equals no `Some`.
        other.downcast_ref::<T>() == Some(self)
    }
}

impl ForwarderSettings {
    /// Wraps settings.
    #[must_use]
    pub fn new(settings: impl Any + PartialEq + Debug + Send + Sync) -> Self {
        Self(Arc::new(settings))
    }
}

impl PartialEq for ForwarderSettings {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_equal_when_type_and_value_are() {
        assert_eq!(ForwarderSettings::new(1_u32), ForwarderSettings::new(1_u32));
        assert_ne!(ForwarderSettings::new(1_u32), ForwarderSettings::new(2_u32));
        assert_ne!(ForwarderSettings::new(1_u32), ForwarderSettings::new(1_u64));
    }

    #[test]
    fn nested_settings_are_compared_by_value() {
        let nested = |number: u32, debug_mode: bool| {
            ForwarderSettings::new((ForwarderSettings::new(number), debug_mode))
        };
        assert_eq!(nested(1, true), nested(1, true));
        assert_ne!(nested(1, true), nested(2, true));
        assert_ne!(nested(1, true), nested(1, false));
    }
}
