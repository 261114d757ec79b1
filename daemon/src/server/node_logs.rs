//! `/logs/`: the node's own logs, as files or by a query (behaviour.md 35.10).
//!
//! | module | owns |
//! |---|---|
//! | `tree` | the directory that nothing leads out of |
//! | `files` | files and directories as answers |
//! | `range` | which part of a file is wanted |
//! | `query` | which services and lines are wanted |
//! | `journal` | what the services have logged |

mod files;
mod journal;
mod query;
mod range;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::path::Path;

use http::{HeaderMap, StatusCode};

pub(super) use self::journal::Journal;
use self::tree::Tree;
use super::Context;
use super::reply::{self, Reply};

/// `path` is what follows `/logs/`.
pub(super) async fn answer(context: &Context, path: &str, query: Option<&str>, headers: &HeaderMap) -> Reply {
    let tree = Tree::new(&context.about.log_dir);
    if !context.config.enable_system_log_query || !context.config.gate("NodeLogQuery") {
        return files::answer(&tree, path, query, headers).await;
    }
    let wanted = match query::parse(query.unwrap_or_default()) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => return files::answer(&tree, path, query, headers).await,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, why),
    };
    if !path.is_empty() && path != "/" {
        return reply::error(StatusCode::NOT_ACCEPTABLE, "path not allowed in query mode");
    }
    let stat = |file: &str| {
        let path = context.about.log_dir.join(file.trim_start_matches('/'));
        let why = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let said = |error| format!("stat {}: {}", path.display(), why(error));
        tree.open(Path::new(file)).map(drop).map_err(said)
    };
    if let Err(why) = wanted.validate(stat) {
        return reply::error(StatusCode::NOT_ACCEPTABLE, why);
    }
    match wanted.files.first() {
        Some(file) => files::answer(&tree, file, query, headers).await,
        None => context.about.journal.answer(&tree, wanted).await,
    }
}
