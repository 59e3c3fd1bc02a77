//! What the command line says to look at: a trigger's metadata, whole or in part.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

use super::super::{check, environment};
use crate::metadata::{FROM_ENV, Parameter, Reader, Use, one_line};
use crate::selection::EventTypeFrom;
use crate::source::PARAMETERS;
use crate::sources::{KINDS, Kind};
use crate::trigger::Trigger;

/// Bytes of a text that a person is shown.
const SHOWN_BYTES: usize = 80;

/// Stands for a consumer group that nobody gave; it is not asked about.
pub(super) const NO_GROUP: &str = "CHANGE-ME";

/// Where no selection is wanted, these select.
const SELECTING: [&str; 4] = ["eventType", "filter", "countFrom", "countBy"];

/// One argument.
#[derive(Debug, Clone)]
pub(super) struct KeyValue(String, String);

/// Reads a [`KeyValue`], and tells shells which keys there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyValueParser;

/// What to look at.
pub(super) struct Given {
    /// As it was written, without what selects, and before variables were looked up.
    pub(super) metadata: HashMap<String, String>,
    /// The same with what the variables hold.
    resolved: HashMap<String, String>,
    /// What it decodes to; what it selects is of no matter.
    pub(super) trigger: Trigger,
    pub(super) namespace: String,
    /// Where the type is, if that is given.
    pub(super) place: Option<EventTypeFrom>,
    /// Whether it is known for whom messages wait: a source without groups holds only such.
    pub(super) waits: bool,
    /// Whether there is a consumer group.
    pub(super) has_group: bool,
    /// What of the metadata was left out, which would count fewer messages.
    pub(super) left_out: Vec<&'static str>,
}

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum GivenError {
    #[error(
        "nothing says what to read; give keys such as source=kafka bootstrapServers=kafka:9092 topic=uploads, or -f FILE"
    )]
    Nothing,
    #[error("{file}: {why}")]
    File { file: String, why: String },
    #[error("{file} has {}; give --trigger with one of them", described(all))]
    Which { file: String, all: Vec<String> },
    #[error("the variable {variable} of {key} is not set here; set it")]
    Unset { key: String, variable: String },
    #[error("{0}")]
    Invalid(String),
}

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("no =; give key=value")?;
        match key.trim() {
            "" => Err("no key before the =; give key=value"),
            key => Ok(KeyValue(key.to_owned(), value.to_owned())),
        }
    }
}

impl TypedValueParser for KeyValueParser {
    type Value = KeyValue;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<KeyValue, clap::Error> {
        let read = StringValueParser::new().try_map(|text| text.parse::<KeyValue>());
        read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let keys =
            readable().map(|(_, parameter)| PossibleValue::new(format!("{}=", parameter.key)));
        Some(Box::new(keys))
    }
}

/// The parameters that may be given, each once, with the sources that have it; none of those for
/// what every trigger has.
fn readable() -> impl Iterator<Item = (Vec<&'static str>, &'static Parameter)> {
    let mut all: Vec<(Vec<&'static str>, &'static Parameter)> = Vec::new();
    let of_all = PARAMETERS.parameters.iter().map(|parameter| (None, parameter));
    let of_each = KINDS.iter().flat_map(|kind| {
        kind.table.parameters.iter().map(|parameter| (Some(kind.name), parameter))
    });
    for (source, parameter) in of_all.chain(of_each) {
        if parameter.use_ != Use::Read {
            continue;
        }
        match all.iter_mut().find(|(_, known)| known.key == parameter.key) {
            Some((sources, _)) => sources.extend(source),
            None => all.push((source.into_iter().collect(), parameter)),
        }
    }
    all.into_iter()
}

/// The keys and what they mean, for `--help`.
pub(super) fn help() -> String {
    let mut help = "Keys:\n".to_owned();
    for (sources, parameter) in readable() {
        let of =
            if sources.is_empty() { String::new() } else { format!(" ({})", sources.join(", ")) };
        let meaning = unmarked(parameter.meaning);
        writeln!(help, "  {}{of}\n          {meaning}", parameter.key)
            .expect("a String takes everything");
    }
    help
}

/// A line of Markdown as plain text: links by their words, and no marks of code.
fn unmarked(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        rest = match link
            .split_once("](")
            .and_then(|(words, to)| Some((words, to.split_once(')')?.1)))
        {
            Some((words, after)) => {
                text.push_str(words);
                after
            }
            None => {
                text.push('[');
                link
            }
        };
    }
    text.push_str(rest);
    text.replace('`', "")
}

impl Given {
    /// Where it looks, in words for a person.
    pub(super) fn place_in_words(&self) -> String {
        let place = self.trigger.place();
        match self.waits {
            true => place,
            false => place.replace(&format!(" for group \"{NO_GROUP}\""), ""),
        }
    }

