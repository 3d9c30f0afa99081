//! The sandbox's way out: connections are accepted in its own network, decided by name, and made from here.

pub mod dns;
pub mod hello;
pub mod http;
pub mod names;
