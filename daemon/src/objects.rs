//! The config maps and secrets that pods of this node refer to (behaviour.md 20.6, 20.7).
//!
//! ```text
//!   pod task --register--> Objects --first user--> follow: one watch by name per object
//!      ^                      |                        |
//!      '---- Registration <---+------- news -----------'        executors --get--> what the API server said last
//! ```
//!
//! An object is watched from the moment that the first pod refers to it until the last one has gone; what was read serves all of
//! them, also while the API server is away. One that says that it is immutable is read once. Whoever registered a pod is told when
//! one of its objects has changed, has appeared or has gone, and reads it again. Nothing here survives a restart, and values are in
//! no log and in no `Debug` text.
//!
//! | module | owns |
//! |---|---|
//! | `object` | one config map or secret in the form that files and variables are made of |
//! | `references` | which objects a pod refers to |
//! | `follow` | the watch of one object |

mod follow;
mod object;
mod references;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::kubeconfig::Seats;
use follow::{Known, State};
pub(crate) use object::{Kind, Object, ObjectError};
use references::Key;

/// Objects that are watched at once. A node has a few hundred pods at most, and most of them share what they refer to.
const MOST_WATCHED: usize = 4096;
/// How long a reader waits for the first answer of the API server, as a kubelet does.
const PATIENCE: Duration = Duration::from_secs(1);

/// Cheap to clone; see the module's page.
#[derive(Clone)]
pub(crate) struct Objects(Arc<Inner>);

struct Inner {
    seats: Option<Seats>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    watched: HashMap<Key, Watched>,
    /// By the number of the registration.
    registered: HashMap<u64, Registered>,
    next: u64,
}

struct Watched {
    state: watch::Receiver<State>,
    users: BTreeSet<u64>,
    task: AbortHandle,
}

struct Registered {
    keys: BTreeSet<Key>,
    news: watch::Sender<u64>,
}

/// Keeps the objects of one pod watched until it is dropped.
pub(crate) struct Registration {
    inner: Arc<Inner>,
    number: u64,
    news: watch::Receiver<u64>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.0.tables();
        let keys: Vec<&Key> = tables.watched.keys().collect();
        f.debug_struct("Objects").field("watched", &keys).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Objects {
    /// Without clients every read fails by name.
    pub(crate) fn new(seats: Option<Seats>) -> Self {
        Self(Arc::new(Inner { seats, tables: Mutex::default() }))
    }

    /// Begins to watch what `pod` refers to; `None` where that is nothing, as with most pods of a crowded node.
    pub(crate) fn register(&self, pod: &Pod) -> Option<Registration> {
        let keys = references::of(pod);
        if keys.is_empty() {
            return None;
        }
        let (news, receiver) = watch::channel(0);
        let number = {
            let mut tables = self.0.tables();
            let number = tables.next;
            tables.next += 1;
            tables.registered.insert(number, Registered { keys: BTreeSet::new(), news });
            number
        };
        let registration = Registration { inner: Arc::clone(&self.0), number, news: receiver };
        self.0.set(number, keys);
        Some(registration)
    }

    /// The object as the API server told it last; waits a second at most for its first answer.
    ///
    /// # Errors
    /// There is none of that name, it may not be read, or nothing is known of it yet. Only of what a registered pod refers to
    /// anything is known.
    pub(crate) async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, ObjectError> {
        if self.0.seats.is_none() {
            return Err(ObjectError::NoServer { kind, name: name.to_owned() });
        }
        let key = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let state = self.0.tables().watched.get(&key).map(|watched| watched.state.clone());
        let Some(mut state) = state else {
            return Err(ObjectError::NotRegistered { namespace: key.namespace, name: key.name });
        };
        let answered = timeout(PATIENCE, state.wait_for(|state| !matches!(state.known, Known::Nothing)));
        // Both the deadline and a task that has ended leave what is known as it is.
        drop(answered.await);
        let state = state.borrow();
        match &state.known {
            Known::Here(object) => Ok(Arc::clone(object)),
            Known::Absent => Err(ObjectError::NotFound { kind, name: key.name }),
            Known::Nothing => Err(state.problem.clone().unwrap_or(ObjectError::Away {
                kind,
                cause: "timed out waiting for the condition".to_owned(),
            })),
        }
    }
}

impl Inner {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `keys` what the registration stands for: begins what is new, ends what nobody else wants.
    fn set(self: &Arc<Self>, number: u64, keys: BTreeSet<Key>) {
        let mut tables = self.tables();
        let Some(before) = tables.registered.get_mut(&number) else { return };
        let before = std::mem::replace(&mut before.keys, keys.clone());
        for key in before.difference(&keys) {
            tables.leave(number, key);
        }
        let Some(seats) = &self.seats else { return };
        for key in keys {
            let room = tables.watched.len() < MOST_WATCHED;
            if let Some(watched) = tables.watched.get_mut(&key) {
                watched.users.insert(number);
            } else if room {
                let (sender, state) = watch::channel(State::default());
                let news = News { inner: Arc::downgrade(self), key: key.clone() };
                let task = tokio::spawn(follow::run(seats.take(), key.clone(), sender, news));
                let users = BTreeSet::from([number]);
                tables.watched.insert(key, Watched { state, users, task: task.abort_handle() });
            } else {
                tracing::warn!(?key, "{MOST_WATCHED} objects are watched; this one is not");
            }
        }
    }
}

impl Tables {
    fn leave(&mut self, number: u64, key: &Key) {
        let Some(watched) = self.watched.get_mut(key) else { return };
        watched.users.remove(&number);
        if watched.users.is_empty() {
            watched.task.abort();
            self.watched.remove(key);
        }
    }
}

/// Tells the pods that refer to one object that it has changed.
struct News {
    inner: std::sync::Weak<Inner>,
    key: Key,
}

impl News {
    fn tell(&self) {
        let Some(inner) = self.inner.upgrade() else { return };
        let tables = inner.tables();
        let users = tables.watched.get(&self.key).map(|watched| &watched.users);
        for registered in users.into_iter().flatten().filter_map(|number| tables.registered.get(number)) {
            registered.news.send_modify(|count| *count += 1);
        }
    }
}

impl Registration {
    /// Takes over what `pod` refers to now.
    pub(crate) fn renew(&self, pod: &Pod) {
        self.inner.set(self.number, references::of(pod));
    }

    /// Waits until one of the pod's objects has changed, has appeared or has gone, since the last time that this returned.
    /// Cancel-safe: a level.
    pub(crate) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            // Never before this is dropped: the sender goes with it.
            std::future::pending().await
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut tables = self.inner.tables();
        let Some(registered) = tables.registered.remove(&self.number) else { return };
        for key in &registered.keys {
            tables.leave(self.number, key);
        }
    }
}

#[cfg(test)]
mod tests;
