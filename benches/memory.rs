use super::report::Report; pub fn run(_: &mut Report) {}
