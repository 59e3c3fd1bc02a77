//! What people see of a running scaler in a browser: an overview, and a page for each trigger.
//!
//! It shows what [`scaler`](crate::scaler) knows, to whoever [`Access`](crate::diagnostics::Access)
//! lets in, and changes nothing. Names, types and errors come from tenants: all text is escaped by
//! `maud`, and a Content-Security-Policy lets a browser run and load nothing but our own files.
//! Without JavaScript the page shows the same; the script only brings what is new.
//!
//! | file | answers |
//! |---|---|
//! | `routes` | each address, and how many may be served at once |
//! | `guard` | who is let in, and what a browser may do with a reply |
//! | `query` | which triggers an overview shows, in which order |
//! | `overview`, `trigger` | the two pages |
//! | `why` | why a trigger counts 0, in a sentence |
//! | `chart` | how much waited over the last hours, as a picture |
//! | `layout` | what both pages have |
//! | `text` | numbers and times as people read them |
//! | `assets/` | the script, the style and the icon |

mod chart;
mod guard;
mod layout;
mod overview;
mod query;
mod routes;
mod text;
mod trigger;
mod why;

pub use routes::{Options, routes};

#[cfg(test)]
mod tests;
