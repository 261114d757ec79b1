//! Container logs as the runtime writes them (behaviour.md 38).
//!
//! ```text
//!   file ─read 64 KiB─> lines ─parse─> line ─select, since, limit─> Bytes ─> whoever polls
//!    │                                                                        (a slow one stops the reading)
//!    └─ at its end: rotation (the next file, by inode) · changes (inotify, and once a second) · the container's end
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `stamp` | the time at the start of a line |
//! | `line` | one line of the CRI or Docker form |
//! | `lines` | blocks to lines, with a bound on what an endless line may keep |
//! | `selection` | which lines a reader gets, and how they look |
//! | `tail` | where the last lines begin, read from the end |
//! | `rotated` | names of the files that a rotation makes |
//! | `rotation` | which file comes after the one that is being read |
//! | `changes` | waiting until something may have happened |
//! | `reader` | the stream |
//! | `links` | names in the directory of all containers' logs |

mod changes;
mod line;
mod lines;
mod links;
mod reader;
mod rotated;
mod rotation;
mod selection;
mod stamp;
mod tail;

pub use line::{Line, Malformed, Stream, parse};
pub use links::{DanglingLink, dangling_links};
pub use reader::{LogError, LogReader};
pub use rotated::{Form, Rotated, next_suffix};
pub use selection::{LogOptions, Select};
pub use stamp::Stamp;
pub use tail::fallback_message;
