//! AMQP 1.0 values, as Service Bus sends them and Event Hubs writes them into the headers of Kafka
//! records.
//!
//! - `values`: one value after another, read where it lies
//! - `spelling`: a value as text, and as JSON

mod spelling;
mod values;

pub(crate) use spelling::{date_time, hyphenated, json, json_of_list, number, text, time_delta};
pub(crate) use values::{Value, Values};
