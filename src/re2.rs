//! Regular expressions in RE2's syntax, which Go's programs and CEL have, in that of the regex
//! crate.
//!
//! The regex crate is near, but takes more (`a**`, `(?x)`, repetition without end) and less (octal
//! escapes, `{` as a character), and what it means by `\w` or `\<` is not what Go means. So a
//! pattern is read here as Go reads it, and written out for the regex crate. What Go refuses is
//! refused. Patterns are short: whoever has one translated bounds its length. One difference is
//! left: Go takes what alternatives begin with before them, which can make a pattern one level
//! deeper, so that at the bound one is taken that Go refuses.
//!
//! # References
//! - <https://github.com/google/re2/wiki/Syntax>
//! - Go's `regexp/syntax`: `Parse` with the flags `Perl`
//! - CEL's language definition, `matches`

use std::thread;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// The most that repetitions, those within each other multiplied, repeat anything.
const MAX_REPEAT: u32 = 1_000;

/// How deep repetitions, alternatives, sequences and brackets with a number stand in each other.
const MAX_HEIGHT: usize = 1_000;

/// The height up to which a pattern is compiled on the stack that is there: compiling recurses.
const COMPILED_HERE: usize = 250;

/// The stack on which others are compiled. Those of [`MAX_HEIGHT`] take some 2 MB where nothing is
/// optimised.
const STACK_BYTES: usize = 16 << 20;

/// What the regex crate must let nest so that the bound here is the one that counts: brackets and
/// all that can stand in them, in a pattern as long as a filter may be.
const NEST_LIMIT: u32 = 10_000;

/// The classes that have a name in brackets.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Why a text is no pattern of RE2's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SyntaxError {
    /// A bracket is not closed.
    #[error("unclosed group")]
    UnclosedGroup,
    /// A bracket is closed that was not opened.
    #[error("a ) without its (")]
    UnopenedGroup,
    /// A class is not closed.
    #[error("unclosed character class")]
    UnclosedClass,
    /// A range runs backwards.
    #[error("a range in a character class that runs backwards")]
    Range,
    /// No class has this name.
    #[error("a character class of an unknown name")]
    ClassName,
    /// No category or script has this name.
    #[error("a Unicode class of an unknown name")]
    Property,
    /// A backslash before something that it gives no meaning.
    #[error("a backslash before what has no meaning behind one")]
    Escape,
    /// Flags, a look-around or the like that there is not.
    #[error("what follows (? is not known")]
    Group,
    /// Nothing stands before a repetition.
    #[error("a repetition of nothing")]
    RepeatsNothing,
    /// A repetition stands right behind another.
    #[error("a repetition of a repetition; put brackets between")]
    RepeatsRepetition,
    /// Numbers of a repetition are too large, or in the wrong order.
    #[error("a repetition of more than 1000, or from more to less")]
    RepeatCount,
    /// It nests too deeply.
    #[error("brackets nest too deeply")]
    TooDeep,
}

/// A pattern in the regex crate's syntax.
#[derive(Debug)]
pub(crate) struct Spelt {
    text: String,
    height: usize,
}

/// What has been read of a pattern so far.
struct Reader<'p> {
    rest: &'p str,
    /// The same in the regex crate's syntax.
    spelt: String,
    /// The groups that are open; the whole pattern is the first.
    groups: Vec<Group>,
}

/// What has been read of a group.
#[derive(Default)]
struct Group {
    /// Whether Go gives it a number, and so a level of its own.
    is_numbered: bool,
    repeats: u32,
    /// Those that have ended.
    alternatives: Parts,
    /// What stands before `last` in the one at hand.
    sequence: Parts,
    /// What stands before the place that was reached; `None` at the beginning of an alternative.
    last: Option<Item>,
    /// Where flags begin that stand right behind `last`: a repetition behind them is of what is
    /// before.
    flags_at: Option<usize>,
}

/// What a sequence or alternatives are made of, as Go counts it: a sequence in a sequence is part
/// of it.
#[derive(Default)]
struct Parts {
    count: usize,
    /// The kind of the last.
    last: Option<Kind>,
    tallest: usize,
    /// Whether all are characters, which are one part together.
    are_characters: bool,
    /// Whether each is one character or class, so that alternatives are one class.
    are_single: bool,
}

