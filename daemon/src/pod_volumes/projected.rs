//! The sources of a projected volume, as one set of files (behaviour.md 20.10, 20.11).

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Pod, ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use volumes::payload::{DEFAULT_MODE, mode};
use volumes::{File, Payload};

use super::Inner;
use super::resolve::{Missing, OfObject, aggregate};
use crate::cause::chain;
use crate::images::AccountError;
use crate::objects::Kind;

/// How long a token lasts where the pod does not say, in seconds; the API's default.
const TOKEN_SECONDS: i64 = 3600;
/// Only its user, and later its group, may read a token that was given to a user.
const TOKEN_MODE: u32 = 0o600;

impl Inner {
    /// The files, and after how long they are too old.
    pub(super) async fn projected(
        &self,
        pod: &Pod,
        source: &ProjectedVolumeSource,
    ) -> Result<(Payload, Option<Duration>), Missing> {
        let default_mode = mode(source.default_mode, DEFAULT_MODE);
        let mut payload = Payload::default();
        let mut refresh_after: Option<Duration> = None;
        let (mut wrong, mut away) = (Vec::new(), true);
        for source in source.sources.iter().flatten() {
            let files = match self.projection(pod, source, default_mode).await {
                Ok((files, after)) => {
                    refresh_after = refresh_after.into_iter().chain(after).min();
                    payload.extend(files).map_err(|error| Missing::because(error.to_string()))
                }
                Err(missing) => Err(missing),
            };
            if let Err(missing) = files {
                wrong.push(missing.message);
                away &= missing.away;
            }
        }
        if wrong.is_empty() {
            Ok((payload, refresh_after))
        } else {
            Err(Missing { message: aggregate(&wrong), away })
        }
    }

    async fn projection(
        &self,
        pod: &Pod,
        source: &VolumeProjection,
        mode: u32,
    ) -> Result<(Payload, Option<Duration>), Missing> {
        if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            let items = map.items.as_deref();
            let of = OfObject { kind: Kind::ConfigMap, name: &map.name, items, mode, optional };
            return Ok((self.of_object(pod, of).await?, None));
        }
        if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            let items = secret.items.as_deref();
            let of = OfObject { kind: Kind::Secret, name: &secret.name, items, mode, optional };
            return Ok((self.of_object(pod, of).await?, None));
        }
        if let Some(source) = &source.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return Ok((self.of_pod(pod, items, mode)?, None));
        }
        if let Some(token) = &source.service_account_token {
            return self.token(pod, token, mode).await;
        }
        Err(Missing::because("a source that is not supported by this version of nodelet"))
    }

    async fn token(
        &self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
        mode: u32,
    ) -> Result<(Payload, Option<Duration>), Missing> {
        if podspec::is_static(pod) {
            return Err(Missing::because("a static pod has no service account"));
        }
        let audience = source.audience.as_deref().unwrap_or_default();
        let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
        let (token, refresh_after) =
            self.accounts.projected(pod, audience, seconds).await.map_err(|error| Missing {
                message: format!("failed to fetch token: {}", chain(&error)),
                away: is_away(&error),
            })?;
        let owner = common_user(pod);
        let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let mode =
            if owner.is_some() || security.is_some_and(|s| s.fs_group.is_some()) { TOKEN_MODE } else { mode };
        let mut payload = Payload::default();
        let file = File { bytes: token.reveal().as_bytes().to_vec(), mode, owner };
        payload.add(&source.path, file).map_err(|error| Missing::because(error.to_string()))?;
        Ok((payload, Some(refresh_after)))
    }
}

fn is_away(error: &AccountError) -> bool {
    match error {
        AccountError::NoServer | AccountError::Deadline => true,
        AccountError::Token { source, .. } => !matches!(source, kube::Error::Api(_)),
        _ => false,
    }
}

/// The user that every container of the pod runs as, where the spec says that of each.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let mut users = podspec::containers(spec)
        .map(|(_, container)| container.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = users.next()??;
    let same = users.all(|user| user == Some(first));
    if same { u32::try_from(first).ok() } else { None }
}
