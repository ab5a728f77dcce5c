//! Verdicts and facts to text and data.
//!
//! [`document::Document`] is what a bench found, with names and units that stay; [`text`] is what a person reads, and
//! [`html`] what they look at. [`findings::Found`] is any run's document as a list of checks, from which the formats of
//! other tools are made: [`junit`], [`ktap`], [`kcidb`], [`csv`], and [`mail`] for a patch. [`perfetto`] and the HTML
//! page draw [`lanes::Timeline`]s.

pub mod csv;
pub mod document;
pub mod findings;
pub mod html;
pub mod junit;
pub mod kcidb;
pub mod ktap;
pub mod lanes;
pub mod mail;
pub mod perfetto;
pub mod table;
pub mod text;
