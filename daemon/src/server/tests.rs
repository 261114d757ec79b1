//! A server without sockets, for the tests of its parts.

use cri_client::Timeouts;
use http::Method;
use http_body_util::BodyExt as _;

use super::access::User;
use super::ongoing::Connection;
use super::reply::Reply;
use super::*;

/// Below it nothing is, unless the test makes it.
pub(super) fn context(client: Option<kube::Client>, configure: impl FnOnce(&mut Config)) -> Context {
    let mut config = Config::default();
    configure(&mut config);
    let config = Arc::new(config);
    let about = About {
        started: Timestamp::constant(1_700_000_000, 0),
        root_dir: PathBuf::from("/nowhere"),
        log_dir: PathBuf::from("/nowhere"),
        journal: Journal::new("/nowhere", &[]),
        flags: BTreeMap::from([("v".to_owned(), "2".to_owned())]),
    };
    let cri = Client::new("/nowhere".into(), None, Timeouts::default());
    let usage = Usage::new(crate::usage::Sources {
        config: Arc::clone(&config),
        root_dir: PathBuf::from("/nowhere"),
        cri: cri.clone(),
        shown: Shown::default(),
        client: None,
        machine: Arc::default(),
        node_name: "n1".to_owned(),
    });
    Context {
        access: Access::new(Arc::clone(&config), client, "n1".to_owned()),
        config,
        cri,
        usage,
        pods: Shown::default(),
        metrics: Metrics::new().unwrap(),
        probing: Probing::default(),
        health: watch::channel(Ok(())).1,
        places: Places::new(),
        about: Arc::new(about),
        sessions: Sessions::default(),
        overview: overview::tests::origins(),
    }
}

pub(super) fn asked(method: &Method, path: &str) -> Asked {
    Request::builder().method(method).uri(path).body(Asked::default().into_body()).unwrap()
}

pub(super) fn connection() -> Arc<Connection> {
    Connection::new()
}

/// The answer to a request over a connection of its own.
pub(super) async fn ask(context: &Context, door: Door, user: Option<&User>, asked: Asked) -> Reply {
    listen::answer(context, door, user, asked, connection()).await
}

pub(super) async fn text(reply: Reply) -> String {
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
