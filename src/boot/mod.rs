//! (room)

pub mod assets;
pub mod demo;
