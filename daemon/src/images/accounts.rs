//! Service accounts of pods, and tokens in their names for plugins. behaviour.md 14.5.
//!
//! A token is asked of the API server for one pod, one account and one audience, bound to the pod, and kept until most of its
//! life is over. Where a new one cannot be had, the old one is used for as long as it lasts. Tokens are in memory only, and in no
//! log and no error.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::credential::{AccountName, Hidden};
use super::secrets::is_name;
use super::turns::Turns;
use crate::cause::chain;

/// How long a read of an account is good for: containers of one pod start at the same time.
const FRESH: Duration = Duration::from_secs(5);
/// How long one question to the API server may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Accounts, and tokens, that are kept.
const KEPT: usize = 1_000;
/// A token is not used longer than that, however long it lasts.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);
/// A token that is due and cannot be renewed is not asked for more often than that.
const SOONEST: Duration = Duration::from_secs(10);
/// Tokens that were made together are not renewed together.
const MOST_JITTER: u32 = 10;

/// Why there is no account or no token of it.
#[derive(Debug, Error)]
pub(crate) enum AccountError {
    #[error("there is no API server")]
    NoServer,
    #[error("{0:?} is no name of a service account")]
    Name(String),
    #[error("no answer in {LIMIT:?}")]
    Deadline,
    #[error("reading service account {namespace}/{name}")]
    Read { namespace: String, name: String, source: kube::Error },
    /// Written by whoever made the account; some opt in that way.
    #[error("service account {namespace}/{name} has no annotation {key}")]
    NoAnnotation { namespace: String, name: String, key: String },
    #[error("asking for a token of service account {namespace}/{name}")]
    Token { namespace: String, name: String, source: kube::Error },
    #[error(
        "asking for a token of service account {namespace}/{name}: the API server serves no tokens, or has lost the account or the pod"
    )]
    NoToken { namespace: String, name: String },
    /// The parser's own words could repeat a part of the token.
    #[error(
        "asking for a token of service account {namespace}/{name}: the answer is no TokenRequest with a token (line {line}, column {column})"
    )]
    Content { namespace: String, name: String, line: usize, column: usize },
}

/// An account, and what it says to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: AccountName,
    /// Those that were asked for.
    pub(super) annotations: BTreeMap<String, String>,
}

/// Namespace and name.
type Key = (String, String);

/// Reads accounts and gets tokens for all pods.
pub(crate) struct Accounts {
    client: Option<kube::Client>,
    reads: Mutex<HashMap<Key, (Instant, Arc<ServiceAccount>)>>,
    tokens: Mutex<HashMap<Bound, Token>>,
    turns: Turns<Key>,
    token_turns: Turns<Bound>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client has nothing to show, and the tokens shall not.
        f.debug_struct("Accounts").field("api", &self.client.is_some()).finish_non_exhaustive()
    }
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bound {
    account: AccountName,
    /// Empty for the API server's own.
    audience: String,
    /// How many seconds it is to last, where that is not left to the API server.
    seconds: Option<i64>,
    pod: String,
    pod_uid: String,
}

#[derive(Clone, Debug)]
struct Token {
    text: Hidden,
    expires: Timestamp,
    /// From its beginning to its end.
    lifetime: SignedDuration,
}

