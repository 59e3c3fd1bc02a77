//! Which Kafka a cluster runs.

/// A version of Kafka that the harness can start. The older ones are small and plain: one node, no
/// security.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KafkaVersion {
    /// 2.8: the last of which most clusters had a ZooKeeper. It runs with one here.
    V2_8,
    /// 3.3: the first whose own quorum (`KRaft`) was meant for production.
    V3_3,
    /// 3.9: the last before 4.0 dropped the oldest requests.
    V3_9,
    /// The one that all tests run on.
    #[default]
    Newest,
}

impl KafkaVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 4] = [Self::V2_8, Self::V3_3, Self::V3_9, Self::Newest];

    /// As Maven names it; none for what `pom.xml` says itself.
    pub(super) fn number(self) -> Option<&'static str> {
        match self {
            Self::V2_8 => Some("2.8.2"),
            Self::V3_3 => Some("3.3.2"),
            Self::V3_9 => Some("3.9.1"),
            Self::Newest => None,
        }
    }

    /// Whether it keeps its metadata in a ZooKeeper.
    pub(super) fn has_zookeeper(self) -> bool {
        self == Self::V2_8
    }

    /// The class that starts it.
    pub(super) fn main_class(self) -> &'static str {
        match self {
            Self::Newest => "TestBroker",
            Self::V2_8 | Self::V3_3 | Self::V3_9 => "OldBroker",
        }
    }

    /// The sources of that class.
    pub(super) fn sources(self) -> [&'static str; 2] {
        match self {
            Self::Newest => ["TestBroker.java", "Lifeline.java"],
            Self::V2_8 | Self::V3_3 | Self::V3_9 => ["OldBroker.java", "Lifeline.java"],
        }
    }
}
