//! The systemd driver beside a bus of its own with a stand-in for systemd on it. Needs `dbus-daemon`.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use cgroups::{Driver, Layout, Property, PropertyValue, Systemd, Tier, Tree, Values};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    ZBus(zbus::Error),
    UnitExists(String),
    NoSuchUnit(String),
}

type Auxiliary = Vec<(String, Vec<(String, OwnedValue)>)>;

/// What was asked for, in order, and the units that there are.
#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    units: BTreeMap<String, BTreeMap<String, String>>,
    jobs: u32,
    /// How jobs end.
    result: Option<&'static str>,
}

struct StandIn(Arc<Mutex<State>>);

impl StandIn {
    /// A job that ends before its answer is sent: the harder order for who waits.
    async fn job(&self, unit: &str, emitter: &SignalEmitter<'_>) -> Result<OwnedObjectPath, Refusal> {
        let (number, result) = {
            let mut state = self.0.lock().unwrap();
            state.jobs += 1;
            (state.jobs, state.result.unwrap_or("done"))
        };
        let path = OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{number}")).unwrap();
        let other = OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/0").unwrap();
        Self::job_removed(emitter, 0, other, unit, "failed").await?;
        Self::job_removed(emitter, number, path.clone(), unit, result).await?;
        Ok(path)
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl StandIn {
    fn subscribe(&self) {
        self.0.lock().unwrap().asked.push("subscribe".to_owned());
    }

    async fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Vec<(String, OwnedValue)>,
        auxiliary: Auxiliary,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal> {
        {
            let mut state = self.0.lock().unwrap();
            state.asked.push(format!("start {name} {mode} {}", auxiliary.len()));
            if state.units.contains_key(&name) {
                return Err(Refusal::UnitExists(format!("Unit {name} was already loaded")));
            }
            let shown = properties.into_iter().map(|(key, value)| (key, shown(&value))).collect();
            state.units.insert(name.clone(), shown);
        }
        self.job(&name, &emitter).await
    }

    fn set_unit_properties(
        &self,
        name: String,
        runtime: bool,
        properties: Vec<(String, OwnedValue)>,
    ) -> Result<(), Refusal> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(format!("set {name} {runtime}"));
        let Some(unit) = state.units.get_mut(&name) else {
            return Err(Refusal::NoSuchUnit(format!("Unit {name} not loaded.")));
        };
        unit.extend(properties.into_iter().map(|(key, value)| (key, shown(&value))));
        Ok(())
    }

    async fn stop_unit(
        &self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, Refusal> {
        {
            let mut state = self.0.lock().unwrap();
            state.asked.push(format!("stop {name} {mode}"));
            if state.units.remove(&name).is_none() {
                return Err(Refusal::NoSuchUnit(format!("Unit {name} not loaded.")));
            }
        }
        self.job(&name, &emitter).await
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// Type and value, in the bus's text form.
fn shown(value: &OwnedValue) -> String {
    (**value).to_string()
}

/// A bus; it ends with the test.
struct Bus(Child);

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bus(dir: &Path) -> Option<Bus> {
    let child = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--address={}", address(dir)))
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no dbus-daemon");
            return None;
        }
        Err(error) => panic!("starting dbus-daemon: {error}"),
    };
    // The address is printed once it listens.
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("unix:path="), "{line:?}");
    Some(Bus(child))
}

fn address(dir: &Path) -> String {
    format!("unix:path={}", dir.join("bus").display())
}

async fn stand_in(dir: &Path, state: &Arc<Mutex<State>>) -> zbus::Connection {
    let builder = zbus::connection::Builder::address(address(dir).as_str()).unwrap();
    let service = StandIn(Arc::clone(state));
    let builder = builder.name("org.freedesktop.systemd1").unwrap();
    builder.serve_at("/org/freedesktop/systemd1", service).unwrap().build().await.unwrap()
}

fn weight(weight: u64) -> Vec<Property> {
    vec![
        Property { name: "CPUWeight", value: PropertyValue::Number(weight) },
        Property { name: "AllowedCPUs", value: PropertyValue::Mask(vec![3]) },
    ]
}

#[tokio::test]
async fn a_slice_is_started_once_set_again_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_bus) = bus(dir.path()) else { return };
    let state = Arc::new(Mutex::new(State::default()));
    let _service = stand_in(dir.path(), &state).await;
    let systemd = Systemd::at(&address(dir.path()));
    systemd.start_slice("kubepods-podu.slice", "kubepods.slice", &weight(4)).await.unwrap();
    let unit = state.lock().unwrap().units["kubepods-podu.slice"].clone();
    assert_eq!((unit["CPUWeight"].as_str(), unit["AllowedCPUs"].as_str()), ("uint64 4", "[byte 0x03]"));
    assert_eq!(unit["Wants"], "[\"kubepods.slice\"]");
    assert_eq!((unit["DefaultDependencies"].as_str(), unit["TasksAccounting"].as_str()), ("false", "true"));
    systemd.start_slice("kubepods-podu.slice", "kubepods.slice", &weight(8)).await.unwrap();
    assert_eq!(state.lock().unwrap().units["kubepods-podu.slice"]["CPUWeight"], "uint64 8");
    systemd.stop("kubepods-podu.slice").await.unwrap();
    systemd.stop("kubepods-podu.slice").await.expect("a unit that is not known is stopped");
    let asked = std::mem::take(&mut state.lock().unwrap().asked);
    assert_eq!(
        asked,
        [
            "subscribe",
            "start kubepods-podu.slice replace 0",
            "start kubepods-podu.slice replace 0",
            "set kubepods-podu.slice true",
            "stop kubepods-podu.slice replace",
            "stop kubepods-podu.slice replace",
        ]
    );
}