    /// The trigger with other keys that select.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn with(&self, selecting: &[(&str, &str)]) -> Result<Trigger, GivenError> {
        let mut metadata = self.resolved.clone();
        metadata.retain(|key, _| {
            !matches!(key.as_str(), "eventType" | "eventTypeFrom" | "eventTypeFromFromEnv")
        });
        let own = selecting.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        metadata.extend(own);
        read(&metadata, &self.namespace)
    }

    /// What a file has, and what is given beside it.
    ///
    /// # Errors
    /// It is no trigger, or a variable that it names is not set.
    pub(super) fn of(
        file: Option<&Path>,
        number: Option<usize>,
        keys: &[KeyValue],
    ) -> Result<Given, GivenError> {
        let (mut namespace, mut metadata) = ("default".to_owned(), HashMap::new());
        if let Some(file) = file {
            let written = of_file(file, number)?;
            (namespace, metadata) = (written.namespace, written.metadata);
        }
        for KeyValue(key, value) in keys {
            metadata.remove(&twin(key));
            metadata.insert(key.clone(), value.clone());
        }
        if metadata.is_empty() {
            return Err(GivenError::Nothing);
        }
        let left_out: Vec<_> = SELECTING.into_iter().filter(|key| has(&metadata, key)).collect();
        for key in SELECTING {
            metadata.remove(key);
            metadata.remove(&twin(key));
        }
        let mut asked = metadata.clone();
        if let Some((key, variable)) = environment::resolve(&mut asked).into_iter().next() {
            return Err(GivenError::Unset { key, variable });
        }
        let group = kind(&asked).and_then(|kind| kind.group);
        let has_group = group.is_some_and(|group| has(&asked, group));
        if let Some(group) = group.filter(|_| !has_group) {
            asked.insert(group.to_owned(), NO_GROUP.to_owned());
        }
        let has_place = has(&asked, "eventTypeFrom");
        if has_place {
            // It is for those alone who select by it.
            asked.insert("eventType".to_owned(), "*".to_owned());
        }
        let trigger = read(&asked, &namespace)?;
        let place = has_place.then(|| trigger.selection().from.clone());
        let waits = has_group || group.is_none();
        let left_out = left_out.into_iter().filter(|key| *key != "eventType").collect();
        Ok(Given {
            metadata,
            resolved: asked,
            trigger,
            namespace,
            place,
            waits,
            has_group,
            left_out,
        })
    }
}

fn read(metadata: &HashMap<String, String>, namespace: &str) -> Result<Trigger, GivenError> {
    let trigger = Trigger::read(Reader::new(metadata).within(namespace));
    trigger.map_err(|invalid| GivenError::Invalid(invalid.to_string()))
}

/// The trigger of a file that is meant.
fn of_file(file: &Path, number: Option<usize>) -> Result<check::Written, GivenError> {
    let name = one_line(&file.display().to_string(), SHOWN_BYTES);
    let written = check::written(file, "default");
    let mut written = written.map_err(|why| GivenError::File { file: name.clone(), why })?;
    let number = number.or((written.len() == 1).then_some(0));
    match number.filter(|number| *number < written.len()) {
        Some(number) => Ok(written.swap_remove(number)),
        None if written.is_empty() => {
            let why = "has no trigger of type external".to_owned();
            Err(GivenError::File { file: name, why })
        }
        None => {
            let all = written.into_iter().map(|written| written.object).collect();
            Err(GivenError::Which { file: name, all })
        }
    }
}

fn described(all: &[String]) -> String {
    let each = all.iter().enumerate().take(20);
    let each: Vec<_> = each.map(|(number, object)| format!("{number} ({object})")).collect();
    format!("triggers {}", each.join(", "))
}

/// The source that is meant; `None` where that cannot be told, which decoding complains of.
pub(super) fn kind(metadata: &HashMap<String, String>) -> Option<&'static Kind> {
    let named = metadata.get("source").map(|name| name.trim());
    KINDS.iter().find(|kind| match named {
        Some(name) => kind.name == name,
        None => kind.told_by.iter().any(|key| has(metadata, key)),
    })
}

fn has(metadata: &HashMap<String, String>, key: &str) -> bool {
    let is_there = |key: &str| metadata.get(key).is_some_and(|value| !value.trim().is_empty());
    is_there(key) || is_there(&twin(key))
}

/// The other form of a key.
fn twin(key: &str) -> String {
    match key.strip_suffix(FROM_ENV) {
        Some(key) => key.to_owned(),
        None => format!("{key}{FROM_ENV}"),
    }
}