/// A character, class or group.
#[derive(Clone, Copy)]
struct Item {
    /// How often, at most, something in it is repeated.
    repeats: u32,
    height: usize,
    kind: Kind,
    /// Whether a repetition stands right before the place that was reached.
    is_repeated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Character,
    Characters,
    Class,
    Sequence,
    Alternatives,
    Other,
}

/// The pattern in the regex crate's syntax, with the same meaning.
///
/// # Errors
/// Where Go refuses it.
pub(crate) fn translated(pattern: &str) -> Result<Spelt, SyntaxError> {
    let mut reader = Reader {
        rest: pattern,
        spelt: String::with_capacity(pattern.len()),
        groups: vec![Group::default()],
    };
    while let Some(character) = reader.next() {
        reader.read(character)?;
    }
    let whole = reader.groups.pop().filter(|_| reader.groups.is_empty());
    let whole = whole.ok_or(SyntaxError::UnclosedGroup)?.whole()?;
    Ok(Spelt { text: reader.spelt, height: whole.height })
}

impl Spelt {
    /// Compiles it; `set` says what it may take.
    ///
    /// # Errors
    /// It takes more, or no thread can be had for what is deep.
    pub(crate) fn compiled(
        &self,
        set: impl FnOnce(&mut RegexBuilder),
    ) -> Result<Regex, regex::Error> {
        self.built(RegexBuilder::new(&self.text), set)
    }

    /// The same, of which a match has to be the whole text.
    ///
    /// # Errors
    /// As [`compiled`](Self::compiled).
    pub(crate) fn compiled_whole(
        &self,
        set: impl FnOnce(&mut RegexBuilder),
    ) -> Result<Regex, regex::Error> {
        self.built(RegexBuilder::new(&format!(r"\A(?:{})\z", self.text)), set)
    }

    fn built(
        &self,
        mut builder: RegexBuilder,
        set: impl FnOnce(&mut RegexBuilder),
    ) -> Result<Regex, regex::Error> {
        builder.nest_limit(NEST_LIMIT);
        set(&mut builder);
        if self.height <= COMPILED_HERE {
            return builder.build();
        }
        let failed = |what: &str| regex::Error::Syntax(what.to_owned());
        thread::scope(|scope| {
            let stack = thread::Builder::new().stack_size(STACK_BYTES);
            let building = stack.spawn_scoped(scope, || builder.build());
            let building = building.map_err(|_| failed("no thread for what is deep"))?;
            building.join().unwrap_or_else(|_| Err(failed("the thread panicked")))
        })
    }
}

impl<'p> Reader<'p> {
    fn next(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.rest = &self.rest[character.len_utf8()..];
        Some(character)
    }

