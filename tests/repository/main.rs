//! What is shipped beside the program: the pages, the examples, the alerts, the dashboard and
//! the image say what is so.

mod alerts;
mod commands;
mod dashboard;
mod docs;
mod examples;
mod image;
mod links;
mod metrics;
mod source;
