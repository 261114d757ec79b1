//! TokenReviews and SubjectAccessReviews: what the API server says about a caller.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::caller::User;

/// For one review.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reviews that are asked for at once; further ones wait.
const AT_ONCE: usize = 16;

/// Why a review says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    #[error("this node has no API server that could be asked")]
    Nobody,
    #[error("the API server did not answer in {PATIENCE:?}")]
    Late,
    #[error(transparent)]
    Call(#[from] kube::Error),
    #[error("the API server cannot tell: {0}")]
    Evaluation(String),
}

/// Asks the API server.
pub(crate) struct Reviews {
    client: Option<Client>,
    node: String,
    at_once: Semaphore,
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Reviews {
    pub(crate) fn new(client: Option<Client>, node: String) -> Self {
        Self { client, node, at_once: Semaphore::new(AT_ONCE) }
    }

    /// Whose token this is; `None` where it is nobody's.
    pub(crate) async fn user(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = self.ask(TokenReview { spec, ..TokenReview::default() }).await?;
        let status = review.status.unwrap_or_default();
        if let Some(error) = status.error {
            // Mostly that the token is nobody's: an API server that cannot be asked fails the call.
            tracing::debug!(error, "a caller's token was not taken");
        }
        Ok(if status.authenticated == Some(true) { status.user.map(user) } else { None })
    }

    /// Whether `user` may do this with the node.
    pub(crate) async fn is_allowed(
        &self,
        user: &User,
        verb: &str,
        subresource: &str,
    ) -> Result<bool, ReviewError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let spec = SubjectAccessReviewSpec {
            user: some(&user.name),
            uid: some(&user.uid),
            groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
            extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: some(verb),
                version: some("v1"),
                resource: some("nodes"),
                subresource: some(subresource),
                name: some(&self.node),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        };
        let review = self.ask(SubjectAccessReview { spec, ..SubjectAccessReview::default() }).await?;
        let status = review.status.unwrap_or_default();
        match status.evaluation_error.filter(|error| !error.is_empty()) {
            Some(error) if !status.allowed => Err(ReviewError::Evaluation(error)),
            _ => Ok(status.allowed),
        }
    }

    async fn ask<K>(&self, review: K) -> Result<K, ReviewError>
    where
        K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let client = self.client.clone().ok_or(ReviewError::Nobody)?;
        let asked = async {
            // Only a semaphore that was closed has no permits, and this one is not.
            let _permit = self.at_once.acquire().await;
            Api::<K>::all(client).create(&PostParams::default(), &review).await
        };
        Ok(timeout(PATIENCE, asked).await.map_err(|_| ReviewError::Late)??)
    }
}

fn user(info: UserInfo) -> User {
    User {
        name: info.username.unwrap_or_default(),
        uid: info.uid.unwrap_or_default(),
        groups: info.groups.unwrap_or_default(),
        extra: info.extra.unwrap_or_default(),
    }
}
