//! Kernels: what people call them by, recipes, source, patches, configuration, build, and the store that keeps the
//! results.

pub mod bisection;
pub(crate) mod build;
mod catalogue;
mod config;
mod git;
mod hold;
mod identity;
pub(crate) mod initcalls;
mod kit;
pub mod modules;
mod mutants;
pub(crate) mod outside;
mod patches;
mod ready;
mod recipe;
mod series;
mod source;
mod spec;
pub mod store;
mod tree;
mod unfinished;
mod unpack;
pub mod upkeep;
mod wanted;
mod workshop;

pub use catalogue::Catalogue;
pub use hold::Scratch;
pub use identity::Identity;
pub use kit::{Kit, Parts};
pub use mutants::{Mutant, Mutants};
pub use recipe::{Behaviour, Brought, Build, Origin, Patch, Ready, Recipe, Source, State};
pub use store::{Broken, Kernel, Others, Store};
pub use wanted::{Pairs, Wanted};
