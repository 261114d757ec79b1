//! The observers: what the kernel says of memory, file systems and process ids, and its word that work waits for memory.
//!
//! Each read is a few files or system calls, so short that it may be made where nothing may block. What cannot be read is an error
//! that names its path.

pub mod filesystem;
pub mod memory;
pub mod pids;
pub mod pressure;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Something that the kernel should tell cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file or file system.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("{} has no {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

fn read(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

fn content(path: &Path, what: &'static str) -> ReadError {
    ReadError::Content { path: path.to_owned(), what }
}
