//! The coordination repository: items of several agents, in files that Git carries.
//!
//! Everything here but reading and Git is pure: text and a change to new text. Files are read leniently, line by
//! line, as the older tools that share such a repository write them, and written so that every YAML library reads them.

pub mod domain;
pub mod draft;
pub mod duty;
pub mod history;
pub mod id;
pub mod import;
pub mod item;
pub mod kind;
pub mod lint;
pub mod mend;
pub mod registry;
pub mod requirements;
pub mod scaffold;
pub mod scalar;
pub mod select;
pub mod store;
pub mod taken;
pub mod transition;
pub mod verdict;
