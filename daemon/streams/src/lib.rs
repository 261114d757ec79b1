//! What flows out of and into containers: their logs, and later exec, attach and port-forward.
//!
//! | module | owns |
//! |---|---|
//! | `logs` | reading and following the log files that a runtime writes |
//!
//! Nothing here starts a task or keeps state beyond one stream: a stream that is dropped leaves nothing behind, and each
//! has a bound on its memory that neither the file nor a slow reader can move.
#![forbid(unsafe_code)]

pub mod logs;
