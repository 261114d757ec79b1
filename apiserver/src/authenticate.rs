//! Who is calling: a client certificate of the cluster's authority, or a token (of the token file, a bootstrap token, or a service
//! account's).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pki::Subject;
use crate::status::ApiError;

/// Largest token file, in bytes.
const TOKEN_FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    /// What else is known, as the credential that was shown.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// Group of all whose credentials were found good.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// What `extra` calls the credential.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// What is said of a token that nobody knows.
pub(crate) const AUTHENTICATE_FAILED: &str = "invalid bearer token";

pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// How the protocol of a WebSocket begins that is a token, in URL-safe base64.
pub(crate) const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

impl User {
    pub(crate) fn authenticated(name: String, uid: String, mut groups: Vec<String>) -> Self {
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name, uid, groups, extra: BTreeMap::new() }
    }

    pub(crate) fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: ANONYMOUS.to_owned(), uid: String::new(), groups, extra: BTreeMap::new() }
    }

    /// This server's own tasks.
    pub(crate) fn server() -> Self {
        Self::authenticated("system:apiserver".to_owned(), String::new(), vec!["system:masters".to_owned()])
    }

    /// As reviews and certificate signing requests show it.
    pub(crate) fn to_object(&self) -> Value {
        let mut object = json!({ "username": self.name, "groups": self.groups });
        if !self.uid.is_empty() {
            object["uid"] = self.uid.as_str().into();
        }
        if !self.extra.is_empty() {
            object["extra"] = json!(self.extra);
        }
        object
    }

    pub(crate) fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// The token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenFileError {
    #[error("reading the token file {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("reading the token file {path}: more than {TOKEN_FILE_LIMIT_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("the token file {path}, line {line}: {reason}")]
    Line { path: PathBuf, line: usize, reason: &'static str },
}

/// All tokens. They are looked up by their hash, so that the time of a look-up tells nothing about them.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<[u8; 32], User>);

impl Tokens {
    /// Reads lines of `token,user,uid` or `token,user,uid,"group1,group2"`.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenFileError> {
        let failed = |source| TokenFileError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > TOKEN_FILE_LIMIT_BYTES {
            return Err(TokenFileError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).map_err(|(line, reason)| TokenFileError::Line {
            path: path.to_owned(),
            line,
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let wrong = |reason| (index + 1, reason);
            let fields = fields(line).ok_or(wrong("a quote is not closed"))?;
            let [token, user, uid, rest @ ..] = fields.as_slice() else {
                return Err(wrong("expected token, user, uid and perhaps groups"));
            };
            if token.is_empty() || user.is_empty() {
                return Err(wrong("token and user must not be empty"));
            }
            let groups = rest.first().map_or("", String::as_str).split(',').map(str::trim);
            let groups = groups.filter(|g| !g.is_empty()).map(str::to_owned).collect();
            let user = User::authenticated(user.clone(), uid.clone(), groups);
            if tokens.insert(hash(token), user).is_some() {
                return Err(wrong("the token occurs twice"));
            }
        }
        Ok(Self(tokens))
    }

    pub(crate) fn user(&self, token: &str) -> Option<&User> {
        self.0.get(&hash(token))
    }
}

/// Tokens are compared by it, so that the time of a comparison tells nothing about them.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// One line of comma-separated values; a field may stand in double quotes, with `""` for a quote.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut()?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}

/// Says who sent a request: `token` knows whose a token is. A request without credentials is anonymous; wrong ones are refused.
pub(crate) fn authenticate(
    certificate: Option<&Subject>,
    headers: &HeaderMap,
    now: Timestamp,
    token: impl Fn(&str) -> Option<User>,
) -> Result<User, ApiError> {
    if let Some(subject) = certificate {
        // The handshake has looked at the time too, but that may be long ago.
        if subject.user.is_empty() || subject.expires.is_some_and(|end| end < now) {
            return Err(ApiError::unauthorized());
        }
        let mut user = User::authenticated(subject.user.clone(), String::new(), subject.groups.clone());
        if !subject.fingerprint.is_empty() {
            let id = format!("X509SHA256={}", subject.fingerprint);
            user.extra.insert(CREDENTIAL_ID.to_owned(), vec![id]);
        }
        return Ok(user);
    }
    let Some(header) = headers.get(AUTHORIZATION) else {
        return match websocket_token(headers)? {
            Some(given) => token(&given).ok_or_else(ApiError::unauthorized),
            None => Ok(User::anonymous()),
        };
    };
    let given = header.to_str().ok().and_then(|h| h.split_once(' '));
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            token(given.trim()).ok_or_else(ApiError::unauthorized)
        }
        _ => Err(ApiError::unauthorized()),
    }
}

/// The token that a browser has put among the protocols of a WebSocket, for want of a header. There is to be another protocol, which
/// the answer can name.
fn websocket_token(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|field| field.to_str().ok());
    let protocols = fields.flat_map(|field| field.split(',')).map(str::trim);
    let (tokens, others): (Vec<&str>, Vec<&str>) = protocols.partition(|p| p.starts_with(TOKEN_PROTOCOL));
    let token = match (tokens.as_slice(), others.is_empty()) {
        ([], _) => return Ok(None),
        ([token], false) => token.strip_prefix(TOKEN_PROTOCOL).and_then(|t| URL_SAFE_NO_PAD.decode(t).ok()),
        _ => None,
    };
    let token = token.and_then(|token| String::from_utf8(token).ok());
    token.map(Some).ok_or_else(ApiError::unauthorized)
}

#[cfg(test)]
mod tests;
