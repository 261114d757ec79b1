//! The watch of one object.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::News;
use super::object::{Kind, Object, ObjectError};
use super::references::Key;
use crate::cause::chain;
use crate::kubeconfig::Seat;
use crate::sources::watcher::{Change, WatchError, Watcher};

/// What the API server said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Known {
    /// It was not asked with success yet.
    #[default]
    Nothing,
    /// There is no such object.
    Absent,
    Here(Arc<Object>),
}

impl Known {
    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) | (Self::Absent, Self::Absent) => false,
            (Self::Here(one), Self::Here(other)) => one.differs(other),
            _ => true,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) known: Known,
    /// Why the last attempt to read it failed, if it did.
    pub(super) problem: Option<ObjectError>,
}

/// Follows the object until it is immutable.
pub(super) async fn run(seat: Seat, key: Key, state: watch::Sender<State>, news: News) {
    let namespace = key.namespace.clone();
    let client = seat.client.clone();
    match key.kind {
        Kind::ConfigMap => {
            follow::<ConfigMap>(Api::namespaced(client, &namespace), &key, &state, &news).await;
        }
        Kind::Secret => follow::<Secret>(Api::namespaced(client, &namespace), &key, &state, &news).await,
    }
}

async fn follow<K>(api: Api<K>, key: &Key, state: &watch::Sender<State>, news: &News)
where
    K: Clone
        + DeserializeOwned
        + fmt::Debug
        + kube::Resource<Scope = NamespaceResourceScope>
        + Send
        + 'static,
    Object: From<K>,
{
    let what = match key.kind {
        Kind::ConfigMap => "config map",
        Kind::Secret => "secret",
    };
    // There are many of them: whoever needs the object tells what is wrong with it.
    let mut watcher = Watcher::new(api, format!("metadata.name={}", key.name), what).quiet();
    loop {
        let known = match watcher.try_next().await {
            Ok(Change::Listed(list)) => {
                list.into_iter().next().map_or(Known::Absent, |object| Known::Here(Arc::new(object.into())))
            }
            Ok(Change::Applied(object)) => Known::Here(Arc::new(object.into())),
            Ok(Change::Deleted(_)) => Known::Absent,
            Err(error) => {
                state.send_modify(|state| state.problem = Some(problem(key, &error)));
                continue;
            }
        };
        let is_over = matches!(&known, Known::Here(object) if object.is_immutable());
        let mut changed = false;
        state.send_modify(|state| {
            state.problem = None;
            changed = state.known.differs(&known);
            if changed {
                state.known = known;
            }
        });
        if changed {
            news.tell();
        }
        if is_over {
            return;
        }
    }
}

fn problem(key: &Key, error: &WatchError) -> ObjectError {
    match error.forbidden() {
        Some(message) => ObjectError::Forbidden { message: message.to_owned() },
        None => ObjectError::Away { kind: key.kind, cause: chain(error) },
    }
}
