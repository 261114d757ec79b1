//! Whether the runtime and its network are ready, for the node's status (behaviour.md 32.15, 39.5).

use std::path::PathBuf;
use std::time::Duration;

use cri_client::{CallError, Client, v1};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::node::{RuntimeHandler, RuntimeState};
use crate::stop::stopped;

const EVERY: Duration = Duration::from_secs(10);
const WHILE_NOT_READY: Duration = Duration::from_millis(500);
/// One answer must come in this time, or the runtime counts as not answering.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps `state` up to date until `stop`.
pub(crate) async fn run(client: Client, state: watch::Sender<RuntimeState>, mut stop: watch::Receiver<bool>) {
    let mut said = false;
    loop {
        let known = {
            let state = state.borrow();
            (state.image_filesystem.clone(), state.container_filesystem.clone())
        };
        let answer = tokio::time::timeout(PATIENCE, ask(&client, known)).await;
        let ready = match answer {
            Ok(Ok(seen)) => {
                let ready = seen.ready.is_ok() && seen.network.is_ok();
                state.send_if_modified(|old| take_over(old, seen));
                said = false;
                ready
            }
            Ok(Err(error)) => {
                not_ready(&state, &mut said, error.to_string());
                false
            }
            Err(_) => {
                not_ready(
                    &state,
                    &mut said,
                    format!("the container runtime does not answer in {PATIENCE:?}"),
                );
                false
            }
        };
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: only a time.
            () = sleep(if ready { EVERY } else { WHILE_NOT_READY }) => {}
        }
    }
}

/// `images_generation` belongs to those who pull; everything else is the runtime's word.
fn take_over(old: &mut RuntimeState, seen: RuntimeState) -> bool {
    let seen = RuntimeState { images_generation: old.images_generation, ..seen };
    let changed = RuntimeState { last_ok: old.last_ok, answered: old.answered, ..seen.clone() } != *old;
    *old = seen;
    changed
}

fn not_ready(state: &watch::Sender<RuntimeState>, said: &mut bool, why: String) {
    if !std::mem::replace(said, true) {
        tracing::warn!("the container runtime is not ready: {why}");
    }
    state.send_if_modified(|old| {
        let changed = old.ready != Err(why.clone());
        old.ready = Err(why);
        changed
    });
}

/// `known` are the file systems as they were told last: one answer that fails makes them no others.
async fn ask(client: &Client, known: (Option<PathBuf>, Option<PathBuf>)) -> Result<RuntimeState, CallError> {
    let version = client.version().await?;
    let answer = client.status().await?;
    let conditions = answer.status.map(|s| s.conditions).unwrap_or_default();
    let condition = |kind: &str| match conditions.iter().find(|c| c.r#type == kind) {
        Some(c) if c.status => Ok(()),
        Some(c) => Err(format!("{kind}=false reason:{} message:{}", c.reason, c.message)),
        None => Err(format!("the runtime says nothing about {kind}")),
    };
    let ready = condition("RuntimeReady");
    let last_ok = ready.is_ok().then(Instant::now);
    let (image_filesystem, container_filesystem) = filesystems(client).await.unwrap_or(known);
    Ok(RuntimeState {
        name: version.runtime_name,
        version: version.runtime_version,
        ready,
        network: condition("NetworkReady"),
        handlers: handlers(&answer.runtime_handlers),
        supplemental_groups_policy: answer.features.is_some_and(|f| f.supplemental_groups_policy),
        last_ok,
        answered: Some(Instant::now()),
        images_generation: 0,
        image_filesystem,
        container_filesystem,
    })
}

/// By their names: a runtime tells them in any order, in another one each time.
fn handlers(told: &[v1::RuntimeHandler]) -> Vec<RuntimeHandler> {
    let mut handlers: Vec<RuntimeHandler> = told.iter().map(handler).collect();
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    handlers
}

fn handler(h: &v1::RuntimeHandler) -> RuntimeHandler {
    RuntimeHandler {
        name: h.name.clone(),
        recursive_read_only_mounts: h.features.as_ref().is_some_and(|f| f.recursive_read_only_mounts),
        user_namespaces: h.features.as_ref().is_some_and(|f| f.user_namespaces),
    }
}

/// Where the images and the containers' layers are; a runtime that does not tell has no file system of its own for them. None where
/// it does not answer.
async fn filesystems(client: &Client) -> Option<(Option<PathBuf>, Option<PathBuf>)> {
    let info = client.image_fs_info().await.ok()?;
    let first = |told: Vec<v1::FilesystemUsage>| {
        let id = told.into_iter().next()?.fs_id?;
        Some(PathBuf::from(id.mountpoint))
    };
    Some((first(info.image_filesystems), first(info.container_filesystems)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cri_client::Timeouts;
    use cri_client::fake::{Effect, FakeRuntime, Rule};

    use super::*;

    #[test]
    fn handlers_in_another_order_are_no_change() {
        let told =
            |names: [&str; 3]| names.map(|name| v1::RuntimeHandler { name: name.to_owned(), features: None });
        let one = handlers(&told(["runc", "", "crun"]));
        assert_eq!(one, handlers(&told(["crun", "runc", ""])));
        assert_eq!(one.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["", "crun", "runc"]);
    }

    #[tokio::test]
    async fn file_systems_stay_known_when_one_answer_about_them_fails() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new();
        let _server = runtime.serve(&dir.path().join("cri.sock")).unwrap();
        let client = Client::new(dir.path().join("cri.sock"), None, Timeouts::default());
        runtime.set_image_store("/images", "pause");
        let told = ask(&client, (None, None)).await.unwrap();
        assert_eq!(told.image_filesystem.as_deref(), Some(Path::new("/images")));
        let known = (told.image_filesystem.clone(), Some("/layers".into()));
        runtime.add_rule(Rule::next("ImageFsInfo", 1, Effect::refused("busy")));
        let kept = ask(&client, known.clone()).await.unwrap();
        assert_eq!((kept.image_filesystem, kept.container_filesystem), known);
        let told_anew = ask(&client, known).await.unwrap();
        assert_eq!(told_anew.container_filesystem, told.container_filesystem, "what is told counts");
    }

    #[test]
    fn the_time_of_an_answer_alone_is_no_news() {
        let mut state = RuntimeState::default();
        let at = |name: &str| RuntimeState {
            name: name.to_owned(),
            last_ok: Some(Instant::now()),
            answered: Some(Instant::now()),
            ..RuntimeState::default()
        };
        assert!(take_over(&mut state, at("containerd")));
        let later = at("containerd");
        assert!(!take_over(&mut state, later.clone()));
        assert_eq!(state.answered, later.answered, "it is kept all the same");
    }
}
