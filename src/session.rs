//! A live sandbox.
