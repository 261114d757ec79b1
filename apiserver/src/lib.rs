//! A minimal Kubernetes API server with an embedded store.
//!
//! ```text
//!  client ──TLS──> listener ──> service: authenticate ─> path, query ─> authorize ─> verb (admission) ─> answer
//!                                                                                    │
//!             kinds (descriptors, hooks), schema, patch, selector <──────────────────┤
//!                                                                                    v
//!                                  store <── commit ── cache (objects, events) ── watch streams
//! ```
//!
//! | Part | Modules |
//! |---|---|
//! | The program | `flags`, `server` (opens everything, in order), `listener` (TLS, connections, limits) |
//! | A request | `service`, `request` (path, options, media types), `authenticate`, `tokens` (of service accounts), `impersonate`, `authorize`, `admission`, `answer`, `status` (refusals) |
//! | What it does | `verbs`; sub-resources `bindings`, `evictions`, `namespaces` (finalize), `reviews`; `discovery`, `openapi` |
//! | What others do | `logs`, `connect` (exec, attach, port-forward, proxy), over `backend` (connections to nodes and pods) |
//! | What kinds there are | `kinds`, `schema`, `patch`, `selector`, `table` |
//! | Where objects are | [`cache`], [`store`] |
//! | Own tasks | `namespaces` (takes down what is deleted), `expiry` (old events), `bootstrap` (first objects), `garbage` (what lost its owners) |
//! | Own tasks, each a `controller` | `certificates` (approves and signs), `cluster_info` (signs it with the tokens), `bootstrap_tokens` (removes expired ones), `aggregation` (roles made of roles), `budgets` (counts for disruption budgets), `accounts` (default accounts, root certificates), `claims` (binds volumes), `node_lifecycle` (notices nodes that fall silent), `taint_evictions` (pods off tainted nodes); by the clock alone `pod_garbage` |
//!
//! Tasks: one for each connection, one for the listener, the own tasks, and the thread of the store. A watch is a stream that its
//! connection polls, without a queue of its own. What survives a crash is the data directory: certificates (`pki`'s page) and
//! the store, which has every write that was acknowledged.

#![forbid(unsafe_code)]

pub mod cache;
pub mod store;

mod accounts;
mod admission;
mod aggregation;
mod answer;
mod api;
mod authenticate;
mod authorize;
mod backend;
mod bindings;
mod bootstrap;
mod bootstrap_tokens;
mod budgets;
mod certificates;
mod claims;
mod cluster_info;
mod connect;
mod containers;
mod controller;
mod discovery;
mod evictions;
mod expiry;
mod flags;
mod garbage;
mod impersonate;
mod kinds;
mod listener;
mod logs;
mod metrics;
mod namespaces;
mod node_lifecycle;
mod openapi;
mod patch;
mod pki;
mod pod_garbage;
mod random;
mod request;
mod reviews;
mod schema;
mod selector;
mod server;
mod service;
mod status;
mod table;
mod taint_evictions;
mod tokens;
mod told;
mod verbs;

pub use flags::{Accounts, Action, Credentials, Nodes, Options};
pub use server::{Server, StartError, issue_credentials};
