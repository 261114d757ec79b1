//! watch: a stream of JSON lines.
//!
//! An event is written once per form and shared by all watchers that want this form ([`crate::cache::Event::encoded`]); a watcher
//! costs a place in the window and a task-less stream that the connection polls.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::read::{check_selectors, matches};
use crate::answer::{Answer, Broken, Content, Presentation};
use crate::api::{Api, Call, prefix};
use crate::cache::{EventKind, Freshness, WatchError, WatchItem, WatchQuery, WatchStart, Watcher};
use crate::random;
use crate::request::media::OUTPUT_TYPES;
use crate::request::options::ListOptions;
use crate::schema::Format;
use crate::status::ApiError;
use crate::table::Include;

/// A watch without a timeout of its own lasts between this and twice this, so that watches spread.
const SHORTEST_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// A client may not hold a watch longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a batch of events, after which a chunk is sent.
const CHUNK_BYTES: usize = 64 * 1024;

pub(crate) async fn start(api: &Arc<Api>, call: &Call) -> Result<Answer, ApiError> {
    let mut options = ListOptions::parse(&call.query, true)?;
    if call.accepted.format != Format::Json {
        return Err(ApiError::not_acceptable(OUTPUT_TYPES));
    }
    if let Some(name) = &call.path.name {
        // The old way to watch one object: its own path.
        options.name = Some(name.clone());
    }
    check_selectors(call.kind, &options)?;
    let presentation = Presentation { kind: call.kind, accepted: call.accepted, include: include(call)? };
    let query = WatchQuery {
        prefix: prefix(call.kind, call.namespace()),
        start: start_of(&options),
        bookmark_every: options.bookmarks.then_some(BOOKMARK_EVERY),
    };
    let watcher = match api.cache.watch(query).await {
        Ok(watcher) => Ok(watcher),
        Err(WatchError::Expired { requested, floor }) => {
            // As upstream: the watch begins, and its first event is the error.
            Err(ApiError::expired(format!("too old resource version: {requested} ({floor})")))
        }
        Err(WatchError::TooLarge { requested, current }) => {
            return Err(ApiError::revision_too_large(requested, current));
        }
        Err(WatchError::Failed(error)) => return Err(error.into()),
    };
    let default = || SHORTEST_DEFAULT + Duration::from_secs(random::below(SHORTEST_DEFAULT.as_secs()));
    let timeout = options.timeout.unwrap_or_else(default).min(LONGEST);
    let events = Events {
        state: watcher
            .map_or_else(|refusal| State::Refused(Box::new(refusal)), |w| State::Running(Box::new(w))),
        form: form(&presentation),
        presentation,
        selective: !(options.labels.is_empty() && options.fields.is_empty() && options.name.is_none()),
        options,
        deadline: Instant::now() + timeout,
        stop: api.stop.clone(),
        headers_due: true,
    };
    let body = StreamBody::new(events.into_stream()).boxed_unsync();
    Ok(Answer::new(200, Content::Stream(body, "application/json")))
}

/// The `includeObject` parameter, which tables have.
pub(crate) fn include(call: &Call) -> Result<Include, ApiError> {
    let text = call.query.get("includeObject").unwrap_or("");
    Include::parse(text)
        .ok_or_else(|| ApiError::bad_request(format!("unrecognized includeObject value: {text:?}")))
}

fn start_of(options: &ListOptions) -> WatchStart {
    let fresh = |version: Option<u64>| match version {
        None => Freshness::Latest,
        Some(0) => Freshness::Any,
        Some(version) => Freshness::NotOlderThan(version),
    };
    match (options.send_initial_events, options.resource_version) {
        (Some(true), version) => WatchStart::State { freshness: fresh(version), end_marker: true },
        (Some(false), None | Some(0)) => WatchStart::Now,
        (None, version @ (None | Some(0))) => {
            WatchStart::State { freshness: fresh(version), end_marker: false }
        }
        (Some(false) | None, Some(version)) => WatchStart::After(version),
    }
}

/// The number under which events in this form are shared.
fn form(presentation: &Presentation) -> u64 {
    let mut hasher = DefaultHasher::new();
    (presentation.kind.body.group, presentation.kind.plural).hash(&mut hasher);
    format!("{:?}{:?}", presentation.accepted, presentation.include).hash(&mut hasher);
    hasher.finish()
}

enum State {
    Running(Box<Watcher>),
    /// The first event is an error, and then it is over.
    Refused(Box<ApiError>),
    Over,
}

