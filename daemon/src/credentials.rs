//! How the node proves who it is: its client certificate for the API server, and its serving certificate for port 10250.
//!
//! ```text
//! kubeconfig, certificate, clock ──plan──> keep | renew | bootstrap | stuck        (pure)
//!                                             │
//! keeper ──ask──> CertificateSigningRequest ──'── store: DIR/kubelet-client-current.pem ──> new connections
//! serving ─ask──> the same, for the node's addresses ─ store: DIR/kubelet-server-current.pem ──> port 10250
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `plan` | what to do about a certificate at a given time |
//! | `identity` | a certificate with its key, and how long it lasts |
//! | `request` | what is asked for, and what an answer means |
//! | `store` | the files of a certificate |
//! | `ask` | the calls until a certificate is there |
//! | `keeper` | the client certificate while the daemon runs |
//! | `serving` | the serving certificate while the daemon runs |
//!
//! The files are the ones that a kubelet writes, so that either can go on with the other's. A key is made on the node, waits in
//! `*.key.tmp` until its certificate is there, and never leaves it. Over a crash at any point the next start goes on with the
//! same key and the same request. behaviour.md 34.

mod ask;
mod identity;
mod keeper;
mod plan;
mod request;
mod serving;
mod store;

pub(crate) use ask::{connection, request_under_way, standing};
pub(crate) use identity::Identity;
pub use keeper::CredentialsError;
pub(crate) use keeper::{Keeper, Pace, Settings, open};
pub(crate) use serving::run as keep_serving;
pub(crate) use store::{CLIENT, SERVER, Store, write_secret};
