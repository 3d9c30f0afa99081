//! pier.
