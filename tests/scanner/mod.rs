//! Reads Rust source as text, far enough to say which rooms a file uses and where it says `unsafe`.

pub mod paths;
pub mod text;
