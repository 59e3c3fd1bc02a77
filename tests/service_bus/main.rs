//! Azure Service Bus, on a stand-in that Microsoft's own clients judge first: what a trigger counts
//! there, and what it costs.

mod depth;
mod diagnostics;
mod failures;
mod identity;
mod management;
mod peek;
mod sdk;
mod sharing;
mod types;