    fn next_is(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn read(&mut self, character: char) -> Result<(), SyntaxError> {
        match character {
            '(' => self.open(),
            ')' => self.close(),
            '|' => {
                self.spelt.push('|');
                self.group().end_alternative()
            }
            '*' => self.repeat("*", 1),
            '+' => self.repeat("+", 1),
            // Behind another repetition a ? would make that one lazy.
            '?' => self.repeat("{0,1}", 1),
            '{' => match self.counts() {
                Some((least, most)) => self.repeat_counted(least, most),
                None => self.literal(character),
            },
            '^' => self.item("^", Kind::Other),
            '$' => self.item("$", Kind::Other),
            '.' => self.item(".", Kind::Class),
            '[' => self.class(),
            '\\' => self.escape(),
            _ => self.literal(character),
        }
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the whole pattern is never closed")
    }

    fn literal(&mut self, character: char) -> Result<(), SyntaxError> {
        self.item(&regex::escape(character.encode_utf8(&mut [0; 4])), Kind::Character)
    }

    /// Adds what is one character, class or condition.
    fn item(&mut self, spelt: &str, kind: Kind) -> Result<(), SyntaxError> {
        self.spelt.push_str(spelt);
        self.group().add(Item { repeats: 1, height: 1, kind, is_repeated: false });
        Ok(())
    }

    /// What follows an opening bracket. All groups are without a number: nobody asks what they
    /// hold.
    fn open(&mut self) -> Result<(), SyntaxError> {
        let mut flags = String::new();
        let mut is_numbered = true;
        if self.next_is("?P<") || self.next_is("?<") {
            let (name, after) = self.rest.split_once('>').ok_or(SyntaxError::Group)?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_name) {
                return Err(SyntaxError::Group);
            }
            self.rest = after;
        } else if self.next_is("?") {
            is_numbered = false;
            loop {
                match self.next().ok_or(SyntaxError::Group)? {
                    ':' => break,
                    ')' => return self.set(&flags),
                    '-' if !flags.contains('-') => flags.push('-'),
                    flag @ ('i' | 'm' | 's' | 'U') => {
                        // The regex crate does not take one twice.
                        if !flags.contains(flag) {
                            flags.push(flag);
                        }
                    }
                    _ => return Err(SyntaxError::Group),
                }
            }
            if flags.ends_with('-') {
                return Err(SyntaxError::Group);
            }
        }
        self.spelt.push_str("(?");
        self.spelt.push_str(&flags);
        self.spelt.push(':');
        self.groups.push(Group { is_numbered, ..Group::default() });
        Ok(())
    }

    /// Sets flags for the rest of the group.
    fn set(&mut self, flags: &str) -> Result<(), SyntaxError> {
        if flags.ends_with('-') {
            return Err(SyntaxError::Group);
        }
        let at = self.spelt.len();
        if !flags.is_empty() {
            self.spelt.push_str("(?");
            self.spelt.push_str(flags);
            self.spelt.push(')');
        }
        self.group().pass_over(at);
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let group = self.groups.pop().filter(|_| !self.groups.is_empty());
        let group = group.ok_or(SyntaxError::UnopenedGroup)?;
        self.spelt.push(')');
        let item = group.whole()?;
        self.group().add(item);
        Ok(())
    }

    /// The numbers of a repetition, as `2}`, `2,}` or `2,3}`; nothing is read where it is none.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let number = |text: &str| {
            let is_number = !text.is_empty()
                && text.bytes().all(|digit| digit.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'));
            // What is too large for a number is too large anyway.
            is_number.then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (counts, after) = self.rest.split_once('}')?;
        let counts = match counts.split_once(',') {
            None => number(counts).map(|count| (count, Some(count))),
            Some((least, "")) => number(least).map(|least| (least, None)),
            Some((least, most)) => number(least).zip(number(most).map(Some)),
        };
        self.rest = if counts.is_some() { after } else { self.rest };
        counts
    }

    fn repeat_counted(&mut self, least: u32, most: Option<u32>) -> Result<(), SyntaxError> {
        let highest = most.unwrap_or(least);
        if highest > MAX_REPEAT || least > highest {
            return Err(SyntaxError::RepeatCount);
        }
        let most = most.map(|most| most.to_string()).unwrap_or_default();
        self.repeat(&format!("{{{least},{most}}}"), highest)
    }

    /// Repeats what comes before.
    fn repeat(&mut self, sign: &str, times: u32) -> Result<(), SyntaxError> {
        // Whether as much as can be is taken makes no difference to whether there is a match.
        self.next_is("?");
        let group = self.group();
        let item = group.last.as_mut().ok_or(SyntaxError::RepeatsNothing)?;
        if item.is_repeated {
            return Err(SyntaxError::RepeatsRepetition);
        }
        // What is repeated 0 times costs nothing, whatever is in it.
        let repeats = if times == 0 { 1 } else { item.repeats.saturating_mul(times) };
        if repeats > MAX_REPEAT {
            return Err(SyntaxError::RepeatCount);
        }
        let height = bounded(item.height + 1)?;
        *item = Item { repeats, height, kind: Kind::Other, is_repeated: true };
        group.repeats = group.repeats.max(repeats);
        match group.flags_at.as_mut() {
            Some(at) => {
                let before = *at;
                *at += sign.len();
                self.spelt.insert_str(before, sign);
            }
            None => self.spelt.push_str(sign),
        }
        Ok(())
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), SyntaxError> {
        if self.next_is("Q") {
            let (literal, after) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
            self.rest = after;
            let at = self.spelt.len();
            self.group().pass_over(at);
            return literal.chars().try_for_each(|character| self.literal(character));
        }
        for (escaped, spelt) in [("A", r"\A"), ("z", r"\z"), ("b", r"(?-u:\b)"), ("B", r"(?-u:\B)")]
        {
            if self.next_is(escaped) {
                return self.item(spelt, Kind::Other);
            }
        }
        match self.set_of_characters()? {
            Some(set) => self.item(&set, Kind::Class),
            None => {
                let character = self.escaped()?;
                self.literal(character)
            }
        }
    }

