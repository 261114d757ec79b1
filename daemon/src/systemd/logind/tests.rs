//! logind and systemd as one program on the other end of a socket, without a bus between.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::Fd;

use super::*;
use crate::events::Rates;
use crate::sources::mirror::Mirrors;

const GRACE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(30);

/// What the machine's logind is like; it is there only while the test holds it.
#[derive(Clone, Default)]
struct State {
    longest: Arc<Mutex<Duration>>,
    preparing: Arc<Mutex<bool>>,
    /// This process's ends of the locks that were given.
    locks: Arc<Mutex<Vec<UnixStream>>>,
    drop_in: PathBuf,
}

struct Manager(State);

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Manager {
    fn inhibit(&self, what: &str, _who: &str, _why: &str, mode: &str) -> zbus::fdo::Result<Fd<'static>> {
        assert_eq!((what, mode), ("shutdown", "delay"));
        if *self.0.preparing.lock().unwrap() {
            return Err(zbus::fdo::Error::Failed("the operation is already running".to_owned()));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.0.locks.lock().unwrap().push(ours);
        Ok(Fd::from(std::os::fd::OwnedFd::from(theirs)))
    }

    #[zbus(property, name = "InhibitDelayMaxUSec")]
    fn longest(&self) -> u64 {
        u64::try_from(self.0.longest.lock().unwrap().as_micros()).unwrap()
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        *self.0.preparing.lock().unwrap()
    }

    #[zbus(signal)]
    async fn prepare_for_shutdown(emitter: &SignalEmitter<'_>, down: bool) -> zbus::Result<()>;
}

struct Systemd(State);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn kill_unit(&self, unit: &str, _who: &str, signal: i32) {
        assert_eq!((unit, signal), ("systemd-logind.service", 1));
        let text = std::fs::read_to_string(&self.0.drop_in).unwrap();
        let seconds = text.lines().find_map(|line| line.strip_prefix("InhibitDelayMaxSec="));
        *self.0.longest.lock().unwrap() = Duration::from_secs(seconds.unwrap().parse().unwrap());
    }
}

impl State {
    /// The state of the last lock: held, or given back.
    fn is_held(&self) -> bool {
        let locks = self.locks.lock().unwrap();
        let last = locks.last().expect("a lock that was taken");
        last.set_nonblocking(true).unwrap();
        let mut last: &UnixStream = last;
        last.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn serve(&self, stream: tokio::net::UnixStream) -> Connection {
        connection::Builder::unix_stream(stream)
            .server(zbus::Guid::generate())
            .unwrap()
            .p2p()
            .serve_at(LOGIN_PATH, Manager(self.clone()))
            .unwrap()
            .serve_at(SYSTEMD_PATH, Systemd(self.clone()))
            .unwrap()
            .build()
            .await
            .unwrap()
    }

    async fn prepare(&self, connection: &Connection, down: bool) {
        *self.preparing.lock().unwrap() = down;
        let server = connection.object_server();
        let manager = server.interface::<_, Manager>(LOGIN_PATH).await.unwrap();
        Manager::prepare_for_shutdown(manager.signal_emitter(), down).await.unwrap();
    }
}

struct Setup {
    state: State,
    /// The daemon's connections, as they come.
    connections: mpsc::Receiver<tokio::net::UnixStream>,
    down: watch::Receiver<bool>,
    over: watch::Sender<u64>,
    metrics: Metrics,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

/// Without a bus: whoever connects is given to the test.
fn setup(longest: Duration, preparing: bool) -> Setup {
    let (give, connections) = mpsc::channel(4);
    let connect: Connect = Box::new(move || {
        let give = give.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
            give.try_send(theirs).expect("a test that takes connections");
            connection::Builder::unix_stream(ours).p2p().build().await
        })
    });
    setup_at(connect, connections, longest, preparing)
}

fn setup_at(
    connect: Connect,
    connections: mpsc::Receiver<tokio::net::UnixStream>,
    longest: Duration,
    preparing: bool,
) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let drop_in = dir.path().join("logind.conf.d/99-kubelet.conf");
    let state = State { drop_in: drop_in.clone(), ..State::default() };
    *state.longest.lock().unwrap() = longest;
    *state.preparing.lock().unwrap() = preparing;
    let (recorder, _sender) = Recorder::new(None, "n1", Rates::default());
    let metrics = Metrics::new().unwrap();
    let down = watch::Sender::new(false);
    let over = watch::Sender::new(0);
    let (stop, stopped) = watch::channel(false);
    let setup = Setup {
        state,
        connections,
        down: down.subscribe(),
        over: over.clone(),
        metrics: metrics.clone(),
        _stop: stop,
        _dir: dir,
    };
    let publisher = Publisher::new(None, recorder.clone(), Mirrors::new(), metrics.clone());
    let over = over.subscribe();
    let shutdown = Shutdown { grace: GRACE, down, over, publisher, recorder, metrics };
    tokio::spawn(follow(shutdown, Place { connect, drop_in }, stopped));
    setup
}

