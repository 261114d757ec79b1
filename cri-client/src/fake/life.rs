//! How long a container runs, and how it ends: read off its command, as far as that says it plainly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The life of a container's program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// It ends by itself so long after its start; never, if absent.
    pub millis: Option<u64>,
    /// With this code.
    pub exit_code: i32,
    /// It does not end on SIGTERM.
    pub ignores_term: bool,
}

impl Life {
    /// What the words of a command make expect: `sleep 5`, `true`, `exit 3`, `sh -c "sleep 0.1; exit 2"`. Everything else runs on.
    pub(super) fn of(words: &[String]) -> Self {
        let text = words.join(" ");
        let mut life = Self { ignores_term: text.contains("trap '' TERM"), ..Self::default() };
        let (mut slept, mut ends) = (0.0, false);
        let mut parts = text.split([' ', ';', '\n', '&', '"']).filter(|p| !p.is_empty());
        while let Some(part) = parts.next() {
            match part {
                "sleep" => match parts.next().and_then(|s| s.parse::<f64>().ok()) {
                    Some(seconds) => {
                        slept += seconds.max(0.0);
                        ends = true;
                    }
                    None => return life,
                },
                "exit" => {
                    life.exit_code = parts.next().and_then(|c| c.parse().ok()).unwrap_or(0);
                    life.millis = Some(millis(slept));
                    return life;
                }
                "true" | "echo" => ends = true,
                "false" => {
                    life.exit_code = 1;
                    ends = true;
                }
                "while" => return life,
                _ => {}
            }
        }
        if ends {
            life.millis = Some(millis(slept));
        }
        life
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.millis.map(Duration::from_millis)
    }
}

fn millis(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds)
        .map_or(u64::MAX, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_tells_how_its_container_ends() {
        let life = |command: &str| Life::of(&command.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let ends = |millis, exit_code| Life { millis: Some(millis), exit_code, ignores_term: false };
        assert_eq!(life("sleep 5"), ends(5000, 0));
        assert_eq!(life("sh -c sleep 0.1; exit 2"), ends(100, 2));
        assert_eq!(life("true"), ends(0, 0));
        assert_eq!(life("/pause"), Life::default());
        assert_eq!(
            life("sh -c trap '' TERM; while true; do sleep 1; done"),
            Life { ignores_term: true, ..Life::default() }
        );
    }
}