    /// The characters that a letter behind a backslash stands for, where it stands for several.
    fn set_of_characters(&mut self) -> Result<Option<String>, SyntaxError> {
        for (escaped, set) in [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", r"[\t\n\f\r ]"),
            ("S", r"[^\t\n\f\r ]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ] {
            if self.next_is(escaped) {
                return Ok(Some(set.to_owned()));
            }
        }
        let is_negated = match () {
            () if self.next_is("p") => false,
            () if self.next_is("P") => true,
            () => return Ok(None),
        };
        let name = match self.next().ok_or(SyntaxError::Property)? {
            '{' => {
                let (name, after) = self.rest.split_once('}').ok_or(SyntaxError::Property)?;
                self.rest = after;
                name.to_owned()
            }
            letter => letter.to_string(),
        };
        let plain = name.strip_prefix('^').unwrap_or(&name);
        let is_negated = is_negated != name.starts_with('^');
        property(plain, is_negated).map(Some)
    }

    /// The one character that a backslash and what follows it stand for.
    fn escaped(&mut self) -> Result<char, SyntaxError> {
        let octal = |text: &str| text.starts_with(|c| matches!(c, '0'..='7'));
        let character = self.next().ok_or(SyntaxError::Escape)?;
        let code = match character {
            // A single one would be a back-reference, which there is not.
            '1'..='7' if !octal(self.rest) => return Err(SyntaxError::Escape),
            '0'..='7' => {
                let mut code = character.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    if octal(self.rest) {
                        code = code * 8 + self.next().and_then(|c| c.to_digit(8)).unwrap_or(0);
                    }
                }
                code
            }
            'x' => self.hexadecimal()?,
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            sign if sign.is_ascii() && !sign.is_ascii_alphanumeric() => u32::from(sign),
            _ => return Err(SyntaxError::Escape),
        };
        char::from_u32(code).ok_or(SyntaxError::Escape)
    }

    /// `73` or `{73}`.
    fn hexadecimal(&mut self) -> Result<u32, SyntaxError> {
        let digits = if self.next_is("{") {
            let (digits, after) = self.rest.split_once('}').ok_or(SyntaxError::Escape)?;
            self.rest = after;
            digits
        } else {
            let (digits, after) = self.rest.split_at_checked(2).ok_or(SyntaxError::Escape)?;
            self.rest = after;
            digits
        };
        let is_number = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_number);
        code.ok_or(SyntaxError::Escape)
    }

    fn class(&mut self) -> Result<(), SyntaxError> {
        let mut class = String::from(if self.next_is("^") { "[^" } else { "[" });
        let mut is_first = true;
        while is_first || !self.next_is("]") {
            is_first = false;
            if let Some((name, after)) =
                self.rest.strip_prefix("[:").and_then(|name| name.split_once(":]"))
            {
                if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(SyntaxError::ClassName);
                }
                class.push_str(&format!("[:{name}:]"));
                self.rest = after;
                continue;
            }
            if self.rest.starts_with('\\') {
                let before = self.rest;
                self.rest = &before[1..];
                if let Some(set) = self.set_of_characters()? {
                    class.push_str(&set);
                    continue;
                }
                self.rest = before;
            }
            let low = self.class_character()?;
            class.push_str(&regex::escape(low.encode_utf8(&mut [0; 4])));
            // A hyphen makes a range unless it comes last.
            if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
                self.rest = &self.rest[1..];
                let high = self.class_character()?;
                if high < low {
                    return Err(SyntaxError::Range);
                }
                class.push('-');
                class.push_str(&regex::escape(high.encode_utf8(&mut [0; 4])));
            }
        }
        class.push(']');
        self.item(&class, Kind::Class)
    }

    fn class_character(&mut self) -> Result<char, SyntaxError> {
        match self.next().ok_or(SyntaxError::UnclosedClass)? {
            '\\' => self.escaped(),
            character => Ok(character),
        }
    }
}

