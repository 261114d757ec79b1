use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::discovery::tests::{TOKEN, cluster_info, pin, wanted};
use super::super::unit::tests::FakeUnits;
use super::*;
use crate::kubeconfig::link::tests::{Authority, Server};

const INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
const CONFIGURATION: &str = "/api/v1/namespaces/kube-system/configmaps/kubelet-config";
const NODE: &str = "/api/v1/nodes/n1";

/// A cluster of which the first answers are known.
struct World {
    root: tempfile::TempDir,
    authority: Authority,
    server: Server,
}

/// What the cluster says to one who has found it out.
struct Answers {
    configuration: Result<Value, u16>,
    node: Result<Value, u16>,
}

impl Default for Answers {
    fn default() -> Self {
        let text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS: [10.96.0.10]\n";
        Self { configuration: Ok(json!({ "data": { "kubelet": text } })), node: Err(404) }
    }
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let server = Server::start(&authority).await;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/nodelet")).unwrap();
        let packaged = include_str!("../../../package/config.yaml");
        fs::write(root.path().join("etc/nodelet/config.yaml"), packaged).unwrap();
        Self { root, authority, server }
    }

    fn place(&self) -> Place {
        Place::new(self.root.path(), None)
    }

    fn options(&self) -> Options {
        Options {
            wanted: wanted(&self.server.url, &[pin(&self.authority)]),
            own: Own { node_name: Some("n1".to_owned()), ..Own::default() },
            node_name: "n1".to_owned(),
            timeout: Duration::from_millis(500),
        }
    }

    /// Joins; what comes after the answers is answered with 404.
    async fn join(
        &mut self,
        answers: Answers,
        units: &FakeUnits<'_>,
    ) -> (Result<(), JoinError>, Vec<String>) {
        let (options, place) = (self.options(), self.place());
        let info = cluster_info(&self.authority, &self.server.url);
        let mut lines = Vec::new();
        let mut tell = |line: &str| lines.push(line.to_owned());
        let serving = async {
            loop {
                let visit = self.server.next().await;
                let answer = match visit.path.as_str() {
                    INFO => {
                        assert_eq!(visit.caller, "");
                        Ok(info.clone())
                    }
                    path => {
                        assert_eq!(visit.caller, format!("Bearer {TOKEN}"), "{path}");
                        match path {
                            CONFIGURATION => answers.configuration.clone(),
                            NODE => answers.node.clone(),
                            _ => Err(404),
                        }
                    }
                };
                match answer {
                    Ok(object) => visit.ok(&object),
                    Err(code) => visit.fail(code, "No"),
                }
            }
        };
        let outcome = tokio::select! {
            outcome = join(&options, &place, units, &mut tell) => outcome,
            () = serving => unreachable!(),
        };
        (outcome, lines)
    }
}

