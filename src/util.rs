//! Pure helpers without words of the domain.

pub mod text;