#[tokio::test]
async fn a_job_that_fails_and_a_refusal_are_told_with_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_bus) = bus(dir.path()) else { return };
    let state = Arc::new(Mutex::new(State { result: Some("dependency"), ..State::default() }));
    let _service = stand_in(dir.path(), &state).await;
    let systemd = Systemd::at(&address(dir.path()));
    let error = systemd.start_slice("a.slice", "-.slice", &[]).await.unwrap_err();
    assert_eq!(error.to_string(), r#"starting a.slice: systemd's job ended with "dependency""#);
    let error = systemd.set_properties("b.slice", &weight(1)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("b.slice") && cause.contains("not loaded"), "{error}: {cause}");
}

#[tokio::test]
async fn a_bus_that_was_started_again_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let Some(first) = bus(dir.path()) else { return };
    let state = Arc::new(Mutex::new(State::default()));
    let service = stand_in(dir.path(), &state).await;
    let systemd = Systemd::at(&address(dir.path()));
    systemd.start_slice("a.slice", "-.slice", &[]).await.unwrap();
    drop((service, first));
    assert!(systemd.stop("a.slice").await.is_err(), "there is no bus");
    let _second = bus(dir.path());
    let _service = stand_in(dir.path(), &state).await;
    systemd.stop("a.slice").await.unwrap();
    assert!(state.lock().unwrap().units.is_empty());
}

#[tokio::test]
async fn a_pods_slice_is_started_before_its_files_are_written_and_stopped_before_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_bus) = bus(dir.path()) else { return };
    let state = Arc::new(Mutex::new(State::default()));
    let _service = stand_in(dir.path(), &state).await;
    let mount = dir.path().join("cgroup");
    let layout = Layout::new(Driver::Systemd, "/").unwrap();
    let pod = layout.pod(Tier::Burstable, "u-1").unwrap();
    let mut directory = mount.clone();
    for level in std::iter::once(String::new()).chain(pod.directories()) {
        directory = directory.join(level);
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in
            [("cgroup.controllers", "cpu"), ("cgroup.subtree_control", "cpu"), ("cpu.weight", "")]
        {
            fs::write(directory.join(file), content).unwrap();
        }
    }
    let tree = Tree::of(&mount, layout, Systemd::at(&address(dir.path()))).unwrap();
    tree.ensure(&pod, &Values { cpu_shares: Some(204), ..Values::default() }).await.unwrap();
    let unit = "kubepods-burstable-podu_1.slice";
    let held = state.lock().unwrap().units[unit].clone();
    assert_eq!(
        (held["CPUWeight"].as_str(), held["Wants"].as_str()),
        ("uint64 8", "[\"kubepods-burstable.slice\"]")
    );
    assert_eq!(fs::read_to_string(directory.join("cpu.weight")).unwrap(), "8");
    tree.set(&pod, &Values::reduced()).await.unwrap();
    assert_eq!(state.lock().unwrap().units[unit]["CPUWeight"], "uint64 1");
    // A directory of the kernel's is removed with its files.
    for file in ["cgroup.controllers", "cgroup.subtree_control", "cpu.weight"] {
        fs::remove_file(directory.join(file)).unwrap();
    }
    tree.remove(&pod, |_| {}).await;
    assert!(!directory.exists() && state.lock().unwrap().units.is_empty());
}