struct Events {
    state: State,
    presentation: Presentation,
    form: u64,
    options: ListOptions,
    /// Whether not every object is wanted.
    selective: bool,
    deadline: Instant,
    stop: CancellationToken,
    /// Whether the next table has to tell its columns.
    headers_due: bool,
}

impl Events {
    fn into_stream(self) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> + Send {
        stream::unfold(self, |mut events| async move {
            let chunk = events.next_chunk().await?;
            Some((Ok(Frame::data(chunk)), events))
        })
    }

    /// The next bytes; `None` at the end.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            let batch = match &mut self.state {
                State::Over => return None,
                State::Refused(refusal) => {
                    let line = error_line(refusal);
                    self.state = State::Over;
                    return Some(line);
                }
                State::Running(watcher) => tokio::select! {
                    // Nothing is lost by dropping a batch when the watch ends anyway: the client resumes after what it got.
                    biased;
                    () = self.stop.cancelled() => None,
                    () = sleep_until(self.deadline) => None,
                    // Cancel-safe by its own promise.
                    batch = watcher.next_batch() => Some(batch),
                },
            };
            match batch {
                None => self.state = State::Over,
                Some(Err(end)) => {
                    self.state = State::Refused(Box::new(ApiError::expired(end.to_string())));
                }
                Some(Ok(items)) => {
                    if let Some(chunk) = self.write_batch(items) {
                        return Some(chunk);
                    }
                }
            }
        }
    }

    /// The lines of a batch; `None` if this watcher sees none of it.
    fn write_batch(&mut self, items: Vec<WatchItem>) -> Option<Bytes> {
        let mut only: Option<Bytes> = None;
        let mut many: Vec<u8> = Vec::new();
        for item in items {
            let Some(line) = self.line(item) else { continue };
            // A single event, the usual case, is passed on without a copy.
            match only.take() {
                None if many.is_empty() => only = Some(line),
                None => many.extend_from_slice(&line),
                Some(first) => {
                    many.reserve(CHUNK_BYTES.min(first.len() + line.len()));
                    many.extend_from_slice(&first);
                    many.extend_from_slice(&line);
                }
            }
        }
        only.or_else(|| (!many.is_empty()).then(|| many.into()))
    }

    fn line(&mut self, item: WatchItem) -> Option<Bytes> {
        match item {
            WatchItem::Initial(object) => {
                if self.selective && !self.wants(&object.value()) {
                    return None;
                }
                let headers = std::mem::take(&mut self.headers_due);
                Some(event_line(&self.presentation, EventKind::Added, &object, headers))
            }
            WatchItem::InitialEnd { revision } => {
                let annotations = json!({ "k8s.io/initial-events-end": "true" });
                Some(self.bookmark_line(revision, Some(annotations)))
            }
            WatchItem::Bookmark { revision } => Some(self.bookmark_line(revision, None)),
            WatchItem::Event(event) => {
                let sight =
                    if self.selective { event.seen_by(|o| self.wants(o))? } else { event.seen_by_all() };
                if std::mem::take(&mut self.headers_due) && self.presentation.has_headers() {
                    return Some(event_line(&self.presentation, sight.kind, &sight.object, true));
                }
                Some(
                    event.encoded(self.form, &sight, |s| {
                        event_line(&self.presentation, s.kind, &s.object, false)
                    }),
                )
            }
        }
    }

    fn wants(&self, object: &Value) -> bool {
        matches(self.presentation.kind, &self.options, object)
    }

    fn bookmark_line(&self, revision: u64, annotations: Option<Value>) -> Bytes {
        line(&json!({ "type": "BOOKMARK", "object": self.presentation.bookmark(revision, annotations) }))
    }
}

fn event_line(
    presentation: &Presentation,
    kind: EventKind,
    object: &crate::cache::Object,
    headers: bool,
) -> Bytes {
    let mut out = Vec::with_capacity(object.stored_bytes() + 96);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    presentation.write_watched(object, headers, &mut out);
    out.extend_from_slice(b"}\n");
    out.into()
}

fn error_line(refusal: &ApiError) -> Bytes {
    line(&json!({ "type": "ERROR", "object": refusal.to_object() }))
}

fn line(value: &Value) -> Bytes {
    let mut bytes =
        serde_json::to_vec(value).expect("a JSON tree has string keys only, so that it can be written");
    bytes.push(b'\n');
    bytes.into()
}
