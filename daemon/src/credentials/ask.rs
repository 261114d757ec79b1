//! The calls until a certificate is there: post the request, look at it until it is answered. behaviour.md 34.1.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};

use super::identity::Identity;
use super::request::{Answer, Wanted};
use super::store::{Store, StoreError};
use crate::cause::chain;

/// How long an answer is waited for before everything begins again.
const PATIENCE: Duration = Duration::from_secs(3600);
const CALL: Duration = Duration::from_secs(10);
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_MOST: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Away(String),
    #[error("the request {name} was denied{}; once it is deleted the node asks again", after_colon(why))]
    Denied { name: String, why: String },
    #[error("the request {name} could not be signed{}", after_colon(why))]
    Failed { name: String, why: String },
    #[error("the request {name} was not approved in {} minutes", PATIENCE.as_secs() / 60)]
    Late { name: String },
    #[error("what was issued for the request {name} cannot be used: {why}")]
    Useless { name: String, why: String },
    #[error("a name cannot be put into a certificate")]
    Name(#[from] rcgen::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Asks until there is an answer, or for an hour, and puts the certificate into use.
///
/// `shown` names what the API server is shown, for messages ("the token in FILE"). Dropping the future is safe at any point:
/// the key stays, and the next call finds the request that was posted.
///
/// # Errors
/// See [`AskError`]; all of them may be tried again.
pub(super) async fn ask(
    client: kube::Client,
    store: &Store,
    wanted: &Wanted,
    shown: &str,
) -> Result<Identity, AskError> {
    let key = store.key()?;
    let object = wanted.object(&key)?;
    let name = wanted.request_name(&key);
    let api: Api<CertificateSigningRequest> = Api::all(client);
    let end = Instant::now() + PATIENCE;
    let mut look = LOOK_FIRST;
    let mut told = false;
    let mut posted = post(&api, &object, shown).await?;
    loop {
        match posted.as_ref().map_or(Answer::Pending, Answer::of) {
            Answer::Issued(certificate) => {
                let identity = Identity::read(&certificate, key.serialize_pem().as_bytes());
                let identity = match identity {
                    Ok(identity) => identity,
                    Err(why) => {
                        // It will never be better for this key.
                        store.forget_key()?;
                        return Err(AskError::Useless { name, why });
                    }
                };
                store.put(&identity, Timestamp::now())?;
                return Ok(identity);
            }
            Answer::Denied(why) => return Err(AskError::Denied { name, why }),
            Answer::Failed(why) => {
                store.forget_key()?;
                return Err(AskError::Failed { name, why });
            }
            Answer::Pending if !told => {
                tracing::info!(
                    request = name,
                    "asked for a certificate; somebody has to approve the request"
                );
                told = true;
            }
            Answer::Pending | Answer::Approved => {}
        }
        if Instant::now() >= end {
            return Err(AskError::Late { name });
        }
        sleep(look).await;
        look = (look * 2).min(LOOK_MOST);
        let seen = timeout(CALL, api.get_opt(&name)).await;
        posted = match seen.map_err(|_| late())?.map_err(|error| refused(&error, shown))? {
            Some(seen) => Some(seen),
            // It was cleared away unanswered.
            None => post(&api, &object, shown).await?,
        };
    }
}

/// Posts the request; what is there already under its name was posted before with the same key.
async fn post(
    api: &Api<CertificateSigningRequest>,
    object: &CertificateSigningRequest,
    shown: &str,
) -> Result<Option<CertificateSigningRequest>, AskError> {
    match timeout(CALL, api.create(&PostParams::default(), object)).await.map_err(|_| late())? {
        Ok(posted) => Ok(Some(posted)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let found = timeout(CALL, api.get_opt(name)).await.map_err(|_| late())?;
            found.map_err(|error| refused(&error, shown))
        }
        Err(error) => Err(refused(&error, shown)),
    }
}

fn late() -> AskError {
    AskError::Away(format!("the API server did not answer in {CALL:?}"))
}

/// What a failed call means for whoever has to put it right.
fn refused(error: &kube::Error, shown: &str) -> AskError {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => AskError::Refused(format!(
                "the API server does not accept {shown}: it is wrong, or has expired or been withdrawn"
            )),
            403 => AskError::Refused(format!(
                "the API server does not let {shown} ask for a certificate: {}",
                status.message
            )),
            _ => AskError::Away(chain(error)),
        };
    }
    AskError::Away(connection(&chain(error), Timestamp::now()))
}

/// A failed connection, with what a wrong clock or another authority look like put in plain words.
pub(crate) fn connection(text: &str, now: Timestamp) -> String {
    let lower = text.to_lowercase();
    if !lower.contains("invalid peer certificate") {
        return text.to_owned();
    }
    if lower.contains("expired") || lower.contains("notvalidyet") || lower.contains("not valid yet") {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        return format!(
            "the API server's certificate is not valid at {now}, which is what this machine's clock shows: {text}"
        );
    }
    // Authorities of clusters that kubeadm made all have one name; then it is the signature that does not fit.
    if lower.contains("unknownissuer") || lower.contains("badsignature") {
        return format!(
            "the API server's certificate is of another authority than the kubeconfig names: {text}"
        );
    }
    text.to_owned()
}

/// The name of the client request that the node waits for, if it waits for one.
pub(crate) fn request_under_way(store: &Store, node_name: &str) -> Option<String> {
    Some(Wanted::client(node_name).request_name(&store.waiting_key()?))
}

/// How a request stands, in words for whoever waits for it.
pub(crate) fn standing(name: &str, request: &CertificateSigningRequest) -> String {
    match Answer::of(request) {
        Answer::Pending => {
            format!("its request waits for an approval (kubectl certificate approve {name})")
        }
        Answer::Approved => format!("its request {name} is approved, and nobody has signed it"),
        Answer::Issued(_) => format!("its request {name} has been signed just now"),
        Answer::Denied(why) => AskError::Denied { name: name.to_owned(), why }.to_string(),
        Answer::Failed(why) => AskError::Failed { name: name.to_owned(), why }.to_string(),
    }
}

#[cfg(test)]
mod tests;