/// The parts of the API's `TokenRequest` that count.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    spec: AnswerSpec,
    status: AnswerStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerSpec {
    expiration_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerStatus {
    token: Hidden,
    expiration_timestamp: Timestamp,
}

/// The name of the pod's service account. A static pod has none: the API knows nothing of it that a token could be bound to.
pub(super) fn account_of(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    name.filter(|name| !name.is_empty() && !podspec::is_static(pod))
}

impl Accounts {
    /// Without a client there are no accounts.
    pub(crate) fn new(client: Option<kube::Client>) -> Self {
        Self {
            client,
            reads: Mutex::default(),
            tokens: Mutex::default(),
            turns: Turns::default(),
            token_turns: Turns::default(),
        }
    }

    /// An account with all annotations that are required, and those of the optional ones that it has.
    pub(super) async fn account(
        &self,
        namespace: &str,
        name: &str,
        required: &[String],
        optional: &[String],
    ) -> Result<Account, AccountError> {
        let read = self.read(namespace, name).await?;
        let has = read.metadata.annotations.as_ref();
        let mut annotations = BTreeMap::new();
        for key in required {
            let Some(value) = has.and_then(|has| has.get(key)) else {
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                return Err(AccountError::NoAnnotation { namespace, name, key: key.clone() });
            };
            annotations.insert(key.clone(), value.clone());
        }
        for key in optional {
            if let Some(value) = has.and_then(|has| has.get(key)) {
                annotations.insert(key.clone(), value.clone());
            }
        }
        let uid = read.metadata.uid.clone().unwrap_or_default();
        let name = AccountName { namespace: namespace.to_owned(), name: name.to_owned(), uid };
        Ok(Account { name, annotations })
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Arc<ServiceAccount>, AccountError> {
        let client = self.client.clone().ok_or(AccountError::NoServer)?;
        check_names(namespace, name)?;
        let key = (namespace.to_owned(), name.to_owned());
        let _turn = self.turns.take(key.clone()).await;
        if let Some(read) = self.fresh(&key) {
            return Ok(read);
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let read = timeout(LIMIT, accounts.get(name)).await.map_err(|_| AccountError::Deadline)?;
        let failed = |source| {
            let (namespace, name) = key.clone();
            AccountError::Read { namespace, name, source }
        };
        let read = Arc::new(read.map_err(failed)?);
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.retain(|_, (at, _)| at.elapsed() < FRESH);
        if reads.len() < KEPT {
            reads.insert(key, (Instant::now(), Arc::clone(&read)));
        }
        Ok(read)
    }

    fn fresh(&self, key: &Key) -> Option<Arc<ServiceAccount>> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, read)| Arc::clone(read))
    }

    /// A token for `audience` in the account's name that is good for as long as the pod exists.
    pub(super) async fn token(
        &self,
        account: &AccountName,
        pod: &Pod,
        audience: &str,
    ) -> Result<Hidden, AccountError> {
        Ok(self.bound(Bound::new(account.clone(), audience, None, pod)).await?.text)
    }

    /// A token of the pod's own account for a file of the pod, and after how long it is to be asked for again.
    pub(crate) async fn projected(
        &self,
        pod: &Pod,
        audience: &str,
        seconds: i64,
    ) -> Result<(Hidden, Duration), AccountError> {
        let account = AccountName {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: account_of(pod).unwrap_or("default").to_owned(),
            uid: String::new(),
        };
        let bound = Bound::new(account, audience, Some(seconds), pod);
        let jitter = bound.jitter();
        let token = self.bound(bound).await?;
        let due = token.due(jitter).duration_since(Timestamp::now());
        Ok((token.text, Duration::try_from(due).unwrap_or_default().max(SOONEST)))
    }

    async fn bound(&self, bound: Bound) -> Result<Token, AccountError> {
        let _turn = self.token_turns.take(bound.clone()).await;
        let kept = self.kept(&bound);
        if let Some(token) = kept.as_ref().filter(|token| !token.is_due(Timestamp::now(), bound.jitter())) {
            return Ok(token.clone());
        }
        match self.request(&bound).await {
            Ok(token) => {
                self.keep(bound, token.clone());
                Ok(token)
            }
            Err(error) => match kept.filter(|token| Timestamp::now() < token.expires) {
                Some(token) => {
                    let AccountName { namespace, name, .. } = &bound.account;
                    let error = chain(&error);
                    tracing::warn!(
                        namespace,
                        name,
                        error,
                        "the token of a service account cannot be renewed yet"
                    );
                    Ok(token)
                }
                None => Err(error),
            },
        }
    }

    /// The pod of this UID is over: nobody needs its tokens any more.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|bound, _| bound.pod_uid != pod_uid);
    }

    fn kept(&self, bound: &Bound) -> Option<Token> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(bound).cloned()
    }

    fn keep(&self, bound: Bound, token: Token) {
        let now = Timestamp::now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, token| now < token.expires);
        if tokens.len() < KEPT || tokens.contains_key(&bound) {
            tokens.insert(bound, token);
        }
    }

    async fn request(&self, bound: &Bound) -> Result<Token, AccountError> {
        let client = self.client.clone().ok_or(AccountError::NoServer)?;
        let AccountName { namespace, name, uid } = &bound.account;
        check_names(namespace, name)?;
        let mut body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {},
            "spec": {
                "audiences": [],
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": bound.pod, "uid": bound.pod_uid},
            },
        });
        if !uid.is_empty() {
            body["metadata"]["uid"] = json!(uid);
        }
        if !bound.audience.is_empty() {
            body["spec"]["audiences"] = json!([bound.audience]);
        }
        if let Some(seconds) = bound.seconds {
            body["spec"]["expirationSeconds"] = json!(seconds);
        }
        let (namespace, name) = (namespace.clone(), name.clone());
        let request = Request::post(format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes());
        let Ok(request) = request else { return Err(AccountError::Name(name)) };
        let began = Timestamp::now();
        let text = match timeout(LIMIT, client.request_text(request)).await {
            Ok(Ok(text)) => text,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(AccountError::NoToken { namespace, name });
            }
            Ok(Err(source)) => return Err(AccountError::Token { namespace, name, source }),
            Err(_) => return Err(AccountError::Deadline),
        };
        token(&text, began).map_err(|(line, column)| AccountError::Content { namespace, name, line, column })
    }
}

