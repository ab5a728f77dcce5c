//! Kernels: recipes by name, source, patches, configuration, build, and the store that keeps the results.

pub(crate) mod build;
mod catalogue;
mod config;
pub(crate) mod initcalls;
pub mod modules;
mod mutants;
mod series;
mod source;
pub mod store;
mod unfinished;
mod workshop;

pub use catalogue::{Behaviour, Catalogue, Recipe, Source};
pub use mutants::{Mutant, Mutants};
pub use store::{Kernel, Store};
