use super::report::Report; pub async fn run(_: &mut Report) {}
