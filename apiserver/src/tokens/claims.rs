//! What a token says, in upstream's claims, and whether that still holds.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::authenticate::User;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::secrets::SECRETS;
use crate::kinds::serviceaccounts::SERVICEACCOUNTS;
use crate::kinds::values::{items, number, string};
use crate::kinds::{Cluster, Kind, text};
use crate::random;

/// How far the clocks of those who look at a token may differ, and how long a token outlives what it is bound to (as upstream).
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);
/// Where what is Kubernetes' own stands.
const PRIVATE: &str = "kubernetes.io";
const USER_PREFIX: &str = "system:serviceaccount:";
const GROUP: &str = "system:serviceaccounts";

/// An object that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    /// Empty for a node that was not there when the token was made.
    pub(crate) uid: String,
}

impl Reference {
    pub(crate) fn to(object: &Value) -> Self {
        let field = |pointer: &str| text(object, pointer).to_owned();
        Self { name: field("/metadata/name"), uid: field("/metadata/uid") }
    }

    fn read(value: Option<&Value>) -> Option<Self> {
        let value = value.filter(|v| v.is_object())?;
        Some(Self { name: string(value, "name").to_owned(), uid: string(value, "uid").to_owned() })
    }

    fn written(&self) -> Value {
        let mut reference = json!({ "name": self.name });
        if !self.uid.is_empty() {
            reference["uid"] = self.uid.as_str().into();
        }
        reference
    }
}

/// What a token is bound to besides its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bound {
    Nothing,
    /// With the node that the pod is on, for information.
    Pod(Reference, Option<Reference>),
    Secret(Reference),
    Node(Reference),
}

/// The claims of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) namespace: String,
    pub(crate) account: Reference,
    pub(crate) bound: Bound,
    /// Also the time from which it is good.
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    /// From when on whoever uses it should have got another.
    pub(crate) warn_after: Option<Timestamp>,
    pub(crate) id: String,
}

impl Claims {
    /// A new token's, for an account, from now on.
    pub(crate) fn new(
        account: &Value,
        bound: Bound,
        issuer: &str,
        audiences: Vec<String>,
        (seconds, warn_after): (i64, Option<i64>),
        now: Timestamp,
    ) -> Self {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let after = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        Self {
            issuer: issuer.to_owned(),
            audiences,
            namespace: text(account, "/metadata/namespace").to_owned(),
            account: Reference::to(account),
            bound,
            issued: now,
            expires: after(seconds),
            warn_after: warn_after.map(after),
            id: random::uid(),
        }
    }

    fn subject(&self) -> String {
        format!("{USER_PREFIX}{}:{}", self.namespace, self.account.name)
    }

    /// As they stand in the token.
    pub(crate) fn written(&self) -> Value {
        let mut private = Map::new();
        let mut put = |field: &str, value: Value| private.insert(field.to_owned(), value);
        put("namespace", self.namespace.as_str().into());
        match &self.bound {
            Bound::Nothing => {}
            Bound::Pod(pod, node) => {
                if let Some(node) = node {
                    put("node", node.written());
                }
                put("pod", pod.written());
            }
            Bound::Secret(secret) => drop(put("secret", secret.written())),
            Bound::Node(node) => drop(put("node", node.written())),
        }
        put("serviceaccount", self.account.written());
        if let Some(warn) = self.warn_after {
            put("warnafter", warn.as_second().into());
        }
        json!({
            "aud": self.audiences,
            "exp": self.expires.as_second(),
            "iat": self.issued.as_second(),
            "iss": self.issuer,
            "jti": self.id,
            PRIVATE: private,
            "nbf": self.issued.as_second(),
            "sub": self.subject(),
        })
    }

