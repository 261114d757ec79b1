//! Files and directories as Go's `http.FileServer` serves them (behaviour.md 35.10).

use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION, RANGE,
};
use http::{Response, StatusCode};
use nix::dir::Dir;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::range::{self, Wanted};
use super::tree::{Node, Tree};
use crate::server::reply::{self, Reply};

/// Of a file, read at once and no earlier than the caller takes it.
const CHUNK: usize = 64 * 1024;
/// Names of a directory that are shown at most; the page ends with a line that says that there are more.
const ENTRIES: usize = 10_000;
/// So much of a file tells what it is.
const SNIFFED: usize = 512;
const INDEX: &str = "index.html";
/// What Go leaves as it is in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What is known of a path before anything of it is sent.
#[derive(Debug)]
enum Found {
    File {
        file: File,
        data: Metadata,
        kind: &'static str,
    },
    /// With the page of its names.
    Directory {
        data: Metadata,
        page: String,
    },
    /// The path would be right with or without a slash at its end.
    Elsewhere(String),
    NoDirectory,
}

/// The answer for a path below the tree. `query` goes along where the caller is sent to another path.
pub(super) async fn answer(tree: &Tree, path: &str, query: Option<&str>, headers: &HeaderMap) -> Reply {
    let path = format!("/{}", path.trim_start_matches('/'));
    if path.ends_with(&format!("/{INDEX}")) {
        return moved("./", query);
    }
    let (tree, wanted) = (tree.clone(), path.clone());
    let found = tokio::task::spawn_blocking(move || find(&tree, &wanted)).await;
    match found.unwrap_or_else(|_| Err(io::Error::other("reading was given up"))) {
        Ok(Found::Elsewhere(to)) => moved(&to, query),
        Ok(Found::NoDirectory) => {
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "http: attempting to traverse a non-directory")
        }
        Ok(Found::Directory { data, page }) => directory(&data, page, headers),
        Ok(Found::File { file, data, kind }) => content(file, &data, kind, headers).await,
        Err(error) => failed(&path, &error),
    }
}

fn failed(path: &str, error: &io::Error) -> Reply {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => reply::not_found(),
        io::ErrorKind::PermissionDenied => reply::error(StatusCode::FORBIDDEN, "403 Forbidden"),
        _ => {
            tracing::debug!(path, %error, "a file of the node's logs cannot be served");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
        }
    }
}

/// Opens what is asked for. Blocks on the disk.
fn find(tree: &Tree, path: &str) -> io::Result<Found> {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match tree.open(Path::new(path))? {
        Node::File(_) if path.ends_with('/') && name.is_empty() => Ok(Found::NoDirectory),
        Node::File(_) if path.ends_with('/') => Ok(Found::Elsewhere(format!("../{}", escaped(name)))),
        Node::File(file) => sniffed(file, name),
        Node::Directory(_) if !path.ends_with('/') => Ok(Found::Elsewhere(format!("{}/", escaped(name)))),
        Node::Directory(dir) => match tree.open(&Path::new(path).join(INDEX)) {
            Ok(Node::File(file)) => sniffed(file, INDEX),
            _ => Ok(Found::Directory { data: dir.metadata()?, page: listing(dir)? }),
        },
    }
}

fn sniffed(mut file: File, name: &str) -> io::Result<Found> {
    let data = file.metadata()?;
    let mut start = Vec::with_capacity(SNIFFED);
    (&mut file).take(SNIFFED as u64).read_to_end(&mut start)?;
    let kind = kind(name, &start);
    Ok(Found::File { file, data, kind })
}

/// The type of a file by its name, or else by how it begins. Text is no page: a log may have been written by anybody.
fn kind(name: &str, start: &[u8]) -> &'static str {
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "htm" | "html" => return "text/html; charset=utf-8",
        "json" => return "application/json",
        "xml" => return "text/xml; charset=utf-8",
        "css" => return "text/css; charset=utf-8",
        "js" | "mjs" => return "text/javascript; charset=utf-8",
        "gz" => return "application/gzip",
        "pdf" => return "application/pdf",
        "png" => return "image/png",
        "svg" => return "image/svg+xml",
        "jpg" | "jpeg" => return "image/jpeg",
        _ => {}
    }
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    if start.starts_with(b"\x1f\x8b\x08") {
        "application/x-gzip"
    } else if start.iter().any(is_binary) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}

/// A page with a link for each name, in their order.
fn listing(dir: File) -> io::Result<String> {
    let mut names = Vec::new();
    let mut dir = Dir::from_fd(dir.into())?;
    for entry in dir.iter() {
        let entry = entry?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." {
            continue;
        }
        if entry.file_type() == Some(nix::dir::Type::Directory) {
            name.push('/');
        }
        names.push(name);
        if names.len() > ENTRIES {
            break;
        }
    }
    let is_cut = names.len() > ENTRIES;
    names.truncate(ENTRIES);
    names.sort_by(|a, b| a.trim_end_matches('/').cmp(b.trim_end_matches('/')));
    let mut page =
        String::from("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n");
    for name in names {
        // Writing to a string does not fail.
        let _ = writeln!(page, "<a href=\"{}\">{}</a>", for_html(&escaped(&name)), for_html(&name));
    }
    if is_cut {
        let _ = writeln!(page, "and more than {ENTRIES} in all");
    }
    page.push_str("</pre>\n");
    Ok(page)
}

