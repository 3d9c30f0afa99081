//! Facts of the host, gathered once for one configuration.