    /// Reads the claims of a token whose signature is right; `None` for those that this server does not make.
    pub(crate) fn read(claims: &Value) -> Option<Self> {
        let at = |field: &str| Timestamp::from_second(number(claims, field)?).ok();
        let private = claims.get(PRIVATE)?;
        let reference = |field: &str| Reference::read(private.get(field));
        let bound = match (reference("pod"), reference("secret"), reference("node")) {
            (Some(pod), _, node) => Bound::Pod(pod, node),
            (None, Some(secret), _) => Bound::Secret(secret),
            (None, None, Some(node)) => Bound::Node(node),
            (None, None, None) => Bound::Nothing,
        };
        let audiences = match claims.get("aud")? {
            Value::String(one) => vec![one.clone()],
            _ => items(claims, "aud").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        };
        let read = Self {
            issuer: string(claims, "iss").to_owned(),
            audiences,
            namespace: string(private, "namespace").to_owned(),
            account: reference("serviceaccount")?,
            bound,
            issued: at("nbf")?,
            expires: at("exp")?,
            warn_after: number(private, "warnafter").and_then(|s| Timestamp::from_second(s).ok()),
            id: string(claims, "jti").to_owned(),
        };
        (string(claims, "sub") == read.subject()).then_some(read)
    }

    /// Those of the wanted audiences that the token is for.
    pub(super) fn audiences_among(&self, wanted: &[String]) -> Result<Vec<String>, String> {
        let found: Vec<String> = self.audiences.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if found.is_empty() {
            let shown = |list: &[String]| crate::authorize::rules::quoted(list);
            let (own, wanted) = (shown(&self.audiences), shown(wanted));
            return Err(format!("token audiences {own} is invalid for the target audiences {wanted}"));
        }
        Ok(found)
    }

    /// Who shows the token, or why it is no longer good.
    pub(super) fn user(&self, cluster: &dyn Cluster, now: Timestamp) -> Result<User, String> {
        let (early, late) = (now.saturating_sub(LEEWAY), now.saturating_add(LEEWAY));
        if early.is_ok_and(|early| early > self.expires) {
            return Err("service account token has expired".to_owned());
        }
        if late.is_ok_and(|late| late < self.issued) {
            return Err("service account token is not valid yet".to_owned());
        }
        let namespace = self.namespace.as_str();
        lives(cluster, &SERVICEACCOUNTS, namespace, &self.account, now)?;
        match &self.bound {
            Bound::Nothing => {}
            Bound::Pod(pod, _) => lives(cluster, &PODS, namespace, pod, now)?,
            Bound::Secret(secret) => lives(cluster, &SECRETS, namespace, secret, now)?,
            Bound::Node(node) => lives(cluster, &NODES, "", node, now)?,
        }
        let groups = vec![GROUP.to_owned(), format!("{GROUP}:{namespace}")];
        let mut user = User::authenticated(self.subject(), self.account.uid.clone(), groups);
        let (pod, node) = match &self.bound {
            Bound::Pod(pod, node) => (Some(pod), node.as_ref()),
            Bound::Node(node) => (None, Some(node)),
            Bound::Nothing | Bound::Secret(_) => (None, None),
        };
        let mut tell = |what: &str, value: String| {
            if !value.is_empty() {
                user.extra.insert(format!("authentication.kubernetes.io/{what}"), vec![value]);
            }
        };
        tell("credential-id", format!("JTI={}", self.id));
        for (what, reference) in [("pod", pod), ("node", node)] {
            if let Some(reference) = reference {
                tell(&format!("{what}-name"), reference.name.clone());
                tell(&format!("{what}-uid"), reference.uid.clone());
            }
        }
        Ok(user)
    }
}

/// Whether an object is there still, and the same, and not long on its way out.
fn lives(
    cluster: &dyn Cluster,
    kind: &Kind,
    namespace: &str,
    wanted: &Reference,
    now: Timestamp,
) -> Result<(), String> {
    let invalidated = || "service account token has been invalidated".to_owned();
    let found = cluster.get(kind, namespace, &wanted.name).ok_or_else(invalidated)?;
    if text(&found, "/metadata/uid") != wanted.uid {
        let what = kind.body.kind.to_lowercase();
        return Err(format!(
            "{what} UID ({}) does not match claim ({})",
            text(&found, "/metadata/uid"),
            wanted.uid
        ));
    }
    let marked: Option<Timestamp> = text(&found, "/metadata/deletionTimestamp").parse().ok();
    match (marked, now.saturating_sub(LEEWAY)) {
        (Some(marked), Ok(limit)) if marked < limit => Err(invalidated()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
