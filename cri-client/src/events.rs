//! The runtime's stream of container events.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::error::Cause;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::{client, v1};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(3);

/// What the stream brings.
#[derive(Clone, Debug)]
pub enum Event {
    /// The stream stands (again). What happened before is not told: everything is to be read anew.
    Connected,
    /// The stream broke; it is made anew with growing delays.
    Lost {
        /// Why.
        error: Cause,
    },
    /// Something happened to a container or a sandbox.
    Container(Box<v1::ContainerEventResponse>),
    /// The runtime has no such stream: its state is to be read at intervals instead. Nothing follows.
    Unsupported,
}

type Opening = BoxFuture<'static, Result<Response<Streaming<v1::ContainerEventResponse>>, Status>>;

enum State {
    Idle,
    /// The call is made. A runtime may send nothing, not even headers, before the first event.
    Opening(Opening),
    Open(Box<Streaming<v1::ContainerEventResponse>>),
    Unsupported,
}

/// See [`crate::Client::events`].
pub struct EventStream {
    client: RuntimeServiceClient<Channel>,
    state: State,
    delay: Option<Duration>,
    ready: VecDeque<Event>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("delay", &self.delay)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl EventStream {
    pub(crate) fn new(client: RuntimeServiceClient<Channel>) -> Self {
        Self { client, state: State::Idle, delay: None, ready: VecDeque::new() }
    }

    /// The next event; `None` only after [`Event::Unsupported`]. Cancel-safe: no event is lost with a dropped future.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match &mut self.state {
                State::Unsupported => return None,
                State::Idle => self.connect().await,
                State::Opening(opening) => {
                    let outcome = opening.await;
                    self.opened(outcome);
                }
                State::Open(stream) => match stream.message().await {
                    Ok(Some(event)) => {
                        let sandbox = event.pod_sandbox_status.as_ref();
                        if sandbox.is_none_or(|s| client::check_sandbox_status(s).is_ok()) {
                            return Some(Event::Container(Box::new(event)));
                        }
                    }
                    Ok(None) => self
                        .lost(Cause::Unavailable("the container runtime ended its event stream".to_owned())),
                    Err(status) => self.lost(Cause::of(&status, None)),
                },
            }
        }
    }

    async fn connect(&mut self) {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        self.delay = Some(self.delay.map_or(FIRST_DELAY, |d| (d * 2).min(MAX_DELAY)));
        let mut client = self.client.clone();
        let mut opening: Opening =
            Box::pin(async move { client.get_container_events(v1::GetEventsRequest {}).await });
        let mut client = self.client.clone();
        let version = client.version(v1::VersionRequest { version: "0.1.0".to_owned() });
        // The stream's silence says nothing; that the runtime answers another call, sent after it, does.
        tokio::select! {
            biased;
            outcome = &mut opening => self.opened(outcome),
            answer = version => match answer {
                Ok(_) => {
                    self.delay = None;
                    self.state = State::Opening(opening);
                    self.ready.push_back(Event::Connected);
                }
                Err(status) => self.lost(Cause::of(&status, None)),
            },
        }
    }

    fn opened(&mut self, outcome: Result<Response<Streaming<v1::ContainerEventResponse>>, Status>) {
        match outcome {
            Ok(response) => {
                if !matches!(self.state, State::Opening(_)) {
                    self.ready.push_back(Event::Connected);
                }
                self.delay = None;
                self.state = State::Open(Box::new(response.into_inner()));
            }
            Err(status) => self.lost(Cause::of(&status, None)),
        }
    }

    fn lost(&mut self, error: Cause) {
        if error == Cause::Unimplemented {
            self.state = State::Unsupported;
            self.ready.push_back(Event::Unsupported);
        } else {
            self.state = State::Idle;
            self.delay.get_or_insert(FIRST_DELAY);
            self.ready.push_back(Event::Lost { error });
        }
    }
}
