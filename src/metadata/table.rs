//! The parameters that there are, and what is said of keys that are none.

/// One parameter of a trigger.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its key in the metadata.
    pub key: &'static str,
    /// What holds where it is not given, in words; empty where that needs none.
    pub default: &'static str,
    /// What it means, in a line of Markdown.
    pub meaning: &'static str,
    /// Whether its value is never shown.
    pub is_secret: bool,
    /// Who makes use of it, and where it may come from.
    pub use_: Use,
}

/// Who makes use of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The scaler. It may stand in the metadata, as itself or with `FromEnv`, or in the
    /// TriggerAuthentication that the trigger names.
    Read,
    /// KEDA, or nobody any more: it is taken from the metadata and looked at no further.
    Ignored,
    /// KEDA, of a TriggerAuthentication that we read too.
    OfAuthentication,
}

/// Keys that are no parameters, by their names, and a predicate that ends in what fits.
pub type ByHeart = &'static [(&'static str, &'static str)];

/// The parameters that belong together, as those of one source do.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Each once.
    pub parameters: &'static [Parameter],
    /// The parameters that nearly every trigger has, as a list for a message.
    pub usual: &'static str,
    /// Keys that are asked for and are none, and what is meant by them.
    pub by_heart: ByHeart,
}

impl Parameter {
    /// One that is read, and may be shown.
    pub const fn new(key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { key, default, meaning, is_secret: false, use_: Use::Read }
    }

    /// One whose value is never shown.
    pub const fn secret(key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { key, default, meaning, is_secret: true, use_: Use::Read }
    }

    /// One that is nothing to us.
    pub const fn ignored(key: &'static str, meaning: &'static str) -> Self {
        Self { key, default: "", meaning, is_secret: true, use_: Use::Ignored }
    }

    /// One that KEDA reads of a TriggerAuthentication.
    pub const fn of_authentication(key: &'static str, meaning: &'static str) -> Self {
        Self { key, default: "", meaning, is_secret: true, use_: Use::OfAuthentication }
    }
}

impl Table {
    /// The parameter of this key.
    pub fn get(&self, key: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.key == key)
    }
}
