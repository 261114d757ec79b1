//! `ImagePullIntent` and `ImagePulledRecord` of `kubelet.config.k8s.io`, byte for byte as a kubelet writes them.

use std::collections::BTreeMap;
use std::io;

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const KNOWN_VERSIONS: [&str; 2] = [API_VERSION, "kubelet.config.k8s.io/v1alpha1"];
/// Secrets, and service accounts, that are remembered for one repository of an image; more of them cost a pull.
const MAX_SECRETS: usize = 100;

/// A pull has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::images) struct PullIntent {
    kind: String,
    api_version: String,
    /// As a pod names it.
    pub(in crate::images) image: String,
}

/// A pull has brought an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::images) struct PulledRecord {
    kind: String,
    api_version: String,
    #[serde(serialize_with = "to_the_second")]
    pub(in crate::images) last_updated_time: Time,
    /// The runtime's id.
    pub(in crate::images) image_ref: String,
    /// By repository, its full name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::images) credential_mapping: BTreeMap<String, PullCredentials>,
}

/// Who may use an image of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::images) struct PullCredentials {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::images) kubernetes_secrets: Vec<PullSecret>,
    /// Those that a plugin gave the credentials for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::images) kubernetes_service_accounts: Vec<PullServiceAccount>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::images) node_pods_accessible: bool,
}

/// A secret that was good for a pull, and of what content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::images) struct PullSecret {
    pub(in crate::images) uid: String,
    pub(in crate::images) namespace: String,
    pub(in crate::images) name: String,
    pub(in crate::images) credential_hash: String,
}

/// A service account whose tokens brought credentials that were good for a pull.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::images) struct PullServiceAccount {
    pub(in crate::images) uid: String,
    pub(in crate::images) namespace: String,
    pub(in crate::images) name: String,
}

/// What a pull has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::images) enum PulledWith {
    /// That each pod of this node may use the image.
    NodeAccess,
    /// That who has this secret may.
    Secret(PullSecret),
    /// That pods of this service account may.
    Account(PullServiceAccount),
    /// Nothing.
    Unknown,
}

impl PullSecret {
    pub(in crate::images) fn is_same_object(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name)
    }

    fn order(&self) -> (&str, &str, &str) {
        (&self.namespace, &self.name, &self.uid)
    }
}

impl PullIntent {
    const KIND: &'static str = "ImagePullIntent";

    pub(in crate::images) fn new(image: &str) -> Self {
        Self { kind: Self::KIND.into(), api_version: API_VERSION.into(), image: image.into() }
    }

    pub(in crate::images) fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    pub(in crate::images) fn from_json(bytes: &[u8]) -> io::Result<Self> {
        let read: Self = from_json(bytes)?;
        checked(&read.kind, Self::KIND, &read.api_version)?;
        Ok(read)
    }
}

impl PulledRecord {
    const KIND: &'static str = "ImagePulledRecord";

    /// Of an image of which nothing else is known.
    pub(in crate::images) fn new(image_ref: &str) -> Self {
        Self {
            kind: Self::KIND.into(),
            api_version: API_VERSION.into(),
            last_updated_time: Time(Timestamp::now()),
            image_ref: image_ref.into(),
            credential_mapping: BTreeMap::new(),
        }
    }

    pub(in crate::images) fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    pub(in crate::images) fn from_json(bytes: &[u8]) -> io::Result<Self> {
        let read: Self = from_json(bytes)?;
        checked(&read.kind, Self::KIND, &read.api_version)?;
        Ok(read)
    }

    /// Adds what a pull has shown for a repository; whether that was new.
    pub(in crate::images) fn learn(&mut self, repository: &str, with: &PulledWith) -> bool {
        let known = self.credential_mapping.get(repository);
        let all_may = known.is_some_and(|known| known.node_pods_accessible);
        let new = match with {
            PulledWith::NodeAccess if !all_may => {
                let access = PullCredentials { node_pods_accessible: true, ..PullCredentials::default() };
                self.credential_mapping.insert(repository.to_owned(), access);
                true
            }
            PulledWith::Secret(secret) if !all_may => {
                let known = self.credential_mapping.entry(repository.to_owned()).or_default();
                add(&mut known.kubernetes_secrets, secret)
            }
            PulledWith::Account(account) if !all_may => {
                let known = self.credential_mapping.entry(repository.to_owned()).or_default();
                add_account(&mut known.kubernetes_service_accounts, account)
            }
            _ => false,
        };
        if new {
            self.api_version = API_VERSION.into();
            self.last_updated_time = Time(Timestamp::now());
        }
        new
    }
}

/// Whether that was new.
fn add(secrets: &mut Vec<PullSecret>, secret: &PullSecret) -> bool {
    match secrets.iter().position(|known| known.is_same_object(secret)) {
        Some(at) if secrets[at] == *secret => return false,
        Some(at) => secrets[at] = secret.clone(),
        None if secrets.len() >= MAX_SECRETS => return false,
        None => secrets.push(secret.clone()),
    }
    secrets.sort_by(|a, b| a.order().cmp(&b.order()));
    true
}

/// Whether that was new. An account that was deleted and made again is another one.
fn add_account(accounts: &mut Vec<PullServiceAccount>, account: &PullServiceAccount) -> bool {
    if accounts.contains(account) || accounts.len() >= MAX_SECRETS {
        return false;
    }
    accounts.push(account.clone());
    accounts.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
    true
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec(document).expect("texts, times and lists always have a JSON form");
    json.push(b'\n');
    json
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

fn checked(kind: &str, expected: &str, api_version: &str) -> io::Result<()> {
    if kind == expected && KNOWN_VERSIONS.contains(&api_version) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{api_version} {kind} instead of {expected}")))
}

fn to_the_second<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    let rounded =
        time.0.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc));
    serializer.collect_str(&rounded.unwrap_or(time.0))
}

#[cfg(test)]
mod tests;
