//! Verdicts and facts to text and data.
//!
//! [`document::Document`] is what a bench found, with names and units that stay; [`text`] is what a person
//! reads, and what goes to a mailing list.

pub mod document;
pub mod table;
pub mod text;
