//! Slices of systemd, over the system's bus.
//!
//! systemd owns the cgroups of its units and writes their files when it sees fit. So a slice is made by a call, and each
//! value that systemd has a property for is told to it; the files are written as well, since properties are coarser.

use std::time::Duration;

use futures::StreamExt as _;
use thiserror::Error;
use tokio::sync::Mutex;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream, message};

use crate::values::{Property, PropertyValue};

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// For one call, and for the job that it begins.
const DEADLINE: Duration = Duration::from_secs(30);

/// A call to systemd has failed.
#[derive(Debug, Error)]
pub enum SystemdError {
    /// The bus, or systemd's answer.
    #[error("{operation} {unit} by systemd")]
    Call {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// Of which unit.
        unit: String,
        /// Why it failed.
        source: Box<zbus::Error>,
    },
    /// The job ended otherwise than by being done.
    #[error("{operation} {unit}: systemd's job ended with {result:?}")]
    Job {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// Of which unit.
        unit: String,
        /// systemd's word: `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
        result: String,
    },
    /// No answer in 30 seconds.
    #[error("{operation} {unit}: systemd has not answered in 30 s")]
    Late {
        /// What was asked for, as a verb.
        operation: &'static str,
        /// Of which unit.
        unit: String,
    },
}

/// systemd as the keeper of slices. The connection is made when it is needed, and again after it broke.
#[derive(Debug, Default)]
pub struct Systemd {
    /// Where the bus is; the system's own where there is nothing.
    address: Option<String>,
    connection: Mutex<Option<Connection>>,
}

impl Systemd {
    /// At the system's bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// At another bus (`unix:path=...`).
    pub fn at(address: &str) -> Self {
        Self { address: Some(address.to_owned()), connection: Mutex::default() }
    }

    /// Starts a slice with these properties below the slice `parent`; one that is there already gets the properties.
    ///
    /// # Errors
    /// The bus is away, or systemd refuses it.
    pub async fn start_slice(
        &self,
        unit: &str,
        parent: &str,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        let description = format!("Pods of nodelet: {unit}");
        let mut all: Vec<(&str, Value<'_>)> = vec![
            ("Description", Value::from(description)),
            // A slice's parent follows from its name; this starts it, and keeps it as long as there are pods.
            ("Wants", Value::from(vec![parent.to_owned()])),
            ("DefaultDependencies", Value::from(false)),
            ("CPUAccounting", Value::from(true)),
            ("MemoryAccounting", Value::from(true)),
            ("TasksAccounting", Value::from(true)),
            ("IOAccounting", Value::from(true)),
        ];
        all.extend(properties.iter().map(value));
        let auxiliary: Vec<(String, Vec<(String, Value<'_>)>)> = Vec::new();
        let body = (unit, "replace", all, auxiliary);
        match self.job("starting", "StartTransientUnit", unit, &body).await {
            Err(SystemdError::Call { source, .. }) if is_named(&source, UNIT_EXISTS) => {
                self.set_properties(unit, properties).await
            }
            other => other,
        }
    }

    /// Sets properties of a unit until the machine's next start.
    ///
    /// # Errors
    /// The bus is away, there is no such unit, or systemd refuses it.
    pub async fn set_properties(&self, unit: &str, properties: &[Property]) -> Result<(), SystemdError> {
        if properties.is_empty() {
            return Ok(());
        }
        let all: Vec<(&str, Value<'_>)> = properties.iter().map(value).collect();
        let operation = "setting properties of";
        let call = async {
            let connection = self.connection(operation, unit).await?;
            self.call(&connection, operation, "SetUnitProperties", unit, &(unit, true, all)).await.map(drop)
        };
        in_time(operation, unit, call).await
    }

    /// Stops a unit; one that systemd does not know is stopped.
    ///
    /// # Errors
    /// The bus is away, or the unit cannot be stopped.
    pub async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        match self.job("stopping", "StopUnit", unit, &(unit, "replace")).await {
            Err(SystemdError::Call { source, .. }) if is_named(&source, NO_SUCH_UNIT) => Ok(()),
            other => other,
        }
    }

    /// Asks for a job and waits for its end.
    async fn job<B>(
        &self,
        operation: &'static str,
        method: &'static str,
        unit: &str,
        body: &B,
    ) -> Result<(), SystemdError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        in_time(operation, unit, async {
            let failed = |error| call_error(operation, unit, error);
            let connection = self.connection(operation, unit).await?;
            // Before the call: a job may have ended when its answer arrives.
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(SERVICE)
                .and_then(|rule| rule.interface(MANAGER))
                .and_then(|rule| rule.member("JobRemoved"))
                .map_err(failed)?
                .build();
            let mut ends = MessageStream::for_match_rule(rule, &connection, None).await.map_err(failed)?;
            let answer = self.call(&connection, operation, method, unit, body).await?;
            let job: OwnedObjectPath = answer.body().deserialize().map_err(failed)?;
            while let Some(end) = ends.next().await {
                let end = end.map_err(failed)?;
                let body = end.body();
                let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
                    body.deserialize().map_err(failed)?;
                if path == job {
                    return match result.as_str() {
                        "done" => Ok(()),
                        _ => Err(SystemdError::Job { operation, unit: unit.to_owned(), result }),
                    };
                }
            }
            Err(call_error(
                operation,
                unit,
                zbus::Error::InputOutput(std::sync::Arc::new(std::io::ErrorKind::ConnectionReset.into())),
            ))
        })
        .await
    }

    async fn call<B>(
        &self,
        connection: &Connection,
        operation: &'static str,
        method: &str,
        unit: &str,
        body: &B,
    ) -> Result<message::Message, SystemdError>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let answer = connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), method, body).await;
        if let Err(zbus::Error::InputOutput(_)) = &answer {
            // The bus was started again: the next call makes a new connection.
            *self.connection.lock().await = None;
        }
        answer.map_err(|error| call_error(operation, unit, error))
    }

    async fn connection(&self, operation: &'static str, unit: &str) -> Result<Connection, SystemdError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let failed = |error| call_error(operation, unit, error);
        let connection = match &self.address {
            Some(address) => {
                zbus::connection::Builder::address(address.as_str()).map_err(failed)?.build().await
            }
            None => Connection::system().await,
        };
        let connection = connection.map_err(failed)?;
        // systemd sends no signals as long as nobody has asked for them.
        self.call_subscribe(&connection).await.map_err(failed)?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn call_subscribe(&self, connection: &Connection) -> Result<(), zbus::Error> {
        connection.call_method(Some(SERVICE), MANAGER_PATH, Some(MANAGER), "Subscribe", &()).await.map(drop)
    }
}

async fn in_time<T>(
    operation: &'static str,
    unit: &str,
    call: impl Future<Output = Result<T, SystemdError>>,
) -> Result<T, SystemdError> {
    let late = |_| SystemdError::Late { operation, unit: unit.to_owned() };
    tokio::time::timeout(DEADLINE, call).await.map_err(late)?
}

fn call_error(operation: &'static str, unit: &str, source: zbus::Error) -> SystemdError {
    SystemdError::Call { operation, unit: unit.to_owned(), source: Box::new(source) }
}

fn is_named(error: &zbus::Error, wanted: &str) -> bool {
    matches!(error, zbus::Error::MethodError(name, _, _) if name.as_str() == wanted)
}

fn value(property: &Property) -> (&'static str, Value<'static>) {
    let value = match &property.value {
        PropertyValue::Number(number) => Value::from(*number),
        PropertyValue::Mask(mask) => Value::from(mask.clone()),
    };
    (property.name, value)
}
