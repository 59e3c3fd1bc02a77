//! What is shipped beside the program: the pages, the examples and the image say what is so.

mod commands;
mod docs;
mod examples;
mod image;
mod source;
