//! Slots, namespaces, TAP devices and packet policy.
