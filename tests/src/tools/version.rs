//! Versions as programs and packages write them.

use std::fmt;

/// The first numbers of a version; what follows them does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: 0 }
    }

    /// The first version in a text: two or three numbers with dots between them.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut numbers = word.split('.').map_while(|number| number.parse().ok());
            let (major, minor) = (numbers.next()?, numbers.next()?);
            Some(Self { major, minor, patch: numbers.next().unwrap_or(0) })
        })
    }

    /// Of a Debian package: the upstream part, without the epoch.
    pub(crate) fn of_package(version: &str) -> Option<Self> {
        Self::find(version.split_once(':').map_or(version, |(_, rest)| rest))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
