//! How many files the daemon may have open (`maxOpenFiles`, behaviour.md 45): each connection is one, of a probe too.
//!
//! What the daemon starts inherits it; containers are started by the runtime.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit is lower than was asked for.
#[derive(Debug, thiserror::Error)]
#[error("raising the limit of open files to {wanted}")]
pub(crate) struct OpenFilesError {
    wanted: u64,
    #[source]
    source: Errno,
}

/// Takes the limit that the configuration says; where that may not be, the highest that may.
pub(crate) fn allow(wanted: i64) -> Result<(), OpenFilesError> {
    let Ok(wanted) = u64::try_from(wanted) else { return Ok(()) };
    if wanted == 0 || setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(());
    }
    let failed = |source| OpenFilesError { wanted, source };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_configured_or_the_highest_that_may_be() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let wanted = i64::try_from(hard).unwrap_or(i64::MAX);
        allow(wanted).unwrap();
        let (soft, now) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, now), (hard, hard));
        // More than the kernel has for anybody.
        allow(i64::MAX).unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        assert!(allow(-1).is_ok() && allow(0).is_ok());
    }
}