/// A name as the path of a link: one with a colon would be taken for another scheme.
fn escaped(name: &str) -> String {
    let path = utf8_percent_encode(name, PATH).to_string();
    if path.split('/').next().is_some_and(|first| first.contains(':')) { format!("./{path}") } else { path }
}

fn for_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn moved(to: &str, query: Option<&str>) -> Reply {
    let location = query.map_or_else(|| to.to_owned(), |query| format!("{to}?{query}"));
    let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = reply::text(status, "");
    reply.headers_mut().remove(CONTENT_TYPE);
    reply
}

fn directory(data: &Metadata, page: String, headers: &HeaderMap) -> Reply {
    let modified = modified(data);
    let since = date(headers, &IF_MODIFIED_SINCE);
    let mut reply = match (since, modified) {
        (Some(since), Some(modified)) if modified <= since => empty(StatusCode::NOT_MODIFIED),
        _ => {
            let mut reply = reply::text(StatusCode::OK, page);
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            reply.headers_mut().insert(CONTENT_TYPE, html);
            reply
        }
    };
    stamp(&mut reply, modified);
    reply
}

async fn content(mut file: File, data: &Metadata, kind: &'static str, headers: &HeaderMap) -> Reply {
    let (size, modified) = (data.len(), modified(data));
    if let Some(status) = precondition(headers, modified) {
        let mut reply = empty(status);
        stamp(&mut reply, modified);
        return reply;
    }
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let asked = asked.filter(|_| is_same(headers, modified));
    let (status, from, length) = match range::parse(asked.unwrap_or_default(), size) {
        Wanted::All => (StatusCode::OK, 0, size),
        Wanted::Part { from, length } => (StatusCode::PARTIAL_CONTENT, from, length),
        Wanted::Nothing(why) => {
            let mut reply = reply::error(StatusCode::RANGE_NOT_SATISFIABLE, why);
            put(&mut reply, CONTENT_RANGE, &format!("bytes */{size}"));
            return reply;
        }
    };
    let file = tokio::task::spawn_blocking(move || file.seek(SeekFrom::Start(from)).map(|_| file)).await;
    let file = match file.unwrap_or_else(|_| Err(io::Error::other("reading was given up"))) {
        Ok(file) => tokio::fs::File::from_std(file),
        Err(error) => return failed("", &error),
    };
    let chunks = ReaderStream::with_capacity(file.take(length), CHUNK);
    // The answer has begun: what breaks now can only be logged, and its length tells the caller.
    let mut reply = reply::stream(chunks.filter_map(|chunk| {
        let chunk = chunk.inspect_err(|error| tracing::debug!(%error, "reading a file of the node's logs"));
        std::future::ready(chunk.ok())
    }));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        put(&mut reply, CONTENT_RANGE, &format!("bytes {from}-{}/{size}", from + length.saturating_sub(1)));
    }
    stamp(&mut reply, modified);
    reply
}

/// Why the content is not sent, if it is not. Files have no entity tags here, as in Go.
fn precondition(headers: &HeaderMap, modified: Option<SystemTime>) -> Option<StatusCode> {
    let any = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes().trim_ascii() == b"*");
    let unmodified = match any(&IF_MATCH) {
        Some(any) => any,
        None => match (date(headers, &IF_UNMODIFIED_SINCE), modified) {
            (Some(since), Some(modified)) => modified <= since,
            _ => true,
        },
    };
    if !unmodified {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let known = match any(&IF_NONE_MATCH) {
        Some(any) => any,
        None => match (date(headers, &IF_MODIFIED_SINCE), modified) {
            (Some(since), Some(modified)) => modified <= since,
            _ => false,
        },
    };
    known.then_some(StatusCode::NOT_MODIFIED)
}

/// Whether a part is wanted of this state of the file, and not of another one.
fn is_same(headers: &HeaderMap, modified: Option<SystemTime>) -> bool {
    !headers.contains_key(IF_RANGE) || date(headers, &IF_RANGE).is_some_and(|date| Some(date) == modified)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// When it was changed, in whole seconds as in headers; files from before 1970 have no time.
fn modified(data: &Metadata) -> Option<SystemTime> {
    let since = data.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let whole = Duration::from_secs(since.as_secs());
    (!whole.is_zero()).then(|| SystemTime::UNIX_EPOCH + whole)
}

fn stamp(reply: &mut Reply, modified: Option<SystemTime>) {
    if let Some(modified) = modified {
        put(reply, LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
}

fn put<T>(reply: &mut Response<T>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests;