fn written(place: &Place) -> impl Fn(&str) -> bool + use<> {
    let kubeconfig = place.kubeconfig();
    move |line: &str| {
        if line.starts_with("restart") {
            fs::write(&kubeconfig, "as the daemon writes it").unwrap();
        }
        true
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_machine_becomes_a_node_and_the_token_is_removed() {
    let mut world = World::new().await;
    let place = world.place();
    let effect = written(&place);
    let bootstrap = place.bootstrap();
    let seen = std::cell::RefCell::new(String::new());
    let units = FakeUnits::new(|line| {
        if line.starts_with("restart") {
            assert_eq!(mode(&bootstrap), 0o600);
            seen.replace(fs::read_to_string(&bootstrap).unwrap());
        }
        effect(line)
    });
    let (outcome, lines) = world.join(Answers::default(), &units).await;
    outcome.unwrap();
    assert_eq!(*units.told.borrow(), ["enable nodelet.service", "restart nodelet.service"]);
    let seen = seen.borrow().clone();
    let access = crate::kubeconfig::parse(&seen, Path::new("/b")).await.unwrap();
    assert_eq!(access.server().trim_end_matches('/'), world.server.url);
    assert!(seen.contains(TOKEN) && !place.bootstrap().exists());
    assert_eq!(fs::read_to_string(place.authority()).unwrap(), world.authority.pem);
    assert!(fs::read_to_string(place.configuration()).unwrap().contains("10.96.0.10"));
    assert!(fs::read_to_string(place.flags()).unwrap().contains("--hostname-override=n1"));
    assert!(lines.last().unwrap().contains("the node n1 of the cluster"), "{lines:?}");

    let (outcome, _) = world.join(Answers::default(), &units).await;
    assert!(matches!(outcome, Err(JoinError::Joined { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_refusal_of_the_cluster_changes_nothing_on_the_machine() {
    let mut world = World::new().await;
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    for (answers, words) in [
        (Answers { configuration: Err(401), ..Answers::default() }, "does not accept the token abcdef"),
        (Answers { node: Ok(ready), ..Answers::default() }, "has a node n1 already"),
        (Answers { configuration: Ok(json!({})), ..Answers::default() }, "has no entry \"kubelet\""),
        (
            Answers {
                configuration: Ok(json!({ "data": { "kubelet": "nonsense: 1" } })),
                ..Answers::default()
            },
            "nonsense",
        ),
    ] {
        let units = FakeUnits::new(|_| true);
        let (outcome, _) = world.join(answers, &units).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(units.told.borrow().is_empty());
        let place = world.place();
        assert!(place.settings().is_empty() && !place.bootstrap().exists(), "{words}");
    }
    let units = FakeUnits::new(|_| true);
    units.state.borrow_mut().loaded = false;
    let (outcome, _) = world.join(Answers::default(), &units).await;
    assert!(matches!(outcome, Err(JoinError::NoUnit { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_failed_attempt_can_be_made_again() {
    let mut world = World::new().await;
    let place = world.place();
    let units = FakeUnits::new(|line| !line.starts_with("restart"));
    let (outcome, _) = world.join(Answers::default(), &units).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("its last words"), "{error}");

    // The daemon asks, and nobody approves.
    let store = credentials::Store::new(&place.cert_dir(), credentials::CLIENT);
    let units = FakeUnits::new(|_| true);
    let (outcome, _) = world.join(Answers::default(), &units).await;
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("there is no certificate") && error.contains("goes on asking"), "{error}");
    assert!(place.bootstrap().exists(), "the daemon needs it still");
    assert!(credentials::request_under_way(&store, "n1").is_none());
    let bootstrap = fs::read(place.bootstrap()).unwrap();

    let units = FakeUnits::new(written(&place));
    let (outcome, _) = world.join(Answers::default(), &units).await;
    outcome.unwrap();
    assert!(!place.bootstrap().exists());

    // Approved after the attempt before had ended.
    fs::write(place.bootstrap(), bootstrap).unwrap();
    let (outcome, _) = world.join(Answers::default(), &units).await;
    outcome.unwrap();
    assert!(!place.bootstrap().exists());
}

#[tokio::test]
async fn a_daemon_that_does_not_stay_up_is_told_with_its_last_words() {
    let mut world = World::new().await;
    let units = FakeUnits::new(|_| true);
    let mut options_timeout = world.options();
    options_timeout.timeout = Duration::from_secs(60);
    let crashing = async {
        sleep(Duration::from_millis(300)).await;
        units.state.borrow_mut().restarts = 1;
        std::future::pending::<()>().await;
    };
    let place = world.place();
    let info = cluster_info(&world.authority, &world.server.url);
    let serving = async {
        loop {
            let visit = world.server.next().await;
            match visit.path.as_str() {
                INFO => visit.ok(&info),
                _ => visit.fail(404, "No"),
            }
        }
    };
    let mut tell = |_: &str| {};
    let outcome = tokio::select! {
        outcome = join(&options_timeout, &place, &units, &mut tell) => outcome,
        () = serving => unreachable!(),
        () = crashing => unreachable!(),
    };
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, JoinError::Ends { .. }) && error.to_string().contains("its last words"),
        "{error}"
    );
}
