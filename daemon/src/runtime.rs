//! The container runtime: what pods want of it is carried out here, and what it does by itself is noticed here.
//!
//! | module | owns |
//! |---|---|
//! | `executor` | each [`lifecycle::Call`] as calls to the runtime and the disk |
//! | `observe` | the runtime's messages as the pod machine sees them |
//! | `image_failure` | what an image that cannot be had means to a pod |
//! | `sandbox_config`, `container_config` | what the runtime is told to make |
//! | `environment`, `env_file`, `service_variables`, `security`, `dns`, `host_name` | parts of these, all pure |
//! | `users` | which pod has which user ids of the node |
//! | `hooks` | postStart and preStop |
//! | `log_files` | names of logs and of the links to them |
//! | `log_links` | the removal of links that lead nowhere |
//! | `kernel_log` | whom the kernel killed for want of memory |
//! | `restored` | containers that no spec has any more, as far as their hooks go |
//! | `health` | whether the runtime and its network are ready |
//! | `news` | whether what an event tells of is known already |
//! | `watch` | the runtime's events, the audit beside them, and whether the runtime is there at all |
//!
//! Nothing here decides about a pod, and but for the user ids nothing here survives a restart: the runtime has it all.

mod container_config;
mod dns;
mod env_file;
mod environment;
mod executor;
pub(crate) mod health;
mod hooks;
mod host_name;
mod image_failure;
mod kernel_log;
pub(crate) mod log_files;
pub(crate) mod log_links;
mod news;
mod observe;
mod restored;
mod sandbox_config;
mod security;
mod service_variables;
mod users;
mod watch;

pub(crate) use dns::{Settings as DnsSettings, check_limits as check_resolv_conf};
pub(crate) use environment::{Variables, expand_all, expanded_by_static};
pub(crate) use executor::{Executor, Place, Supplies};
pub(crate) use news::News;
pub(crate) use security::Settings as SecuritySettings;
pub(crate) use service_variables::ServiceAddress;
pub(crate) use users::Users;
pub(crate) use watch::{Found, RuntimeEvent, Watcher};
