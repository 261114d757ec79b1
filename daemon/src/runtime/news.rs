//! What the runtime's events say, and whether that is known already.
//!
//! An event only says that a pod is to be looked at (design.md 2.2). Most of them tell what the daemon has just done itself, and
//! come while it looks at the result: where the observation shows what an event tells of, another look would bring nothing.

use lifecycle::{ContainerState, Observation};

/// What an event tells of: a container or sandbox, by the runtime's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Created {
        id: String,
    },
    Started {
        id: String,
    },
    Stopped {
        id: String,
    },
    /// It is gone, or nobody knows.
    Other,
}

impl News {
    /// Whether what is told comes from a start, whose own answer brings a look.
    pub(crate) fn is_of_start(&self) -> bool {
        matches!(self, Self::Created { .. } | Self::Started { .. })
    }

    /// Whether `seen` shows it, or what follows from it.
    pub(crate) fn is_shown_by(&self, seen: &Observation) -> bool {
        let container = |id: &String| seen.containers.iter().find(|c| c.id == *id).map(|c| c.state);
        let sandbox = |id: &String| seen.sandboxes.iter().find(|s| s.id == *id).map(|s| s.ready);
        match self {
            Self::Created { id } => container(id).is_some() || sandbox(id).is_some(),
            Self::Started { id } => {
                container(id).is_some_and(|state| state != ContainerState::Created) || sandbox(id).is_some()
            }
            Self::Stopped { id } => {
                container(id) == Some(ContainerState::Exited) || sandbox(id) == Some(false)
            }
            Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use lifecycle::Sandbox;

    use super::*;

    fn seen(ready: bool) -> Observation {
        let sandbox = Sandbox {
            id: "s".into(),
            attempt: 0,
            created_at: 0,
            ready,
            host_network: false,
            ips: Vec::new(),
        };
        Observation { sandboxes: vec![sandbox], ..Observation::default() }
    }

    #[test]
    fn what_an_observation_shows_is_no_news_and_what_it_does_not_show_is() {
        let started = News::Started { id: "s".into() };
        let stopped = News::Stopped { id: "s".into() };
        assert!(started.is_shown_by(&seen(true)) && !stopped.is_shown_by(&seen(true)));
        assert!(stopped.is_shown_by(&seen(false)));
        assert!(!News::Stopped { id: "other".into() }.is_shown_by(&seen(false)));
        assert!(!News::Other.is_shown_by(&seen(true)));
    }
}
