use tokio::time::timeout;

use super::*;
use crate::events::Rates;

const LONG: Duration = Duration::from_secs(20);

fn manifest(name: &str, command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: x:1, command: [{command}]}}]}}\n"
    )
}

struct Setup {
    dir: tempfile::TempDir,
    updates: mpsc::Receiver<Update>,
    _stop: watch::Sender<bool>,
}

fn setup(sub_path: &str) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let (updates, received) = mpsc::channel(8);
    let (stop, stopped) = watch::channel(false);
    let source = FileSource {
        path: dir.path().join(sub_path),
        check_frequency: Duration::from_millis(500),
        node_name: "node1".into(),
        refuse_references: true,
    };
    let (recorder, _sender) = Recorder::new(None, "node1", Rates::default());
    tokio::spawn(run(source, updates, Mirrors::new(), recorder, stopped));
    Setup { dir, updates: received, _stop: stop }
}

impl Setup {
    async fn listed(&mut self) -> Vec<Arc<Pod>> {
        let update = timeout(LONG, self.updates.recv()).await.expect("an update comes");
        let Some(Update::Listed { source: Source::File, pods }) = update else { panic!("{update:?}") };
        pods
    }

    async fn names(&mut self) -> Vec<String> {
        self.listed().await.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
    }

    fn write(&self, name: &str, text: &str) {
        // As editors and kubeadm do: a manifest appears at once.
        let hidden = self.dir.path().join(format!(".{name}"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.dir.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn manifests_come_change_and_go() {
    let mut setup = setup("");
    assert_eq!(setup.names().await, Vec::<String>::new(), "an empty directory is an answer");
    setup.write("b.yaml", &manifest("b", "x"));
    assert_eq!(setup.names().await, ["b-node1"]);
    setup.write("a.yaml", &manifest("a", "x"));
    let first = setup.listed().await;
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].metadata.name.as_deref(), Some("a-node1"));
    setup.write("a.yaml", &manifest("a", "z"));
    let second = setup.listed().await;
    assert_ne!(first[0].metadata.uid, second[0].metadata.uid);
    assert!(Arc::ptr_eq(&first[1], &second[1]), "what has not changed is not read again");
    fs::remove_file(setup.dir.path().join("b.yaml")).unwrap();
    assert_eq!(setup.names().await, ["a-node1"]);
}

#[tokio::test]
async fn a_bad_manifest_stops_only_itself_and_hidden_files_and_directories_do_not_count() {
    let mut setup = setup("");
    setup.names().await;
    fs::create_dir(setup.dir.path().join("sub")).unwrap();
    fs::write(setup.dir.path().join("sub/x.yaml"), manifest("x", "x")).unwrap();
    fs::write(setup.dir.path().join(".hidden.yaml"), manifest("h", "x")).unwrap();
    fs::write(setup.dir.path().join("a.yaml"), "kind: Pod\nspec: [").unwrap();
    setup.write("b.yaml", &manifest("b", "x"));
    assert_eq!(setup.names().await, ["b-node1"]);
    setup.write("a.yaml", &manifest("a", "x"));
    assert_eq!(setup.names().await, ["a-node1", "b-node1"]);
}

#[tokio::test]
async fn a_second_manifest_of_the_same_name_is_left_out() {
    let mut setup = setup("");
    setup.names().await;
    setup.write("a.yaml", &manifest("same", "x"));
    let first = setup.listed().await;
    setup.write("b.yaml", &manifest("same", "z"));
    setup.write("c.yaml", &manifest("c", "z"));
    let pods = setup.listed().await;
    assert_eq!((pods.len(), &pods[0].metadata.uid), (2, &first[0].metadata.uid));
}

#[tokio::test]
async fn a_directory_that_appears_later_and_a_single_file_are_read_too() {
    let mut setup = setup("later");
    assert_eq!(setup.names().await, Vec::<String>::new());
    fs::create_dir(setup.dir.path().join("later")).unwrap();
    fs::write(setup.dir.path().join("later/a.yaml"), manifest("a", "x")).unwrap();
    assert_eq!(setup.names().await, ["a-node1"]);
    let mut single = self::setup("one.yaml");
    single.names().await;
    single.write("one.yaml", &manifest("one", "x"));
    assert_eq!(single.names().await, ["one-node1"]);
}

#[tokio::test]
async fn a_touched_file_is_the_same_pod() {
    let mut setup = setup("");
    setup.names().await;
    setup.write("a.yaml", &manifest("a", "x"));
    setup.names().await;
    setup.write("a.yaml", &manifest("a", "x"));
    setup.write("b.yaml", &manifest("b", "x"));
    assert_eq!(setup.names().await.len(), 2);
    setup.write("a.yaml", &format!("# note\n{}", manifest("a", "x")));
    assert!(
        timeout(Duration::from_millis(1_200), setup.updates.recv()).await.is_err(),
        "nothing has changed"
    );
}
