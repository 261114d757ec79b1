//! Where a request goes, and where a redirect leads from there (RFC 3986, 5.2). Both come from pods: nothing is sure about
//! them.

use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Scheme, dial};

/// What cannot stand in a request line as it is.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A server and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) scheme: Scheme,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the port is written out although it is the scheme's own.
    written: bool,
    /// Begins with a slash; can stand in a request line.
    pub(super) path: String,
}

impl Location {
    pub(super) fn new(scheme: Scheme, host: &str, port: u16, path: &str) -> Self {
        Self { scheme, host: host.to_owned(), port, written: true, path: rooted(&safe(path)) }
    }

    /// For the header `Host`.
    pub(super) fn authority(&self) -> String {
        let own = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if self.port != own || self.written {
            return dial::authority(&self.host, self.port);
        }
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// For people.
    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme.name(), self.authority(), self.path)
    }

    /// Where a redirect to `reference` leads, and whether it names a server by itself.
    pub(super) fn follow(&self, reference: &str) -> Result<(Self, bool), String> {
        let reference = safe(reference);
        if let Some(rest) = reference.strip_prefix("//") {
            return Ok((absolute(self.scheme, rest)?, true));
        }
        if let Some((scheme, rest)) = reference.split_once(':').filter(|(s, _)| is_scheme(s)) {
            let scheme = match scheme.to_ascii_lowercase().as_str() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => return Err(format!("unsupported protocol scheme {other:?}")),
            };
            let rest = rest.strip_prefix("//").ok_or("http: no Host in request URL")?;
            return Ok((absolute(scheme, rest)?, true));
        }
        let (base, query) =
            self.path.split_once('?').map_or((self.path.as_str(), None), |(p, q)| (p, Some(q)));
        let path = if reference.is_empty() {
            query.map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"))
        } else if reference.starts_with('?') {
            format!("{base}{reference}")
        } else if reference.starts_with('/') {
            without_dots(&reference)
        } else {
            let parent = base.rfind('/').map_or("/", |at| &base[..=at]);
            without_dots(&format!("{parent}{reference}"))
        };
        Ok((Self { path: rooted(&path), ..self.clone() }, false))
    }
}

/// Without a fragment, which is never sent, and with nothing in it that would end the request line.
fn safe(text: &str) -> String {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    utf8_percent_encode(text, UNSAFE).to_string()
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// `host:port/path?query` after the two slashes.
fn absolute(scheme: Scheme, rest: &str) -> Result<Location, String> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // Who is asked as somebody is not asked so by a probe.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    if authority.is_empty() {
        return Err("http: no Host in request URL".to_owned());
    }
    let parsed: Authority = authority.parse().map_err(|_| format!("invalid host {authority:?}"))?;
    let host = parsed.host();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err("http: no Host in request URL".to_owned());
    }
    let given = parsed.port_u16();
    let port = given.unwrap_or(match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    });
    if port == 0 {
        return Err(format!("invalid host {authority:?}"));
    }
    let path = rooted(path);
    Ok(Location { scheme, host: host.to_owned(), port, written: given.is_some(), path })
}

/// A path with its `.` and `..` carried out; what follows a `?` stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests;
