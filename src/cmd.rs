//! One file a command; the only place that knows all of pier.