impl Setup {
    async fn connected(&mut self) -> Connection {
        let stream = timeout(LIMIT, self.connections.recv()).await.expect("a connection").unwrap();
        self.state.serve(stream).await
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("never {what}"));
    }

    async fn locks(&self, count: usize) {
        self.until("so many locks", || self.state.locks.lock().unwrap().len() == count).await;
    }

    async fn is_down(&mut self, wanted: bool) {
        let turned = timeout(LIMIT, self.down.wait_for(|down| *down == wanted)).await;
        drop(turned.expect("a word in time").expect("a task that runs"));
    }
}

#[tokio::test]
async fn a_shutdown_is_delayed_until_the_pods_have_ended() {
    let mut node = setup(Duration::from_secs(5), false);
    let logind = node.connected().await;
    node.locks(1).await;
    assert_eq!(*node.state.longest.lock().unwrap(), GRACE, "the drop-in was written and read");
    assert!(node.state.is_held());

    node.state.prepare(&logind, true).await;
    node.is_down(true).await;
    assert!(node.state.is_held(), "the pods have not ended");
    node.over.send_modify(|times| *times += 1);
    node.until("given back", || !node.state.is_held()).await;
    let text = node.metrics.text().unwrap();
    assert!(!text.contains("kubelet_graceful_shutdown_end_time_seconds 0\n"), "{text}");
}

#[tokio::test]
async fn a_machine_that_stays_up_after_all_has_its_lock_and_its_pods_again() {
    let mut node = setup(LIMIT, false);
    let logind = node.connected().await;
    node.locks(1).await;
    assert!(!node.state.drop_in.exists(), "logind waits long enough by itself");
    node.state.prepare(&logind, true).await;
    node.is_down(true).await;
    node.state.prepare(&logind, false).await;
    node.is_down(false).await;
    node.locks(2).await;
    node.until("held", || node.state.is_held()).await;
}

#[tokio::test]
async fn a_bus_that_was_lost_is_reached_again_and_says_what_was_missed() {
    let mut node = setup(LIMIT, false);
    let logind = node.connected().await;
    node.locks(1).await;
    *node.state.preparing.lock().unwrap() = true;
    logind.close().await.unwrap();
    let _again = node.connected().await;
    node.is_down(true).await;
    assert!(node.state.is_held(), "the lock is no part of the connection");
}

#[tokio::test]
async fn a_daemon_that_starts_while_the_machine_goes_down_says_so_to_the_pods() {
    let mut node = setup(LIMIT, true);
    let _logind = node.connected().await;
    node.is_down(true).await;
    assert!(node.state.locks.lock().unwrap().is_empty());
}

struct Bus(std::process::Child);

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bus(address: &str) -> Option<Bus> {
    let child = std::process::Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--address={address}"))
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut bus = match child {
        Ok(child) => Bus(child),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no dbus-daemon");
            return None;
        }
        Err(error) => panic!("starting dbus-daemon: {error}"),
    };
    // The address is printed once it listens.
    let said = bus.0.stdout.as_mut().unwrap().read(&mut [0; 256]).unwrap();
    assert!(said > 0, "it has ended");
    Some(bus)
}

#[tokio::test]
async fn over_a_bus_a_logind_that_comes_later_is_found_and_a_shutdown_delayed() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:path={}", dir.path().join("bus").display());
    let Some(_bus) = bus(&address) else { return };
    let there = address.clone();
    let connect: Connect = Box::new(move || {
        let address = there.clone();
        Box::pin(async move { connection::Builder::address(address.as_str())?.build().await })
    });
    let mut node = setup_at(connect, mpsc::channel(1).1, Duration::from_secs(5), false);
    let logind = logind_at(&address, &node.state).await;
    node.locks(1).await;
    assert_eq!(*node.state.longest.lock().unwrap(), GRACE);

    node.state.prepare(&logind, true).await;
    node.is_down(true).await;
    node.over.send_modify(|times| *times += 1);
    node.until("given back", || !node.state.is_held()).await;
    node.state.prepare(&logind, false).await;
    node.is_down(false).await;
    node.locks(2).await;

    // One that is killed in the midst of it says nothing; its successor knows of no shutdown.
    node.state.prepare(&logind, true).await;
    node.is_down(true).await;
    *node.state.preparing.lock().unwrap() = false;
    logind.close().await.unwrap();
    let _successor = logind_at(&address, &node.state).await;
    node.is_down(false).await;
    node.locks(3).await;
}

/// Systemd and logind in one, on a bus.
async fn logind_at(address: &str, state: &State) -> Connection {
    let logind = connection::Builder::address(address)
        .unwrap()
        .serve_at(LOGIN_PATH, Manager(state.clone()))
        .unwrap()
        .serve_at(SYSTEMD_PATH, Systemd(state.clone()))
        .unwrap()
        .build()
        .await
        .unwrap();
    logind.request_name(SYSTEMD).await.unwrap();
    logind.request_name(LOGIN).await.unwrap();
    logind
}

#[test]
fn the_drop_in_has_whole_seconds_and_is_readable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/99-kubelet.conf");
    write_drop_in(&path, Duration::from_millis(30_001)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with("[Login]\nInhibitDelayMaxSec=31\n"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
}
