//! The scripted model server itself, over plain sockets.

mod client;
mod dialects;
mod transport;