/// Reads the API server's answer to a request that was sent at `asked`; where it cannot be read, line and column.
fn token(text: &str, asked: Timestamp) -> Result<Token, (usize, usize)> {
    let answer: Answer = serde_json::from_str(text).map_err(|error| (error.line(), error.column()))?;
    let AnswerStatus { token: text, expiration_timestamp: expires } = answer.status;
    if text.reveal().is_empty() {
        return Err((0, 0));
    }
    let told = answer.spec.expiration_seconds.map(SignedDuration::from_secs);
    let lifetime = told.unwrap_or_else(|| expires.duration_since(asked));
    Ok(Token { text, expires, lifetime })
}

impl Bound {
    fn new(account: AccountName, audience: &str, seconds: Option<i64>, pod: &Pod) -> Self {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            account,
            audience: audience.to_owned(),
            seconds,
            pod: part(&pod.metadata.name),
            pod_uid: part(&pod.metadata.uid),
        }
    }

    /// The same for each look at one token.
    fn jitter(&self) -> SignedDuration {
        let spread = podspec::deep_hash32(format!("{self:?}").as_bytes()) % MOST_JITTER;
        SignedDuration::from_secs(spread.into())
    }
}

impl Token {
    /// When it is to be renewed.
    fn due(&self, jitter: SignedDuration) -> Timestamp {
        let old = self.lifetime.saturating_sub(OLDEST).max(self.lifetime / 5);
        self.expires.saturating_sub(old.saturating_add(jitter)).unwrap_or(self.expires)
    }

    /// Whether it is to be renewed: four fifths of its life are over, or it is a day old, or the clock was set back to before
    /// its beginning.
    fn is_due(&self, now: Timestamp, jitter: SignedDuration) -> bool {
        let left = now.duration_until(self.expires);
        let age = self.lifetime.saturating_sub(left);
        let fifth = self.lifetime / 5;
        age < SignedDuration::ZERO
            || age > OLDEST.saturating_sub(jitter)
            || left < fifth.saturating_add(jitter)
    }
}

/// The names become parts of the request's path.
fn check_names(namespace: &str, name: &str) -> Result<(), AccountError> {
    match [namespace, name].into_iter().find(|text| text.is_empty() || !is_name(text)) {
        Some(text) => Err(AccountError::Name(text.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
