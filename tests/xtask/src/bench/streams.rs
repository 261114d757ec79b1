//! Exec through the node's port 10250, beside the URL that the runtime gives out: the same command, and a client that only counts.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cri_client::{Client as Cri, v1};
use futures::{StreamExt, TryStreamExt};
use harness::Cluster;
use harness::node_port::{Connection, NodePort};
use http::{HeaderMap, HeaderValue, Method, Uri};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use streams::spdy::{self, headers};
use streams::websocket;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::{Subject, cost, median};

/// `dd` of 64 KiB at a time: 500 MB.
const BLOCKS: u64 = 7630;
const BLOCK: u64 = 64 * 1024;
/// Times that the output is taken over each way, of which the middle one counts.
const RUNS: usize = 3;
const STARTS: usize = 20;
const SESSIONS: usize = 100;
const AT_ONCE: usize = 8;
const SETTLE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "bench-streams";
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// What was measured. Times of the output are medians.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) megabytes: u64,
    pub(super) port: Duration,
    pub(super) own_spdy: Duration,
    pub(super) own_socket: Duration,
    /// Of the daemon, for one of the outputs.
    pub(super) processor: Duration,
    pub(super) starts: usize,
    pub(super) start: Duration,
    pub(super) own_start: Duration,
    /// With SPDY, which the daemon speaks with the runtime.
    pub(super) own_spdy_start: Duration,
    pub(super) sessions: usize,
    /// For each.
    pub(super) session_kib: f64,
}

pub(super) async fn measure(subject: &Subject<'_>, cluster: &Cluster) -> Result<Streams> {
    let client = Client::try_from(subject.config.clone())?;
    let api: Api<Pod> = Api::default_namespaced(client);
    let id = container(&api, subject.node).await?;
    let port = NodePort::of(cluster, cluster.node(0)).await?;
    let way = Ways { port: &port, cri: subject.cri, id: &id };
    let dump = format!("dd if=/dev/zero bs={BLOCK} count={BLOCKS}");
    let dump: Vec<&str> = dump.split(' ').collect();
    let (mut through, mut spdy, mut socket, mut processor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let before = cost::used(subject.nodelet)?;
        through.push(way.port(&dump, BLOCKS * BLOCK).await?);
        processor.push(cost::used(subject.nodelet)?.since(&before).processor);
        spdy.push(way.own_spdy(&dump, BLOCKS * BLOCK).await?);
        socket.push(way.own_socket(&dump, BLOCKS * BLOCK).await?);
    }
    let (mut start, mut own_start, mut own_spdy_start) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        start.push(way.port(&["true"], 0).await?);
        own_start.push(way.own_socket(&["true"], 0).await?);
        own_spdy_start.push(way.own_spdy(&["true"], 0).await?);
    }
    let session_kib = idle(subject, &port).await?;
    api.delete(NAME, &DeleteParams::default()).await?;
    Ok(Streams {
        megabytes: BLOCKS * BLOCK / 1_000_000,
        port: median(&mut through),
        own_spdy: median(&mut spdy),
        own_socket: median(&mut socket),
        processor: median(&mut processor),
        starts: STARTS,
        start: median(&mut start),
        own_start: median(&mut own_start),
        own_spdy_start: median(&mut own_spdy_start),
        sessions: SESSIONS,
        session_kib,
    })
}

/// The id of the container that commands are run in.
async fn container(api: &Api<Pod>, node: &str) -> Result<String> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": NAME },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "c", "image": harness::images::BUSYBOX, "command": ["sleep", "1000000"] }],
        },
    }))?;
    api.create(&PostParams::default(), &pod).await?;
    let end = Instant::now() + LIMIT;
    loop {
        let pod = api.get_status(NAME).await?;
        let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let running = statuses.into_iter().find(|s| s.state.as_ref().is_some_and(|s| s.running.is_some()));
        if let Some(id) = running.and_then(|status| status.container_id) {
            return Ok(id.trim_start_matches("containerd://").to_owned());
        }
        ensure!(Instant::now() < end, "{NAME} does not run after {LIMIT:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The ways to a command.
struct Ways<'a> {
    port: &'a NodePort,
    cri: &'a Cri,
    id: &'a str,
}

impl Ways<'_> {
    /// Runs a command with `bytes` of output through the daemon; how long it took, from the request to the end.
    async fn port(&self, command: &[&str], bytes: u64) -> Result<Duration> {
        let command: Vec<_> = command.iter().map(|word| format!("command={word}")).collect();
        let path = format!("/exec/default/{NAME}/c?output=1&{}", command.join("&"));
        let begin = Instant::now();
        socket(self.port.raw_socket(&path, V5).await?, bytes).await?;
        Ok(begin.elapsed())
    }

    /// The same at the runtime's URL, the call for it included.
    async fn own_socket(&self, command: &[&str], bytes: u64) -> Result<Duration> {
        let begin = Instant::now();
        let url = self.url(command).await?;
        socket(NodePort::of_url(&url)?.raw_socket(url.path(), V4).await?, bytes).await?;
        Ok(begin.elapsed())
    }

    async fn own_spdy(&self, command: &[&str], bytes: u64) -> Result<Duration> {
        let begin = Instant::now();
        let url = self.url(command).await?;
        let mut headers = HeaderMap::new();
        headers.insert("x-stream-protocol-version", HeaderValue::from_static(V4));
        let (_, connection) =
            NodePort::of_url(&url)?.upgrade(Method::POST, url.path(), "SPDY/3.1", headers).await?;
        streams_of(connection, bytes).await?;
        Ok(begin.elapsed())
    }

    async fn url(&self, command: &[&str]) -> Result<Uri> {
        let request = v1::ExecRequest {
            container_id: self.id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            stdout: true,
            ..Default::default()
        };
        Ok(self.cri.exec(request).await?.parse()?)
    }
}