impl Group {
    fn add(&mut self, item: Item) {
        if let Some(before) = self.last.replace(item) {
            self.sequence.add(before, Kind::Sequence);
        }
        self.repeats = self.repeats.max(item.repeats);
        self.flags_at = None;
    }

    /// Notes that flags begin here, or what else is nothing that could be repeated.
    fn pass_over(&mut self, at: usize) {
        if let Some(last) = &mut self.last {
            last.is_repeated = false;
            self.flags_at.get_or_insert(at);
        }
    }

    fn end_alternative(&mut self) -> Result<(), SyntaxError> {
        let mut sequence = std::mem::take(&mut self.sequence);
        if let Some(last) = self.last.take() {
            sequence.add(last, Kind::Sequence);
        }
        self.flags_at = None;
        self.alternatives.add(sequence.whole(Kind::Sequence)?, Kind::Alternatives);
        Ok(())
    }

    /// The group as one item.
    fn whole(mut self) -> Result<Item, SyntaxError> {
        self.end_alternative()?;
        let whole = self.alternatives.whole(Kind::Alternatives)?;
        let repeats = self.repeats.max(1);
        Ok(match self.is_numbered {
            true => {
                Item { repeats, height: bounded(whole.height + 1)?, kind: Kind::Other, ..whole }
            }
            false => Item { repeats, ..whole },
        })
    }
}

impl Parts {
    fn add(&mut self, item: Item, to: Kind) {
        let is_first = self.count == 0;
        let is_character = matches!(item.kind, Kind::Character | Kind::Characters);
        let is_single = matches!(item.kind, Kind::Character | Kind::Class);
        // What is of the kind already is no level of its own, and has several parts.
        let is_same = item.kind == to;
        self.are_characters = is_character && (is_first || self.are_characters);
        self.are_single = is_single && (is_first || self.are_single);
        self.last = Some(item.kind);
        self.count += if is_same { 2 } else { 1 };
        self.tallest = self.tallest.max(item.height - usize::from(is_same));
    }

    /// What they are together: a sequence, or alternatives.
    fn whole(&self, kind: Kind) -> Result<Item, SyntaxError> {
        let (height, kind) = match (self.last, self.count) {
            (None, _) => (1, Kind::Other),
            (Some(only), 1) => (self.tallest, only),
            _ if kind == Kind::Sequence && self.are_characters => (1, Kind::Characters),
            _ if kind == Kind::Alternatives && self.are_single => (1, Kind::Class),
            _ => (bounded(self.tallest + 1)?, kind),
        };
        Ok(Item { repeats: 1, height, kind, is_repeated: false })
    }
}

fn bounded(height: usize) -> Result<usize, SyntaxError> {
    if height > MAX_HEIGHT { Err(SyntaxError::TooDeep) } else { Ok(height) }
}

/// A category or script of Unicode, of which the regex crate knows more kinds than Go.
fn property(name: &str, is_negated: bool) -> Result<String, SyntaxError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    if !name.chars().all(is_name) {
        return Err(SyntaxError::Property);
    }
    let letter = if is_negated { 'P' } else { 'p' };
    let spelt = ["gc", "sc"].map(|kind| format!(r"\{letter}{{{kind}={name}}}"));
    let known = spelt.into_iter().find(|spelt| regex::Regex::new(spelt).is_ok());
    known.ok_or(SyntaxError::Property)
}

#[cfg(test)]
mod tests;
