//! How is this setting of these topics set?
//!
//! # References
//! - `DescribeConfigsRequest.json`, `DescribeConfigsResponse.json` · KIP-133

use super::aligned::{Asked, left_out, put};
use super::{Answer, Request, error};
use crate::kafka::names::Topic;
use crate::kafka::wire::reader::{DecodeError, Reader};
use crate::kafka::wire::versions::ApiKey;
use crate::kafka::wire::writer::Writer;

/// The kind of resource that a topic is.
const TOPIC: i8 = 2;

/// Asks for one setting of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeConfigs {
    /// The topics, each once.
    pub topics: Vec<Topic>,
    /// The setting, such as `cleanup.policy`.
    pub setting: &'static str,
}

impl Request for DescribeConfigs {
    const KEY: ApiKey = ApiKey::DescribeConfigs;

    /// The values in the order of the topics; `None` where the broker gave no value.
    type Reply = Vec<Answer<Option<String>>>;

    fn encode(&self, version: i16, to: &mut Writer) {
        to.count(self.topics.len());
        for topic in &self.topics {
            to.i8(TOPIC);
            to.string(topic.as_str());
            to.count(1);
            to.string(self.setting);
            to.tags();
        }
        if version >= 1 {
            to.bool(false); // No synonyms.
        }
        if version >= 3 {
            to.bool(false); // No documentation.
        }
        to.tags();
    }

    fn decode(&self, version: i16, from: &mut Reader<'_>) -> Result<Self::Reply, DecodeError> {
        from.throttle()?;
        let mut asked = Asked::new(&self.topics, Topic::as_str);
        let mut answers = left_out(self.topics.len());
        for _ in 0..from.count("topics", 6)? {
            let error = error(from)?;
            from.nullable_string("error message")?;
            let kind = from.i8("kind of resource")?;
            if kind != TOPIC {
                return Err(DecodeError::not_asked("kind of resource", &kind.to_string()));
            }
            let name = from.string("topic")?;
            let (place, _) =
                asked.find(name).ok_or_else(|| DecodeError::not_asked("topic", name))?;
            let value = self.value(version, from)?;
            from.tags()?;
            put(&mut answers, place, error.map_or(Ok(value), Err))
                .ok_or_else(|| DecodeError::duplicate("topic", name))?;
        }
        from.tags()?;
        Ok(answers)
    }
}

impl DescribeConfigs {
    /// The value among the settings of one topic.
    fn value(&self, version: i16, from: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
        let mut found = None;
        for _ in 0..from.count("settings", 5)? {
            let name = from.string("setting")?;
            let value = from.nullable_string("value")?;
            from.bool("read only")?;
            // Before version 1 this says whether it is the default, in one byte too.
            from.i8("source")?;
            from.bool("sensitive")?;
            if version >= 1 {
                for _ in 0..from.count("synonyms", 3)? {
                    from.string("synonym")?;
                    from.nullable_string("value")?;
                    from.i8("source")?;
                    from.tags()?;
                }
            }
            if version >= 3 {
                from.i8("type")?;
                from.nullable_string("documentation")?;
            }
            from.tags()?;
            if name != self.setting {
                return Err(DecodeError::not_asked("setting", name));
            }
            if found.replace(value).is_some() {
                return Err(DecodeError::duplicate("setting", name));
            }
        }
        Ok(found.flatten().map(str::to_owned))
    }
}
