//! Reports as text for people (miette) and as JSON.
