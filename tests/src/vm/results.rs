//! What remains of a test: a directory with the journal, the console and the state of each node.

use std::fmt::Write as _;
use std::path::Path;

use crate::command;
use crate::tools::chain;

use super::node::Node;

/// What is shown of a journal when a test has failed.
const SHOWN_BYTES: usize = 8000;
const JOURNAL: &str = ".journal";
const CONSOLE: &str = ".console";
/// What the journal does not tell.
const STATE: &str = "systemctl --failed --no-pager; systemctl list-units --no-pager --type=service,scope,slice; \
                     cat /proc/meminfo /proc/pressure/*; df -h; dmesg | tail -n 50";

/// Brings back what a node can still tell; what it cannot is told in its place.
pub(super) async fn keep(node: &Node, dir: &Path) {
    let journal = node.journal().await.unwrap_or_else(|error| format!("no journal: {}\n", chain(&error)));
    let state = node.output(&["sh", "-c", STATE]).await;
    let state = state.map_or_else(|error| format!("no state: {}\n", chain(&error)), |said| said.stdout);
    let console = std::fs::read(node.console()).unwrap_or_default();
    let files = [(JOURNAL, journal.into_bytes()), (".state", state.into_bytes()), (CONSOLE, console)];
    for (kind, content) in files {
        let path = dir.join(format!("{}{kind}", node.name()));
        if let Err(error) = std::fs::write(&path, content) {
            eprintln!("writing {}: {error}", path.display());
        }
    }
}

/// The ends of all journals and consoles in a directory, for the output of a test that has failed.
pub(super) fn ends(dir: &Path) -> String {
    let mut text = String::new();
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(JOURNAL) || name.ends_with(CONSOLE)
        })
        .collect();
    files.sort();
    for path in files {
        let content = std::fs::read(&path).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        // A string takes whatever is written to it.
        let _ = writeln!(text, "---- the end of {}", path.display());
        let _ = writeln!(text, "{}", command::tail(&content, SHOWN_BYTES));
    }
    let _ = write!(text, "---- all of it is in {}", dir.display());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_shows_the_end_of_each_journal_and_where_the_rest_is() {
        let dir = tempfile::tempdir().expect("directory");
        let long = format!("first line\n{}last line\n", "x\n".repeat(SHOWN_BYTES));
        std::fs::write(dir.path().join("node1.journal"), long).expect("file");
        std::fs::write(dir.path().join("node1.state"), "state").expect("file");
        let text = ends(dir.path());
        assert!(text.contains("last line") && !text.contains("first line") && !text.contains("state\n"));
        assert!(text.contains(&dir.path().display().to_string()));
    }
}
