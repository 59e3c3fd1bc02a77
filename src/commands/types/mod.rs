//! `keda-sift types`: which types of messages a topic, queue or subscription has, how many there
//! are of each, and the trigger that counts the commonest.
//!
//! - `given`: what the command line says to look at · `progress`: how far it is
//! - `report`: what is printed · `proposal`: the trigger to paste

mod given;
mod progress;
mod proposal;
mod report;

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use self::given::{Given, KeyValue, KeyValueParser};
use self::progress::Progress;
use self::report::{Report, Seen};
use super::check::Output;
use super::connections::Connections;
use super::duration::parse_positive;
use crate::failure::Failure;
use crate::ledger::{DEFAULT_LIMIT, Ledger};
use crate::selection::{Census, EventTypeFrom};
use crate::source::{SurveyFrom, SurveyPlan};
use crate::wiring::Wired;

/// What could not be measured, as an exit code.
const UNMEASURED: u8 = 2;

/// Messages that are looked at by default, though fewer wait, or none.
const AT_LEAST: u64 = 1_000;

const EXAMPLES: &str = "
Examples:
  keda-sift types source=kafka bootstrapServers=kafka:9092 topic=uploads
  keda-sift types source=kafka bootstrapServers=kafka:9092 topic=uploads \\
      consumerGroup=thumbnails sasl=plaintext usernameFromEnv=KAFKA_USER passwordFromEnv=KAFKA_PASSWORD
  keda-sift types source=azure-servicebus connectionFromEnv=SERVICE_BUS queueName=incoming
  keda-sift types -f invoicing.yaml --trigger 1 --from earliest";

/// Tells which types of messages there are: how many of each, how many of them wait, since when,
/// how large they are, and where they keep their type. Ends in a trigger to paste.
///
/// What to read is told by the keys of a trigger's metadata. Nothing is committed, received or
/// locked. Exits with 0 if it was read, 1 if what is given is wrong, and 2 if it could not be read.
#[derive(Debug, clap::Args)]
#[command(after_long_help = given::help() + EXAMPLES)]
pub(super) struct Args {
    /// Keys of a trigger's metadata, as listed below and in docs/parameters.md. One that ends in FromEnv takes
    /// the variable of this environment. Without consumerGroup it is not told what waits for whom.
    #[arg(value_name = "KEY=VALUE", value_parser = KeyValueParser, hide_possible_values = true)]
    keys: Vec<KeyValue>,

    /// Take the metadata of a trigger from this file of manifests, or - for standard input; keys
    /// given beside it come first.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Which of the file's triggers of type external, counted from 0.
    #[arg(long, value_name = "NUMBER", requires = "file")]
    trigger: Option<usize>,

    /// Where to begin in Kafka: earliest, committed (where the group goes on), or so many messages
    /// before the end. By default at what the group has committed, and at least 1,000 messages
    /// before the end.
    #[arg(long, value_name = "PLACE", value_parser = parse_from)]
    from: Option<SurveyFrom>,

    /// Messages to read at most.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: u64,

    /// How long reading may take, such as 5m.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_positive)]
    timeout: Duration,

    /// How to print it.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,

    #[command(flatten)]
    connections: Connections,
}

/// Why there is no report.
enum Unread {
    /// What is given is wrong.
    Wrong(Box<dyn Error>),
    /// It cannot be read now.
    Unmeasured(String),
}

/// Reads to the end.
pub(super) fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(report) => {
            // Whoever reads it may have gone.
            let _gone = io::stdout().write_all(report.print(args.output).as_bytes());
            ExitCode::SUCCESS
        }
        Err(Unread::Wrong(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Err(Unread::Unmeasured(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(UNMEASURED)
        }
    }
}

fn try_run(args: &Args) -> Result<Report, Unread> {
    let given = Given::of(args.file.as_deref(), args.trigger, &args.keys)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wired = runtime.block_on(async {
        let kubernetes = args.connections.kubernetes().await?;
        args.connections.wire(args.timeout.min(Duration::from_secs(10)), kubernetes)
    })?;
    let plan = SurveyPlan {
        from: args.from.unwrap_or(SurveyFrom::Committed { at_least: AT_LEAST }),
        limit: args.limit,
        asks_group: given.has_group,
        deadline: Instant::now() + args.timeout,
    };
    let looked = runtime.block_on(async {
        let looked = look(&given, args, &wired, plan).await;
        wired.sources.shutdown().await;
        wired.identities.shutdown().await;
        looked
    });
    runtime.shutdown_background();
    looked.map_err(|failure| Unread::Unmeasured(failure.to_string()))
}

/// Looks for the place, and once more at it alone where messages before it was found may have a
/// type there.
async fn look(
    given: &Given,
    args: &Args,
    wired: &Wired,
    plan: SurveyPlan,
) -> Result<Report, Failure> {
    let first = survey(given, args, wired, plan, given.place.clone()).await?;
    let place = first.places.first().filter(|place| place.before > 0);
    let Some(place) = place.map(|place| place.from.clone()) else {
        return Ok(Report::of(given, first));
    };
    let mut second = survey(given, args, wired, plan, Some(place)).await?;
    second.places.extend(first.places.into_iter().skip(1));
    Ok(Report::of(given, second))
}

async fn survey(
    given: &Given,
    args: &Args,
    wired: &Wired,
    plan: SurveyPlan,
    place: Option<EventTypeFrom>,
) -> Result<Seen, Failure> {
    let account = Ledger::new(DEFAULT_LIMIT).account(&given.namespace);
    let mut progress = Progress::new(Census::new(place), plan, args.timeout);
    let surveyed = wired.sources.survey(&given.trigger, &account, plan, &mut progress).await;
    let (census, stopped) = progress.finish();
    let (messages, waiting) = (census.messages(), census.waiting());
    Ok(Seen { messages, waiting, places: census.into_places(), stopped, surveyed: surveyed? })
}

fn parse_from(text: &str) -> Result<SurveyFrom, &'static str> {
    match text {
        "earliest" => Ok(SurveyFrom::Earliest),
        "committed" => Ok(SurveyFrom::Committed { at_least: 0 }),
        _ => match text.parse() {
            Ok(messages) if messages > 0 => Ok(SurveyFrom::Last(messages)),
            _ => Err("no place; give earliest, committed, or a number of messages above 0"),
        },
    }
}

impl<E: Into<Box<dyn Error>>> From<E> for Unread {
    fn from(error: E) -> Self {
        Unread::Wrong(error.into())
    }
}