/// Reads a WebSocket to its end.
async fn socket(mut connection: Connection, wanted: u64) -> Result<()> {
    let mut decoder = websocket::Decoder::new(websocket::Role::Client);
    let (mut count, mut is_output) = (0, false);
    let reading = read(&mut connection, |bytes| {
        let mut at = 0;
        while at < bytes.len() {
            let (after, event) = decoder.next(bytes, at)?;
            at = after;
            match event {
                Some(websocket::Event::Data { mut part, first, .. }) => {
                    if first && !part.is_empty() {
                        is_output = bytes[part.start] == 1;
                        part.start += 1;
                    }
                    count += if is_output { part.len() as u64 } else { 0 };
                }
                Some(websocket::Event::Close(_)) => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    });
    timeout(LIMIT, reading).await.context("reading a WebSocket")??;
    ensure!(count == wanted, "{count} bytes instead of {wanted}");
    Ok(())
}

/// Opens the streams of a command and reads until both have ended.
async fn streams_of(mut connection: Connection, wanted: u64) -> Result<()> {
    let (mut frames, mut blocks) = (Vec::new(), headers::Writer::default());
    for (number, kind) in [(1, "error"), (3, "stdout")] {
        spdy::syn_stream(&mut frames, number, false, &blocks.block(&[("streamtype", kind)]));
    }
    connection.write_all(&frames).await?;
    let mut decoder = spdy::Decoder::new();
    let (mut count, mut open) = (0, vec![1, 3]);
    let reading = read(&mut connection, |bytes| {
        let mut at = 0;
        while at < bytes.len() {
            let (after, event) = decoder.next(bytes, at)?;
            at = after;
            match event {
                Some(spdy::Event::Data { stream, part, fin }) => {
                    count += if stream == 3 { part.len() as u64 } else { 0 };
                    if fin {
                        open.retain(|open| *open != stream);
                    }
                }
                Some(spdy::Event::Reset { stream, .. }) => open.retain(|open| *open != stream),
                _ => {}
            }
        }
        Ok(open.is_empty())
    });
    timeout(LIMIT, reading).await.context("reading SPDY")??;
    ensure!(count == wanted, "{count} bytes instead of {wanted}");
    Ok(())
}

/// Gives what comes to `take`, until that has enough.
async fn read(connection: &mut Connection, mut take: impl FnMut(&mut [u8]) -> Result<bool>) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = connection.read(&mut bytes).await?;
        if length == 0 {
            bail!("the connection ended early");
        }
        if take(&mut bytes[..length])? {
            return Ok(());
        }
    }
}

/// What one more idle session costs the daemon, in KiB.
async fn idle(subject: &Subject<'_>, port: &NodePort) -> Result<f64> {
    let path = format!("/exec/default/{NAME}/c?input=1&output=1&command=cat");
    sleep(SETTLE).await;
    let before = cost::memory(subject.nodelet)?.pss_kib;
    let sessions: Vec<_> = futures::stream::iter(0..SESSIONS)
        .map(|_| async {
            let mut socket = port.socket(&path, V5).await?;
            // So that everything has been used that a session uses.
            socket.send(0, b"x\n").await?;
            socket.until(1, "x\n").await?;
            anyhow::Ok(socket)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    sleep(SETTLE).await;
    let after = cost::memory(subject.nodelet)?.pss_kib;
    drop(sessions);
    Ok((after as f64 - before as f64) / SESSIONS as f64)
}
